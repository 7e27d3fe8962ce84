"""The order of arrival is on the files themselves, whoever takes the turn and wherever the clock is set."""

import errno
import os
import time

import pytest

from sorter.organizer.stamps import Stamps

NOW = 1_700_000_000_000_000_000


@pytest.fixture
def folder(tmp_path):
    """Descriptor of a folder with a few files."""
    (tmp_path / "files").mkdir()
    for name in "abcdef":
        (tmp_path / "files" / name).write_bytes(b"")
    fd = os.open(tmp_path / "files", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def lock(tmp_path, folder):
    """Descriptor of the lock file of a young archive."""
    (tmp_path / "lock").touch()
    fd = os.open(tmp_path / "lock", os.O_RDWR)
    os.utime(fd, ns=(0, 0))
    yield fd
    os.close(fd)


@pytest.fixture
def clock(monkeypatch):
    """The wall clock, in nanoseconds, as a list of one."""
    now = [NOW]
    monkeypatch.setattr(time, "time_ns", lambda: now[0])
    return now


def turn(stamps, folder, names):
    stamps.reserve(len(names))
    for name in names:
        stamps.put(name, folder)
    return stamped(folder, names)


def stamped(folder, names):
    return [os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns for name in names]


def test_within_a_turn_they_grow_from_the_time_it_is(lock, folder, clock):
    assert turn(Stamps(lock), folder, "abc") == [NOW, NOW + 1, NOW + 2]


@pytest.mark.parametrize("step", [-3600 * 10**9, 0, 1, 3600 * 10**9])
def test_from_turn_to_turn_they_grow_wherever_the_clock_is_set(lock, folder, clock, step):
    stamps = Stamps(lock)
    first = turn(stamps, folder, "abc")
    clock[0] += step
    second = turn(stamps, folder, "def")
    found = first + second
    assert found == sorted(set(found))


def test_where_the_clock_has_gone_on_they_are_the_time_it_is(lock, folder, clock):
    stamps = Stamps(lock)
    turn(stamps, folder, "abc")
    clock[0] += 10**9
    assert turn(stamps, folder, "d") == [NOW + 10**9]


def test_another_process_goes_on_where_this_one_stopped(lock, folder, clock, tmp_path):
    first = turn(Stamps(lock), folder, "abc")
    clock[0] -= 10**9
    other = os.open(tmp_path / "lock", os.O_RDWR)
    second = turn(Stamps(other), folder, "def")
    os.close(other)
    assert min(second) > max(first)


def test_what_was_reserved_and_not_used_is_never_given_again(lock, folder, clock):
    """The turn may have ended halfway."""
    Stamps(lock).reserve(100)
    assert min(turn(Stamps(lock), folder, "a")) >= NOW + 100


def test_a_link_is_stamped_itself_and_not_what_it_leads_to(lock, folder, clock):
    os.utime("a", ns=(1, 1), dir_fd=folder)
    os.symlink("a", "link", dir_fd=folder)
    assert turn(Stamps(lock), folder, ["link"]) == [NOW]
    assert stamped(folder, "a") == [1]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_keeps_no_times_is_no_error(lock, folder, clock, monkeypatch, number):
    before = stamped(folder, "abc")
    monkeypatch.setattr(os, "utime", failing(number))
    assert turn(Stamps(lock), folder, "abc") == before


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ENOENT])
def test_other_trouble_is_raised(lock, folder, clock, monkeypatch, number):
    stamps = Stamps(lock)
    stamps.reserve(1)
    monkeypatch.setattr(os, "utime", failing(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        stamps.reserve(1)
    with pytest.raises(OSError, match=os.strerror(number)):
        stamps.put("a", folder)


def failing(number):
    def utime(*_args, **_more):
        raise OSError(number, os.strerror(number))

    return utime
