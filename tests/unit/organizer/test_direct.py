"""Writing past the page cache: the same bytes, whatever the disk, the file system and the system calls do."""

import errno
import fcntl
import itertools
import os
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sorter.organizer import direct
from sorter.organizer.direct import DIRECT_FROM, write_all

BLOCK = 4096
SIZES = (0, 1, BLOCK, DIRECT_FROM - 1, DIRECT_FROM, DIRECT_FROM + 1, (1 << 20) + BLOCK, (3 << 20) + 5)


@pytest.fixture
def fd(tmp_path):
    fd = os.open(tmp_path / "a", os.O_CREAT | os.O_RDWR)
    yield fd
    os.close(fd)


def clock(monkeypatch, ticks):
    monkeypatch.setattr(direct, "time", SimpleNamespace(monotonic=ticks.__next__))


@pytest.fixture(autouse=True)
def pace(monkeypatch):
    """What other tests learned of the disk is forgotten, and how fast it is today does not matter."""
    monkeypatch.setattr(direct, "_pace", direct._Pace())
    clock(monkeypatch, itertools.count(step=1e-6))


@pytest.fixture
def suited(fd, monkeypatch):
    """A file system of those that are written past their cache; of others, the same by hand."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_RDWR | os.O_DIRECT)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_RDWR)
    except OSError:
        pytest.skip("this file system cannot be written past its cache")
    monkeypatch.setattr(direct, "_suits", lambda fd: os.lseek(fd, 0, os.SEEK_CUR) % BLOCK == 0)


@pytest.fixture
def writes(monkeypatch):
    """(whether past the cache, length) of each write."""
    made, real = [], os.write

    def write(fd, data):
        made.append((bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT), len(data)))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    return made


def content(fd):
    return os.pread(fd, os.fstat(fd).st_size + 1, 0)


@pytest.mark.parametrize("size", SIZES)
def test_the_file_holds_the_bytes_and_their_number_is_told(fd, size):
    data = os.urandom(size)
    assert write_all(fd, data) == size
    assert content(fd) == data


def test_whole_blocks_go_past_the_cache_and_the_rest_through_it(fd, suited, writes):
    data = os.urandom((1 << 20) + 3 * BLOCK + 7)
    write_all(fd, data)
    assert writes == [(True, 1 << 20), (True, 3 * BLOCK), (False, 7)]
    assert content(fd) == data


def test_the_descriptor_is_left_as_it_was(fd, suited):
    before = fcntl.fcntl(fd, fcntl.F_GETFL)
    write_all(fd, bytes(DIRECT_FROM))
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == before


def test_small_data_and_what_follows_a_part_of_a_block_go_through_the_cache(fd, suited, writes):
    write_all(fd, bytes(DIRECT_FROM - 1))
    write_all(fd, bytes(DIRECT_FROM))
    assert [past for past, _ in writes] == [False, False]


def test_what_is_to_be_cached_is_cached(fd, suited, writes):
    write_all(fd, bytes(DIRECT_FROM), cached=True)
    assert writes == [(False, DIRECT_FROM)]


def test_other_file_systems_are_written_as_ever(fd, monkeypatch, writes):
    monkeypatch.setattr(direct, "_DIRECT", frozenset())
    write_all(fd, bytes(DIRECT_FROM))
    assert writes == [(False, DIRECT_FROM)]


def test_a_disk_that_wants_it_otherwise_gets_it_through_the_cache(fd, suited, monkeypatch):
    real = os.write

    def write(fd, data):
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    data = os.urandom(DIRECT_FROM + 9)
    write_all(fd, data)
    assert content(fd) == data


def test_a_full_disk_is_told_at_once(fd, suited, monkeypatch):
    def full(_fd, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        write_all(fd, bytes(DIRECT_FROM))
    assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT


@given(
    size=st.integers(DIRECT_FROM, DIRECT_FROM + 3 * BLOCK),
    least=st.integers(1, 40_000),
)
def test_short_writes_of_any_length_are_continued(tmp_path_factory, size, least):
    """A disk may take less than it is given; then the file stands within a block."""
    real, data = os.write, os.urandom(size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct, "_suits", lambda fd: os.lseek(fd, 0, os.SEEK_CUR) % BLOCK == 0)
        patch.setattr(os, "write", lambda fd, view: real(fd, view[: max(least // 512 * 512, 512)]))
        path = tmp_path_factory.mktemp("short") / "a"
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        try:
            write_all(fd, data)
            assert content(fd) == data
        finally:
            os.close(fd)


def test_without_memory_for_it_all_goes_through_the_cache(fd, suited, writes, monkeypatch):
    def full(*_args, **_more):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(direct, "_areas", [])
    monkeypatch.setattr(direct.mmap, "mmap", full)
    write_all(fd, bytes(DIRECT_FROM))
    assert writes == [(False, DIRECT_FROM)]


def past(writes):
    """Whether each write went past the cache, with how many times in a row."""
    return [(kind, len(list(group))) for kind, group in itertools.groupby(kind for kind, _ in writes)]


def test_a_slow_disk_is_written_through_the_cache_and_asked_again_later(fd, suited, writes, monkeypatch):
    clock(monkeypatch, itertools.count(step=0.002))
    for _ in range(direct._PAUSE + 8):
        write_all(fd, bytes(DIRECT_FROM))
    (first, slow), (then, pause), (last, _) = past(writes)
    assert (first, then, last) == (True, False, True)
    assert (slow, pause) == (6, direct._PAUSE - 1)


def test_one_slow_write_says_nothing_of_the_disk(fd, suited, writes, monkeypatch):
    ticks = itertools.chain([0.0, 0.005], itertools.count(1.0, 1e-5))
    clock(monkeypatch, ticks)
    for _ in range(50):
        write_all(fd, bytes(DIRECT_FROM))
    assert past(writes) == [(True, 50)]


def test_threads_do_not_write_each_others_bytes(tmp_path):
    def write(number):
        fd = os.open(tmp_path / str(number), os.O_CREAT | os.O_RDWR)
        for _ in range(20):
            write_all(fd, bytes([number]) * DIRECT_FROM)
        os.close(fd)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert (tmp_path / str(number)).read_bytes() == bytes([number]) * DIRECT_FROM * 20
