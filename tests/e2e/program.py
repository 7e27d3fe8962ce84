"""The real program as a subprocess, and what it leaves behind, for the end-to-end tests.

Figures that the tests print are seen with ``pytest -rP``. Tests marked slow run with

    SORTER_SLOW=1 sh tests/run tests/e2e -rP
"""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import ROOT, dicom

from sorter.index.names import original

SETTLE = 0.5
# What a loaded machine may take longer than the program itself needs.
MARGIN = 5.0 if "CI" not in os.environ else 15.0
KINDS = ("stored", "duplicate", "equivalent", "expanded", "conflict", "rejected", "ignored", "deferred")
IS_ROOT = os.geteuid() == 0

_SLOW = pytest.mark.skipif(not os.environ.get("SORTER_SLOW"), reason="slow; SORTER_SLOW=1 runs it")


def slow(test):
    """Marks a test that only SORTER_SLOW=1 runs."""
    return pytest.mark.slow(_SLOW(test))


def environment(**settings):
    """The environment without any sorter setting of the caller's; keywords become SORTER_<KEY>."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("SORTER_")}
    plain |= {"SORTER_CONFIG": "", "SORTER_SETTLE_SECONDS": "0", "SORTER_MIN_FREE_MB": "1"}
    return plain | {f"SORTER_{key.upper()}": str(value) for key, value in settings.items()}


def command(*args, wrapper=()):
    """The command line of the program."""
    return [*wrapper, sys.executable, "-m", "sorter", *map(str, args)]


def without_root_powers():
    """Words before a command that make root subject to file modes like anybody else."""
    if not IS_ROOT:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("runs as root, and there is no setpriv to give up root's powers")
    powers = "-dac_override,-dac_read_search"
    return ("setpriv", f"--inh-caps={powers}", f"--bounding-set={powers}")


@contextlib.contextmanager
def small_disk(folder):
    """A file system of 4 MiB in memory."""
    if not IS_ROOT or shutil.which("mount") is None:
        pytest.skip("only root may mount")
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@dataclass(frozen=True)
class Ran:
    """One finished run."""

    status: int
    stdout: str
    stderr: str

    @property
    def facts(self):
        """The object that ``--json`` printed."""
        return json.loads(self.stdout)


def run(*args, wrapper=(), seconds=120, env=None, **settings):
    """Run the program to its end."""
    done = subprocess.run(
        command(*args, wrapper=wrapper),
        env=environment(**settings) | (env or {}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=seconds,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def rescan(archive, *paths, incoming=None, **more):
    """``sorter --rescan --json`` over paths, or over a drop folder."""
    drops = () if incoming is None else ("--incoming", incoming)
    done = run("--rescan", *paths, *drops, "--archive", archive, "--json", **more)
    if done.status in (0, 1):
        facts = done.facts
        assert facts["seen"] == sum(facts[kind] for kind in KINDS)
        assert done.status == (1 if facts["conflict"] or facts["rejected"] or facts["deferred"] else 0)
    return done


def counts(facts):
    """The outcomes of a summary that are not zero."""
    return {kind: facts[kind] for kind in KINDS if facts[kind]}


# -- what it leaves behind ------------------------------------------------------------------------------


@contextlib.contextmanager
def index(archive):
    """A read-only connection to the index, as people with an SQLite browser have it."""
    connection = sqlite3.connect(f"file:{archive}/.sorter/index.sqlite?mode=ro", uri=True, timeout=30)
    connection.row_factory = sqlite3.Row
    try:
        yield connection
    finally:
        connection.close()


def instances(archive):
    """The rows of instance_view."""
    with index(archive) as connection:
        return [dict(row) for row in connection.execute("SELECT * FROM instance_view")]


def stored_count(archive):
    """How many instances the index has; 0 while there is no index."""
    try:
        with index(archive) as connection:
            return connection.execute("SELECT count(*) FROM instances").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def sources(archive):
    """The rows of source_view, their ``source`` as the path it was."""
    with index(archive) as connection:
        rows = [dict(row) for row in connection.execute("SELECT * FROM source_view ORDER BY recorded_at")]
    return [row | {"source": original(row["source"])} for row in rows]


def ledger(archive, root):
    """Path relative to a drop folder -> (outcome, reason) of its last version."""
    found = {}
    for row in sources(archive):
        found[os.path.relpath(row["source"], root)] = (row["outcome"], row["reason"])
    return found


def snapshot(root):
    """Everything below a folder: path -> what ``lstat`` says and the bytes, or a link's target."""
    found = {}
    for folder, subfolders, files in os.walk(os.fsencode(root)):
        for name in subfolders + files:
            path = os.path.join(folder, name)
            seen = os.lstat(path)
            content = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = Path(os.fsdecode(path)).read_bytes()
            found[os.fsdecode(path)] = (seen.st_mode, seen.st_ino, seen.st_mtime_ns, content)
    return found


