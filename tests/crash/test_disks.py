"""Disks that fill up, turn read-only or vanish: a clear word or a pause, and nothing is lost."""

import contextlib
import hashlib
import shutil
import signal
import subprocess

import pytest
from crash.scenarios import _encapsulated
from e2e.program import IS_ROOT, Template, instances, ledger, rescan, run, start
from support import drop, tree

FILES = 24
BIG = 384  # rows and columns: 288 KiB an instance


@contextlib.contextmanager
def disk(folder, *options):
    """A file system in memory, with these mount options; gone afterwards, whatever still uses it."""
    if not IS_ROOT or shutil.which("mount") is None:
        pytest.skip("only root may mount")
    folder.mkdir()
    words = ",".join(options)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", words, "tmpfs", folder], check=False).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


@pytest.fixture
def incoming(tmp_path):
    """A drop folder with some megabytes of instances."""
    template = Template(size=BIG)
    for number in range(FILES):
        drop(tmp_path / "in", f"{number % 3}/{number}.dcm", template[number])
    return tmp_path / "in"


def rows_have_their_files(archive):
    """Each row names a file with its digest; says how many there are."""
    found = instances(archive) if (archive / ".sorter/index.sqlite").exists() else []
    files = tree(archive)
    for row in found:
        assert hashlib.sha256(files[row["path"]]).hexdigest() == row["sha256"]
    return len(found)


def all_is_in(archive, incoming, files=FILES):
    """Every source is stored once, and the account balances."""
    assert rows_have_their_files(archive) == len(tree(archive)) == files
    words = ledger(archive, incoming)
    mine = [word for name, word in words.items() if not name.startswith("..")]  # without adopted ones
    assert len(mine) == files
    assert set(mine) <= {("stored", None), ("duplicate", None)}
    audit = run("audit", "--incoming", incoming, "--archive", archive)
    assert (audit.status, audit.stderr) == (0, "")


def stops(done, status, word):
    """The run ended with this status and one clear line."""
    assert (done.status, done.stderr.startswith("sorter: ")) == (status, True), done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("retire", ["keep", "delete"])
def test_an_archive_without_room_for_a_batch(incoming, tmp_path, retire):
    before = {path.name: path.read_bytes() for path in incoming.rglob("*.dcm")}
    with disk(tmp_path / "disk", "size=5m") as full:
        archive = full / "archive"
        stops(rescan(archive, incoming=incoming, min_free_mb=0, retire=retire), 5, "MiB for 24 files")
        assert len(list(incoming.rglob("*.dcm"))) == FILES
        remount(full, "size=64m")
        done = rescan(archive, incoming=incoming, min_free_mb=0, retire=retire)
        assert done.status == 0
        assert sorted(tree(archive).values()) == sorted(before.values())
        if retire == "keep":
            all_is_in(archive, incoming)
        else:
            assert list(incoming.rglob("*.dcm")) == []


@pytest.mark.parametrize("retire", ["keep", "delete"])
def test_a_disk_that_fills_in_the_middle_of_a_batch(tmp_path, retire):
    """Nobody knows beforehand how much compressed pixels become."""
    incoming = tmp_path / "in"
    for number in range(1, FILES + 1):
        drop(incoming, f"{number}.dcm", _encapsulated(number, size=BIG))
    with disk(tmp_path / "disk", "size=5m") as full:
        archive = full / "archive"
        stops(rescan(archive, incoming=incoming, min_free_mb=0, retire=retire), 5, "No space left")
        stored = rows_have_their_files(archive)
        assert FILES - len(list(incoming.iterdir())) <= stored < FILES
        remount(full, "size=64m")
        assert rescan(archive, incoming=incoming, min_free_mb=0, retire=retire).status == 0
        assert rows_have_their_files(archive) == len(tree(archive)) == FILES
        if retire == "keep":
            all_is_in(archive, incoming)
        else:
            assert list(incoming.iterdir()) == []


