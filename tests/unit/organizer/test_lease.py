"""Who may run beside whom, and who waits for whom."""

import fcntl
import os
import threading
import time

import pytest

from sorter.errors import AlreadyRunningError
from sorter.organizer import lease as module
from sorter.organizer.lease import DaemonLease, RunsLease, holders, holds_up, open_lock


@pytest.fixture
def root(tmp_path):
    (tmp_path / ".sorter").mkdir()
    return tmp_path


def wait_for(condition, seconds=10.0):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_daemon_starts_while_somebody_asks_for_a_moment_whether_one_runs(root):
    fd = open_lock(root / ".sorter/daemon.lock")
    fcntl.flock(fd, fcntl.LOCK_SH)
    asking = threading.Timer(0.2, os.close, (fd,))
    asking.start()
    DaemonLease(root).release()
    asking.join()


def test_a_second_daemon_is_refused(root, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    first = DaemonLease(root)
    with pytest.raises(AlreadyRunningError):
        DaemonLease(root)
    first.release()
    DaemonLease(root).release()


def test_it_is_seen_whether_a_daemon_runs(root):
    lease = DaemonLease(root)
    assert DaemonLease.is_held(root) is True
    lease.release()
    assert DaemonLease.is_held(root) is False


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(False, False, True), (False, True, False), (True, False, False), (True, True, False)],
    ids=["two that take turns", "alone beside one", "one beside alone", "two alone"],
)
def test_what_needs_the_archive_for_itself_runs_alone(root, first, second, expected):
    with RunsLease(root, alone=first):
        try:
            RunsLease(root, alone=second).release()
            together = True
        except AlreadyRunningError as error:
            together = False
            assert str(os.getpid()) in str(error)
    assert together is expected
    RunsLease(root, alone=True).release()


def test_who_holds_a_lock_and_for_whom_this_process_waits_is_seen(root):
    path = root / ".sorter/lock"
    fd, other = open_lock(path), open_lock(path)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert (holders(path), holds_up(path)) == ({os.getpid()}, None)
    waiting = threading.Thread(target=fcntl.flock, args=(other, fcntl.LOCK_EX))
    waiting.start()
    try:
        wait_for(lambda: holds_up(path) == os.getpid())
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
        waiting.join()
        os.close(fd)
        os.close(other)
    assert (holders(path), holds_up(path)) == (set(), None)