# -- the daemon -----------------------------------------------------------------------------------------


@dataclass
class Daemon:
    """A running daemon; :meth:`stop` asserts that it ends well."""

    incoming: Path
    archive: Path
    process: subprocess.Popen
    log: Path

    @property
    def report(self):
        """What ``status.json`` says, or an empty object before there is one."""
        try:
            return json.loads((self.archive / ".sorter" / "status.json").read_text())
        except FileNotFoundError:
            return {}

    @property
    def stderr(self):
        """All of its log so far."""
        return self.log.read_text(errors="surrogateescape")

    @property
    def events(self):
        """The log's lines."""
        return [json.loads(line) for line in self.stderr.splitlines()]

    def wait(self, condition, seconds=30.0, what="the condition"):
        """Seconds until the condition held."""
        began = time.monotonic()
        while not condition():
            assert self.process.poll() is None, f"the daemon ended: {self.stderr}"
            waited = time.monotonic() - began
            assert waited < seconds, f"{what} not within {seconds} s: {self.report}\n{self.stderr[-3000:]}"
            time.sleep(0.03)
        return time.monotonic() - began

    def wait_stored(self, number, seconds=30.0):
        """Seconds until so many instances are in the index."""
        return self.wait(lambda: stored_count(self.archive) >= number, seconds, f"{number} instances")

    def wait_counted(self, seconds=30.0, **kinds):
        """Wait until the daemon counted at least so many of each outcome since its start."""

        def reached():
            since = self.report.get("since_start", {})
            return all(since.get(kind, 0) >= number for kind, number in kinds.items())

        return self.wait(reached, seconds, str(kinds))

    def signal(self, number):
        """Send a signal."""
        self.process.send_signal(number)

    def stop(self):
        """SIGTERM; it ends with status 0."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.stderr
        leftovers = list((self.archive / ".sorter" / "staging").iterdir())
        assert leftovers == []


def start(incoming, archive, log, *args, wrapper=(), env=None, **settings):
    """Start a daemon and wait until it watches."""
    settings = {"settle_seconds": SETTLE, "log_format": "json"} | settings
    began = time.time()
    with Path(log).open("ab") as stderr:
        process = subprocess.Popen(
            command("--incoming", incoming, "--archive", archive, *args, wrapper=wrapper),
            env=environment(**settings) | (env or {}),
            cwd=ROOT,
            stdout=stderr,
            stderr=stderr,
        )
    daemon = Daemon(Path(incoming), Path(archive), process, Path(log))
    try:
        daemon.wait(lambda: _watches(daemon.report, began), what="the start")
    except BaseException:
        process.kill()
        process.wait()
        raise
    return daemon


def _watches(report, since):
    """Whether a report is of this run, and the run has come to watching."""
    return report.get("heartbeat", 0) >= since and report["state"] != "starting"


def tree_of_processes(pid):
    """A process and all of its descendants."""
    found, pending = [], [pid]
    while pending:
        one = pending.pop()
        found.append(one)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{one}/task").iterdir():
                pending += map(int, (task / "children").read_text().split())
    return found


# -- many files, quickly --------------------------------------------------------------------------------

_FIRST = 1_000_000


class Template:
    """Small unique instances, made by patching digits into one: SOP Instance UID and Instance Number."""

    def __init__(self, **more):
        self._bytes = dicom(_FIRST, **more)
        assert self._bytes.count(b"%d" % _FIRST) == 3  # (0002,0003), (0008,0018), (0020,0013)

    def __getitem__(self, number):
        return self._bytes.replace(b"%d" % _FIRST, b"%d" % (_FIRST + number))

    def fill(self, folder, files, *, a_folder=100):
        """So many files in nested folders of a hundred; returns their bytes."""
        made = []
        for number in range(files):
            place = number // a_folder
            path = Path(folder) / f"study {place % 3}" / f"series {place}" / f"{number}.dcm"
            if number % a_folder == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            made.append(self[number])
            path.write_bytes(made[-1])
        return made
