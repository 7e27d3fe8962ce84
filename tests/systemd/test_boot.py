"""The unit under a real systemd, installed as docs/deploy.md says."""

import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

PROJECT = Path(__file__).parents[2]
BOOT = Path(__file__).with_name("boot.sh")
CGROUP = "/sys/fs/cgroup/system.slice/sorter.service"
PYTHON = "/usr/bin/python3"  # not one below a home, which ProtectHome= hides

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("systemd")]


def obstacle() -> str:
    """Why no systemd can be booted here; empty where one can."""
    if os.geteuid() != 0:
        return "needs root to make namespaces and mounts"
    if not any(line.split()[2] == "cgroup2" for line in Path("/proc/mounts").read_text().splitlines()):
        return "needs a mounted cgroup v2"
    for program in ("/usr/lib/systemd/systemd", "systemctl", "nsenter", "unshare", PYTHON):
        if shutil.which(program) is None:
            return f"needs {program}"
    return ""


def until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met


@dataclass(frozen=True)
class Machine:
    """A booted private systemd; ``state`` holds its /etc, /opt and /srv as seen from outside."""

    state: Path
    pid: int

    @property
    def incoming(self) -> Path:
        return self.state / "srv/sorter/incoming"

    @property
    def archive(self) -> Path:
        return self.state / "srv/sorter/archive"

    def run(self, *command: str, check: bool = True) -> str:
        """Standard output of a command run in there as root."""
        ran = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--all", *command],
            check=False, capture_output=True, text=True, timeout=240, env={"PATH": "/usr/sbin:/usr/bin"},
        )  # fmt: skip
        assert ran.returncode == 0 or not check, f"{command}: {ran.stderr}\n{self.journal()}"
        return ran.stdout.strip()

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "--lines=60", check=False)

    def show(self, name: str) -> str:
        """A property of sorter.service."""
        return self.run("systemctl", "show", "--value", f"--property={name}", "sorter")

    def write(self, path: str, text: str) -> None:
        """Write a file of root's in there."""
        self.run("sh", "-c", 'mkdir -p "${1%/*}" && printf %s "$2" > "$1"', "sh", path, text)

    @contextmanager
    def configuration(self, line: str) -> Iterator[None]:
        """The installed configuration with a line in place of the key it sets, or added."""
        path = "/etc/sorter/sorter.toml"
        kept = self.run("cat", path)
        key = line.partition(" =")[0]
        others = [other for other in kept.splitlines() if not other.startswith(f"{key} =")]
        self.write(path, "\n".join((*others, line, "")))
        try:
            yield
        finally:
            self.write(path, kept)

    def instances(self) -> list[Path]:
        """The archived instances."""
        found = self.archive.rglob("*.dcm")
        return sorted(path for path in found if ".sorter" not in path.parts)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with sorter installed, from wheels, without a network; not started."""
    if why := obstacle():
        pytest.skip(why)
    state = tmp_path_factory.mktemp("machine")
    root = tmp_path_factory.mktemp("root")
    for folder in ("etc/systemd/system", "opt/deploy", "srv"):
        (state / folder).mkdir(parents=True)
    target = "[Unit]\nWants=systemd-journald.service\nAfter=systemd-journald.service\n"
    (state / "etc/systemd/system/sorter-boot.target").write_text(target)
    subprocess.run([PYTHON, "-m", "venv", str(state / "build")], check=True)
    build = [state / "build/bin/pip", "wheel", "--quiet", "--wheel-dir", state / "opt/wheels", PROJECT]
    subprocess.run(build, check=True)
    shutil.copytree(PROJECT / "deploy", state / "opt/deploy", dirs_exist_ok=True)
    with (state / "console").open("w") as console:
        booted = subprocess.Popen([BOOT, root, state], stdout=console, stderr=console)
    try:
        pid_file = state / "pid"
        assert until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n")), "no systemd"
        it = Machine(state, int(pid_file.read_text()))
        answers = ["systemctl", "is-active", "sorter-boot.target"]
        assert until(lambda: it.run(*answers, check=False) == "active"), (state / "console").read_text()
        install(it)
        yield it
        (state / "journal").write_text(it.run("journalctl", "--no-pager"))
    finally:
        if (state / "pid").exists():
            os.kill(int((state / "pid").read_text()), 9)
        booted.wait(30)


def install(it: Machine) -> None:
    """The steps of docs/deploy.md."""
    it.run(PYTHON, "-m", "venv", "/opt/sorter")
    it.run("/opt/sorter/bin/pip", "install", "--quiet", "--no-index", "--find-links=/opt/wheels", "sorter")
    it.run("install", "-D", "-m", "644", "/opt/deploy/sorter.sysusers", "/etc/sysusers.d/sorter.conf")
    it.run("systemd-sysusers")
    it.run("install", "-D", "-m", "644", "/opt/deploy/sorter.tmpfiles", "/etc/tmpfiles.d/sorter.conf")
    it.run("systemd-tmpfiles", "--create", "sorter.conf")
    it.run("install", "-m", "644", "/opt/deploy/sorter.toml", "/etc/sorter/sorter.toml")
    it.run("install", "-m", "644", "/opt/deploy/sorter.service", "/etc/systemd/system/")
    it.run("systemctl", "daemon-reload")


@pytest.fixture
def started(machine: Machine) -> Iterator[Machine]:
    """The machine with the service started: `systemctl start` returns once READY=1 came."""
    try:
        machine.run("systemctl", "start", "sorter")
        yield machine
    finally:
        machine.run("systemctl", "stop", "sorter")


@contextmanager
def drop_in(machine: Machine, *settings: str) -> Iterator[None]:
    """The service started with some settings of its own."""
    path = "/run/systemd/system/sorter.service.d/test.conf"
    machine.write(path, "\n".join(("[Service]", *settings, "")))
    machine.run("systemctl", "daemon-reload")
    try:
        machine.run("systemctl", "start", "sorter")
        yield
    finally:
        machine.run("systemctl", "stop", "sorter")
        machine.run("rm", path)
        machine.run("systemctl", "daemon-reload")


def drop(folder: Path, source: str) -> bytes:
    """Put a bundled DICOM file into a drop folder; its bytes."""
    content = Path(get_testdata_file(source, download=False)).read_bytes()
    (folder / f"CANARY-{source}").write_bytes(content)
    return content


def test_a_dropped_file_is_archived_for_owner_and_group_alone(started: Machine):
    assert (started.show("ActiveState"), started.show("SubState")) == ("active", "running")
    content = drop(started.incoming, "CT_small.dcm")
    assert until(lambda: len(started.instances()) == 1), started.journal()
    (path,) = started.instances()
    assert content == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) & 0o037 == 0
    assert started.run("stat", "-c", "%U", "/srv/sorter/archive") == started.run(
        "stat", "-c", "%U", f"/srv/{path.relative_to(started.state / 'srv')}"
    )


def test_status_is_told_to_systemd(started: Machine):
    assert until(lambda: started.show("StatusText") != ""), started.journal()


def test_reload_takes_up_a_new_drop_folder_in_the_same_process(started: Machine):
    before = started.show("MainPID")
    count = len(started.instances())
    started.run("install", "-d", "--group=sorter-drop", "--mode=2770", "/srv/sorter/second")
    with started.configuration('incoming = ["/srv/sorter/incoming", "/srv/sorter/second"]'):
        started.run("systemctl", "reload", "sorter")
        drop(started.state / "srv/sorter/second", "MR_small.dcm")
        assert until(lambda: len(started.instances()) == count + 1), started.journal()
    assert (started.show("ActiveState"), started.show("MainPID")) == ("active", before)


def test_a_member_of_the_group_is_told_the_health(started: Machine):
    reader = ("setpriv", "--reuid=nobody", "--regid=sorter", "--clear-groups", "/opt/sorter/bin/sorter")

    def healthy() -> bool:
        told = started.run(*reader, "status", "--json", check=False)
        return bool(json.loads(told or "{}").get("healthy"))

    assert until(healthy), started.run(*reader, "status")
    started.run("systemctl", "stop", "sorter")
    assert not healthy()


def test_stop_in_the_middle_exits_with_zero_and_the_next_start_goes_on(started: Machine):
    count, more = len(started.instances()), 300
    dataset = dcmread(get_testdata_file("CT_small.dcm", download=False))
    for number in range(more):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number + 1}"
        dataset.save_as(started.incoming / f"CANARY-{number}")
    assert until(lambda: len(started.instances()) > count), started.journal()
    started.run("systemctl", "stop", "sorter")
    ended = tuple(started.show(name) for name in ("ActiveState", "Result", "ExecMainStatus"))
    assert ended == ("inactive", "success", "0")
    assert list((started.archive / ".sorter/staging").iterdir()) == []
    started.run("systemctl", "start", "sorter")
    assert until(lambda: len(started.instances()) == count + more), started.journal()


@pytest.mark.parametrize("source", ["JPEG2000.dcm", "JPGExtended.dcm"])
def test_the_decoders_work_within_the_locked_up_unit(started: Machine, source: str):
    before = set(started.instances())
    drop(started.incoming, source)
    assert until(lambda: len(started.instances()) == len(before) + 1), started.journal()
    (path,) = set(started.instances()) - before
    assert not dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID.is_compressed


def test_a_missed_watchdog_restarts_the_daemon(machine: Machine):
    with drop_in(machine, "WatchdogSec=5s", "TimeoutAbortSec=2s", "RestartSec=100ms"):
        before = machine.show("MainPID")
        time.sleep(7)  # longer than the deadline, which the healthy daemon therefore meets
        assert (machine.show("MainPID"), machine.show("NRestarts")) == (before, "0")
        machine.run("systemctl", "kill", "--signal=SIGSTOP", "--kill-whom=main", "sorter")
        assert until(lambda: machine.show("NRestarts") == "1" and machine.show("ActiveState") == "active")
        assert machine.show("MainPID") != before


def test_a_killed_daemon_is_restarted_and_leaves_no_worker(machine: Machine):
    with drop_in(machine, "RestartSec=3s"):
        machine.run("systemctl", "kill", "--signal=SIGKILL", "--kill-whom=main", "sorter")
        assert until(lambda: machine.show("SubState") == "auto-restart")
        assert machine.run("sh", "-c", f"cat {CGROUP}/cgroup.procs 2> /dev/null", check=False) == ""
        assert until(lambda: machine.show("NRestarts") == "1" and machine.show("ActiveState") == "active")


def test_a_wrong_configuration_is_not_tried_again(machine: Machine):
    with machine.configuration("settle_secnods = 2"):
        machine.run("systemctl", "start", "sorter", check=False)
        actual = tuple(machine.show(name) for name in ("ActiveState", "ExecMainStatus", "NRestarts"))
        assert actual == ("failed", "2", "0")
        machine.run("systemctl", "reset-failed", "sorter")


def test_the_journal_holds_no_patient_data(machine: Machine):
    """After the tests above: neither names of dropped files nor of the patients in them."""
    journal = machine.run("journalctl", "--no-pager", "--output=json", "--unit=sorter")
    assert "started" in journal
    assert re.findall("CANARY|CompressedSamples", journal) == []
