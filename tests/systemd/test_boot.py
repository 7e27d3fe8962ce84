"""The unit under a real systemd, installed as docs/deploy.md says."""

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

PROJECT = Path(__file__).parents[2]
BOOT = Path(__file__).with_name("boot.sh")
CGROUP = "/sys/fs/cgroup/system.slice/sorter.service"
PYTHON = "/usr/bin/python3"  # not one below a home, which ProtectHome= hides

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


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
            check=False, capture_output=True, text=True, timeout=240,
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
    machine.run("systemctl", "start", "sorter")
    yield machine
    machine.run("systemctl", "stop", "sorter")


def drop(machine: Machine, name: str, source: str = "CT_small.dcm") -> bytes:
    """Put a bundled DICOM file into the drop folder under a name; its bytes."""
    content = Path(get_testdata_file(source, download=False)).read_bytes()
    (machine.incoming / name).write_bytes(content)
    return content


def test_a_dropped_file_is_archived_for_owner_and_group_alone(started: Machine):
    assert (started.show("ActiveState"), started.show("SubState")) == ("active", "running")
    content = drop(started, "CT")
    assert until(lambda: len(started.instances()) == 1), started.journal()
    (path,) = started.instances()
    assert content == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) & 0o037 == 0
    assert started.run("stat", "-c", "%U", "/srv/sorter/archive") == started.run(
        "stat", "-c", "%U", f"/srv/{path.relative_to(started.state / 'srv')}"
    )


def test_status_is_told_to_systemd(started: Machine):
    assert until(lambda: started.show("StatusText") != ""), started.journal()


def test_reload_keeps_the_process_and_it_goes_on_archiving(started: Machine):
    before = started.show("MainPID")
    count = len(started.instances())
    started.run("systemctl", "reload", "sorter")
    drop(started, "MR", "MR_small.dcm")
    assert until(lambda: len(started.instances()) == count + 1), started.journal()
    assert ("active", before) == (started.show("ActiveState"), started.show("MainPID"))


def test_stop_drains_and_exits_with_zero(started: Machine):
    started.run("systemctl", "stop", "sorter")
    expected = ("inactive", "success", "0")
    assert expected == (started.show("ActiveState"), started.show("Result"), started.show("ExecMainStatus"))
    assert list((started.archive / ".sorter/staging").iterdir()) == []


def test_a_missed_watchdog_restarts_the_daemon(machine: Machine):
    quick = "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=2s\nRestartSec=100ms\n"
    machine.write("/run/systemd/system/sorter.service.d/quick.conf", quick)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "sorter")
    try:
        before = machine.show("MainPID")
        time.sleep(7)  # longer than the deadline: the healthy daemon has met it more than once
        assert (before, "0") == (machine.show("MainPID"), machine.show("NRestarts"))
        machine.run("systemctl", "kill", "--signal=SIGSTOP", "--kill-whom=main", "sorter")
        assert until(lambda: machine.show("NRestarts") == "1" and machine.show("ActiveState") == "active")
        assert before != machine.show("MainPID")
    finally:
        machine.run("rm", "/run/systemd/system/sorter.service.d/quick.conf")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "stop", "sorter")


def test_a_killed_daemon_is_restarted_and_leaves_no_worker(machine: Machine):
    machine.write("/run/systemd/system/sorter.service.d/quick.conf", "[Service]\nRestartSec=2s\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "sorter")
    try:
        machine.run("systemctl", "kill", "--signal=SIGKILL", "--kill-whom=main", "sorter")
        assert until(lambda: machine.show("SubState") == "auto-restart")
        assert machine.run("sh", "-c", f"cat {CGROUP}/cgroup.procs 2> /dev/null", check=False) == ""
        assert until(lambda: machine.show("NRestarts") == "1" and machine.show("ActiveState") == "active")
    finally:
        machine.run("rm", "/run/systemd/system/sorter.service.d/quick.conf")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "stop", "sorter")


def test_a_wrong_configuration_is_not_tried_again(machine: Machine):
    kept = machine.run("cat", "/etc/sorter/sorter.toml")
    machine.write("/etc/sorter/sorter.toml", "settle_secnods = 2\n")
    try:
        machine.run("systemctl", "start", "sorter", check=False)
        expected = ("failed", "2", "0")
        assert expected == (
            machine.show("ActiveState"),
            machine.show("ExecMainStatus"),
            machine.show("NRestarts"),
        )
    finally:
        machine.write("/etc/sorter/sorter.toml", kept)
        machine.run("systemctl", "reset-failed", "sorter")