def test_an_archive_without_free_inodes(incoming, tmp_path):
    with disk(tmp_path / "disk", "size=64m", "nr_inodes=40") as full:
        stops(rescan(full / "archive", incoming=incoming, min_free_mb=0), 5, "file names free")
        rows_have_their_files(full / "archive")
        remount(full, "nr_inodes=10k")
        assert rescan(full / "archive", incoming=incoming, min_free_mb=0).status == 0
        all_is_in(full / "archive", incoming)


def test_an_index_on_a_full_disk(incoming, tmp_path):
    archive = tmp_path / "archive"
    with disk(tmp_path / "disk", "size=1m") as full:
        index = f"sqlite:///{full}/index.sqlite"
        assert rescan(archive, "--index", index, incoming=incoming / "0").status == 0
        ballast = full / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as out:
            while out.write(bytes(4096)):
                pass
        stops(rescan(archive, "--index", index, incoming=incoming, min_free_mb=0), 5, "space")
        ballast.unlink()
        done = rescan(archive, "--index", index, incoming=incoming, min_free_mb=0)
        facts = done.facts
        assert (done.status, facts["stored"] + facts["duplicate"]) == (0, FILES)
        assert facts["stored"] == FILES * 2 // 3
        assert len(tree(archive)) == FILES


def test_an_archive_that_was_mounted_read_only(incoming, tmp_path):
    with disk(tmp_path / "disk", "size=64m") as medium:
        archive = medium / "archive"
        assert rescan(archive, incoming=incoming).status == 0
        remount(medium, "ro")
        drop(incoming, "late.dcm", Template(size=BIG)[FILES])
        before = tree(archive)
        stops(rescan(archive, incoming=incoming), 4, "Read-only file system")
        assert tree(archive) == before
        assert (
            run("audit", "--incoming", incoming, "--archive", archive).status == 0
        )  # reading needs no writing
        remount(medium, "rw")
        assert rescan(archive, incoming=incoming).status == 0
        all_is_in(archive, incoming, FILES + 1)


def test_a_drop_folder_that_vanishes_and_comes_back(tmp_path):
    """An unmounted drop folder is not an empty one: the daemon says so, and goes on when it is back."""
    archive, template = tmp_path / "archive", Template()
    with disk(tmp_path / "drop", "size=16m") as incoming:
        drop(incoming, "a.dcm", template[0])
        daemon = start(incoming, archive, tmp_path / "log", walk_seconds=0.5)
        try:
            daemon.wait_stored(1)
            subprocess.run(["umount", "--lazy", incoming], check=True)
            incoming.rmdir()
            daemon.wait(lambda: "root_absent" in daemon.stderr, what="the word about the absent root")
            assert daemon.report["healthy"]
            incoming.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", incoming], check=True)
            drop(incoming, "a.dcm", template[0])
            drop(incoming, "b.dcm", template[1])
            daemon.wait_stored(2)
            daemon.stop()
        finally:
            daemon.process.kill()
        assert len(tree(archive)) == 2


def test_a_disk_that_fills_under_the_daemon_makes_it_wait(incoming, tmp_path):
    (tmp_path / "drop").mkdir()
    with disk(tmp_path / "disk", "size=24m") as medium:
        daemon = start(tmp_path / "drop", medium / "archive", tmp_path / "log", min_free_mb=4)
        try:
            ballast = medium / "ballast"
            ballast.write_bytes(bytes(21 << 20))
            for path in incoming.rglob("*.dcm"):
                shutil.copy(path, tmp_path / "drop")
            daemon.wait(lambda: daemon.report.get("state") == "paused", what="the pause")
            ballast.unlink()
            daemon.wait_stored(FILES, 60)
            daemon.stop()
        finally:
            daemon.process.send_signal(signal.SIGKILL)
        assert rows_have_their_files(medium / "archive") == FILES
