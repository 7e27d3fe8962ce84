"""Those that sorter is measured against: each is optional, and says how it is installed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_PATIENCE = 30.0  # for a server to listen

Sort = Callable[[Path], None]


class PeerFailed(Exception):  # noqa: N818 - a result: its row says so
    """A peer did not do its work."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where programs are: folders beside ``PATH``."""

    folders: tuple[Path, ...] = ()

    def find(self, program: str) -> str | None:
        """The absolute path of a program."""
        places = [*map(str, self.folders), os.environ.get("PATH", ""), "/usr/sbin"]
        return shutil.which(program, path=os.pathsep.join(places))

    def __getitem__(self, program: str) -> str:
        found = self.find(program)
        if found is None:
            raise PeerFailed(f"{program} is not installed")
        return found


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to get files from a source folder into an empty one.

    Parameters
    ----------
    programs
        What must be installed.
    durable
        What is on the disk when it ends; ``"yes"``: everything, so that no sync is waited for.
    ready
        Given the tools and the result's folder: whatever must run first; enters to what does the work.
    """

    name: str
    programs: tuple[str, ...]
    install: str
    durable: str
    indexed: str
    ready: Callable[[Tools, Path], AbstractContextManager[Sort]]

    def missing(self, tools: Tools) -> str:
        """Why it cannot be measured here; empty where it can."""
        absent = [one for one in self.programs if not tools.find(one)]
        return f"{', '.join(absent)} not installed ({self.install})" if absent else ""


def run(command: Sequence[str], *, env: dict[str, str] | None = None) -> None:
    """Run a program to its end.

    Raises
    ------
    PeerFailed
        It ended with another status than 0.
    """
    null = subprocess.DEVNULL
    status = subprocess.run(command, env=env, check=False, stdin=null, stdout=null, stderr=null).returncode
    if status:
        raise PeerFailed(f"{Path(command[0]).name} ended with status {status}")


def sorter_environment(**settings: object) -> dict[str, str]:
    """The environment without any sorter setting of the caller's; keywords become ``SORTER_<KEY>``."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("SORTER_")}
    return plain | {"SORTER_CONFIG": ""} | {f"SORTER_{k.upper()}": str(v) for k, v in settings.items()}


def rescan(source: Path, archive: Path, **settings: object) -> None:
    """``sorter --rescan`` of a folder that nobody writes to."""
    command = [sys.executable, "-m", "sorter", "--rescan", str(source), "--archive", str(archive), "--json"]
    run(command, env=sorter_environment(settle_seconds=0, **settings))


# -- how each is run ----------------------------------------------------------------------------------------


def _program(
    command: Callable[[Tools, str, str], list[str]],
) -> Callable[[Tools, Path], AbstractContextManager[Sort]]:
    """A peer that is one program with the source and the result on its command line."""

    @contextlib.contextmanager
    def ready(tools: Tools, out: Path) -> Iterator[Sort]:
        yield lambda source: run(command(tools, str(source), str(out)))

    return ready


@contextlib.contextmanager
def _sorter(_tools: Tools, out: Path) -> Iterator[Sort]:
    yield lambda source: rescan(source, out)


@contextlib.contextmanager
def _into_folder(tools: Tools, out: Path) -> Iterator[Sort]:
    """dcm2niix wants its folder to be there."""
    out.mkdir()
    options = ["-r", "y", "-f", "%i/%t/%s/%r", "-o", str(out)]
    yield lambda source: run([tools["dcm2niix"], *options, str(source)])


@contextlib.contextmanager
def _storescp(tools: Tools, out: Path) -> Iterator[Sort]:
    """With ``TCP_NODELAY``, without which each file waits 90 ms for delayed acknowledgements."""
    out.mkdir()
    port, env = str(free_port()), os.environ | {"TCP_NODELAY": "1"}
    with _server([tools["storescp"], "-od", str(out), "-su", "", "+xa", port], int(port), env):
        send = [tools["storescu"], "+sd", "+r", "-xv", "127.0.0.1", port]
        yield lambda source: run([*send, str(source)], env=env)


@contextlib.contextmanager
def _orthanc(tools: Tools, out: Path) -> Iterator[Sort]:
    out.mkdir()
    port, settings = free_port(), out.with_name(f"{out.name}.orthanc.json")
    facts = {"StorageDirectory": str(out), "IndexDirectory": str(out), "HttpPort": port, "Plugins": []}
    facts |= {"DicomServerEnabled": False, "RemoteAccessAllowed": False, "SyncStorageArea": True}
    settings.write_text(json.dumps(facts))
    try:
        with _server([tools["Orthanc"], str(settings)], port):
            yield lambda source: _upload(source, port)
    finally:
        settings.unlink()


def _upload(source: Path, port: int) -> None:
    """Send each file by Orthanc's REST interface, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for folder, _, names in os.walk(source):
        for name in names:
            connection.request("POST", "/instances", Path(folder, name).read_bytes())
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.client.OK:
                raise PeerFailed(f"Orthanc answered {answer.status}")
    connection.close()


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _server(command: list[str], port: int, env: dict[str, str] | None = None) -> Iterator[None]:
    """A program that listens, until the block ends."""
    null = subprocess.DEVNULL
    with subprocess.Popen(command, env=env, stdin=null, stdout=null, stderr=null) as server:
        try:
            _wait_for(server, port, Path(command[0]).name)
            yield
        finally:
            server.terminate()


def _wait_for(server: subprocess.Popen[bytes], port: int, name: str) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise PeerFailed(f"{name} does not listen")


def _beside(program: str) -> str:
    """The Python of the virtual environment that a program is in."""
    return str(Path(program).parent / "python")


_UNPACKED = "%PatientID/%StudyDate/%SeriesInstanceUID"
BASELINE = Peer(
    "cp -r", ("cp",), "coreutils", "no", "no",
    _program(lambda tools, source, out: [tools["cp"], "-r", source, out]),
)  # fmt: skip
SORTER = Peer("sorter --rescan", (), "", "yes", "yes", _sorter)
PEERS = (
    Peer(
        "rsync -a --fsync", ("rsync",), "apt-get install rsync", "files, not folders", "no",
        _program(lambda tools, source, out: [tools["rsync"], "-a", "--fsync", f"{source}/", out]),
    ),
    Peer("dcm2niix -r y", ("dcm2niix",), "apt-get install dcm2niix", "no", "no", _into_folder),
    Peer(
        "imgtools dicomsort", ("imgtools",), "pip install med-imagetools", "no", "no",
        _program(
            lambda tools, source, out: [
                tools["imgtools"], "-q", "dicomsort", "-a", "copy", "-j", "2", "-t", "0", source,
                f"{out}/{_UNPACKED}",
            ]
        ),
    ),
    Peer(
        "dicomsort", ("dicomsort",), "pip install --no-deps dicomsort", "no", "no",
        _program(
            lambda tools, source, out: [
                _beside(tools["dicomsort"]), str(HERE / "drive_dicomsort.py"), source, out,
            ]
        ),
    ),
    Peer("storescu to storescp", ("storescp", "storescu"), "apt-get install dcmtk", "no", "no", _storescp),
    Peer("Orthanc (REST)", ("Orthanc",), "apt-get install orthanc", "files, not folders", "yes", _orthanc),
    Peer(
        "a pydicom script", (), "", "no", "no",
        _program(
            lambda _tools, source, out: [sys.executable, str(HERE / "plain_script.py"), source, out]
        ),
    ),
)  # fmt: skip
