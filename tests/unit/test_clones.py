"""Sources that share their blocks with the archive where the file system can do that; else they are copied.

A call that copies plays the file system that can; ``tests/e2e/test_clones_on_xfs.py`` has a real one.
"""

import errno
import fcntl
import gzip
import hashlib
import os
from pathlib import Path

import pytest
from support import bundled, dicom, drop

from sorter import reading, stage
from sorter.model import Candidate, Kind, Pixels, Reason
from sorter.organizer import staging as module
from sorter.organizer.staging import Staging
from sorter.parser.pixels import FAMILIES


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """All files count as large enough, and nothing is known of any device."""
    monkeypatch.setattr(reading, "CLONED_FROM", 0)
    monkeypatch.setattr(module, "_copied", set())


@pytest.fixture
def staging(tmp_path):
    (tmp_path / "staging").mkdir()
    return Staging(str(tmp_path / "staging"))


def play(monkeypatch, clone):
    """Have the file system clone like this; returns the list of calls."""
    calls = []

    def ioctl(target, request, origin):
        assert request == 0x40049409
        calls.append(target)
        clone(target, origin)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return calls


def share(target, origin):
    os.pwrite(target, os.pread(origin, os.fstat(origin).st_size, 0), 0)


def failing(number):
    def fail(_target, _origin):
        raise OSError(number, os.strerror(number))

    return fail


def run(staging, path, name="1-0-", **more):
    seen = os.lstat(path)
    version = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    one = Candidate(str(path.parent), path.name, *version)
    (found,) = stage.stage(stage.Job((one,), staging, name, frozenset(FAMILIES), **more))
    return found


def staged_bytes(staging, one):
    return Path(staging.path(one.name)).read_bytes()


@pytest.mark.parametrize("in_memory", [reading.IN_MEMORY, 100])
def test_a_cloned_file_comes_out_as_a_copied_one_does(tmp_path, staging, monkeypatch, in_memory):
    monkeypatch.setattr(reading, "IN_MEMORY", in_memory)
    path = drop(tmp_path, "a", dicom())
    copied = run(staging, path, "copied-")
    module._copied.clear()
    calls = play(monkeypatch, share)
    cloned = run(staging, path, "cloned-")
    assert len(calls) == 1
    assert (cloned.instance, cloned.source_sha256) == (copied.instance, copied.source_sha256)
    assert staged_bytes(staging, cloned) == staged_bytes(staging, copied) == path.read_bytes()
    assert Path(staging.path(cloned.name)).stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("in_memory", [reading.IN_MEMORY, 100])
def test_what_is_hashed_is_what_will_be_archived(tmp_path, staging, monkeypatch, in_memory):
    """A writer through a memory map may change a file without a trace; it is the clone that is archived."""
    monkeypatch.setattr(reading, "IN_MEMORY", in_memory)
    other = dicom(PatientName="other")
    path = drop(tmp_path, "a", dicom(PatientName="first"))
    assert len(other) == path.stat().st_size
    play(monkeypatch, lambda target, _origin: os.pwrite(target, other, 0))
    one = run(staging, path)
    assert staged_bytes(staging, one) == other
    assert one.instance.sha256 == one.source_sha256 == hashlib.sha256(other).hexdigest()


@pytest.mark.parametrize("in_memory", [reading.IN_MEMORY, 100])
def test_a_source_that_changes_while_it_is_cloned_is_looked_at_again(
    tmp_path, staging, monkeypatch, in_memory
):
    monkeypatch.setattr(reading, "IN_MEMORY", in_memory)
    path = drop(tmp_path, "a", dicom())

    def change(target, origin):
        share(target, origin)
        path.write_bytes(dicom(PatientName="later"))

    play(monkeypatch, change)
    one = run(staging, path)
    assert (one.kind, one.reason) == (Kind.DEFERRED, Reason.CHANGING)
    assert os.listdir(staging.folder) == []


def test_a_clone_of_another_length_is_looked_at_again(tmp_path, staging, monkeypatch):
    path = drop(tmp_path, "a", dicom())
    play(monkeypatch, lambda target, _origin: os.pwrite(target, b"grown" * 10_000, 0))
    one = run(staging, path)
    assert (one.kind, one.reason) == (Kind.DEFERRED, Reason.CHANGING)
    assert os.listdir(staging.folder) == []


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY])
def test_where_nothing_can_be_cloned_all_is_copied_and_it_is_asked_once(
    tmp_path, staging, monkeypatch, number
):
    calls = play(monkeypatch, failing(number))
    for name in ("a", "b"):
        path = drop(tmp_path, name, dicom())
        one = run(staging, path, f"{name}-")
        assert staged_bytes(staging, one) == path.read_bytes()
    assert len(calls) == 1
    assert len(os.listdir(staging.folder)) == 2


def test_any_other_trouble_costs_this_file_its_clone_only(tmp_path, staging, monkeypatch):
    calls = play(monkeypatch, failing(errno.ENOSPC))
    for name in ("a", "b"):
        path = drop(tmp_path, name, dicom())
        assert staged_bytes(staging, run(staging, path, f"{name}-")) == path.read_bytes()
    assert len(calls) == 2


def test_of_a_file_that_is_decoded_no_clone_stays(tmp_path, staging, monkeypatch):
    play(monkeypatch, share)
    path = drop(tmp_path, "a", bundled("MR_small_RLE.dcm").read_bytes())
    one = run(staging, path)
    assert one.instance.pixels is Pixels.TRANSCODED
    assert os.listdir(staging.folder) == [one.name]


@pytest.mark.parametrize("sync", [True, False])
def test_a_clone_is_synced_only_where_asked(tmp_path, staging, monkeypatch, sync):
    play(monkeypatch, share)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    one = run(staging, drop(tmp_path, "a", dicom()), sync=sync)
    assert synced == ([staging.path(one.name)] if sync else [])


def test_junk_is_cloned_for_quarantine(tmp_path, staging, monkeypatch):
    play(monkeypatch, share)
    path = drop(tmp_path, "a", b"no DICOM" * 100)
    one = run(staging, path)
    assert (one.kind, one.reason) == (Kind.REJECTED, Reason.NOT_DICOM)
    assert staged_bytes(staging, one) == path.read_bytes()


def test_large_junk_is_neither_copied_nor_cloned(tmp_path, staging, monkeypatch):
    monkeypatch.setattr(reading, "JUNK_COPIED_UP_TO", 100)
    calls = play(monkeypatch, share)
    one = run(staging, drop(tmp_path, "a", b"no DICOM" * 100))
    assert (one.reason, one.name, calls) == (Reason.NOT_DICOM, "", [])


def test_what_is_inside_a_gzip_has_no_blocks_to_share(tmp_path, staging, monkeypatch):
    calls = play(monkeypatch, share)
    one = run(staging, drop(tmp_path, "a.gz", gzip.compress(dicom())))
    assert (staged_bytes(staging, one), calls) == (dicom(), [])
