"""Staging: new files only, all or nothing, removed where asked."""

import errno
import os
import pickle
import threading
from pathlib import Path

import pytest

from sorter.errors import ArchiveError, ArchiveFullError
from sorter.organizer.direct import DIRECT_FROM
from sorter.organizer.staging import Staging, WriteBehind


@pytest.fixture
def staging(tmp_path):
    return Staging(str(tmp_path))


def test_chunks_become_one_file_and_its_size_is_told(staging):
    assert staging.write("a", [b"one", b"", b"two"], sync=False) == 6
    assert Path(staging.path("a")).read_bytes() == b"onetwo"


def test_short_writes_are_continued(staging, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:2]))
    assert staging.write("a", [b"seven77"], sync=False) == 7
    assert Path(staging.path("a")).read_bytes() == b"seven77"


def test_a_staged_file_is_never_written_twice(staging):
    staging.write("a", [b"first"], sync=False)
    with pytest.raises(ArchiveError):
        staging.create("a")
    with pytest.raises(ArchiveError):
        staging.write("a", [b"second"], sync=False)
    assert Path(staging.path("a")).read_bytes() == b"first"


def test_a_planted_symlink_is_not_written_through(staging, tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "outside")
    with pytest.raises(ArchiveError):
        staging.write("a", [b"x"], sync=False)
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, ArchiveFullError),
        (errno.EDQUOT, ArchiveFullError),
        (errno.EIO, ArchiveError),
        (errno.EROFS, ArchiveError),
    ],
)
def test_trouble_names_the_step_and_no_path_and_leaves_no_file(staging, monkeypatch, number, expected):
    def fail(_fd, _data):
        raise OSError(number, os.strerror(number), "/secret")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(expected) as caught:
        staging.write("a", [b"x"], sync=False)
    assert type(caught.value) is expected
    assert str(caught.value) == f"cannot stage a file: {os.strerror(number)}"
    assert os.listdir(staging.folder) == []


def test_trouble_with_what_is_read_leaves_no_file_and_passes(staging):
    def chunks():
        yield b"half"
        raise KeyError

    with pytest.raises(KeyError):
        staging.write("a", chunks(), sync=False)
    assert os.listdir(staging.folder) == []


def test_no_descriptor_stays_open(staging):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        staging.write(f"{number}", [b"x"], sync=True)
        with pytest.raises(ArchiveError):
            staging.write(f"{number}", [b"x"], sync=True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_created_file_is_empty_and_can_be_read_back(staging):
    with staging.create("a") as out:
        out.write(b"0123")
        out.seek(1)
        assert out.read(2) == b"12"
    assert Path(staging.path("a")).read_bytes() == b"0123"


def test_discarding_what_is_not_there_is_no_error(staging):
    staging.write("a", [b"x"], sync=False)
    staging.discard("a")
    staging.discard("a")
    assert os.listdir(staging.folder) == []


def test_it_travels_to_a_worker(staging):
    assert pickle.loads(pickle.dumps(staging)) == staging


def test_what_is_written_behind_is_there_when_the_block_ends(staging):
    large = os.urandom(DIRECT_FROM + 5)
    with WriteBehind(staging) as behind:
        for number in range(3):
            behind.write(f"large{number}", large, sync=number == 1)
            behind.write(f"small{number}", b"s", sync=False)
    assert {Path(staging.path(name)).read_bytes() for name in staging.found("large")} == {large}
    assert len(staging.found("small")) == 3


@pytest.mark.parametrize("last", [b"small", bytes(DIRECT_FROM)])
def test_trouble_with_a_write_behind_comes_with_the_next_or_at_the_end(staging, last):
    staging.write("taken", [b"first"], sync=False)
    with pytest.raises(ArchiveError, match="stage a file: File exists"), WriteBehind(staging) as behind:
        behind.write("taken", bytes(DIRECT_FROM), sync=False)
        behind.write("a", last, sync=False)
    with pytest.raises(ArchiveError, match="stage a file: File exists"), WriteBehind(staging) as behind:
        behind.write("b", last, sync=False)
        behind.write("taken", bytes(DIRECT_FROM), sync=False)


def test_without_memory_for_a_thread_it_is_written_at_once(staging, monkeypatch):
    def start(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with WriteBehind(staging) as behind:
        behind.write("a", bytes(DIRECT_FROM), sync=False)
    assert Path(staging.path("a")).stat().st_size == DIRECT_FROM


def test_the_end_for_another_reason_still_waits_for_what_is_being_written(staging):
    with pytest.raises(KeyError), WriteBehind(staging) as behind:
        behind.write("a", bytes(DIRECT_FROM), sync=False)
        raise KeyError
    assert Path(staging.path("a")).stat().st_size == DIRECT_FROM
