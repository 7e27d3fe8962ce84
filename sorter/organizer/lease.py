"""Who is alive: locks that a dead process cannot keep."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sorter.errors import AlreadyRunningError
from sorter.organizer.tree import make_root, trouble

META = ".sorter"


class DaemonLease:
    """Held for the life of a daemon: one daemon an archive, and the way to see whether one runs."""

    def __init__(self, root: Path) -> None:
        with trouble("open the archive"):
            make_root(root / META)
            self._fd = open_lock(root / META / "daemon.lock")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise AlreadyRunningError("another sorter daemon already serves this archive") from None

    def release(self) -> None:
        """Give the lease back."""
        os.close(self._fd)

    @staticmethod
    def is_held(root: Path) -> bool:
        """Whether a daemon runs on this archive; writes nothing."""
        try:
            fd = os.open(root / META / "daemon.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False


def open_lock(path: Path) -> int:
    """Descriptor of a lock file, made where missing."""
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


@contextlib.contextmanager
def lease_if_dead(folder: Path) -> Iterator[bool]:
    """Whether the run that staged here is dead; if so, its lease is held meanwhile."""
    try:
        fd = os.open(folder / ".lease", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True  # its run died before it took the lease
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)


def clear_folder(folder: Path) -> int:
    """Remove all that is staged in a folder; returns how many files there were."""
    staged = [entry for entry in folder.iterdir() if entry.name != ".lease"]
    for entry in staged:
        entry.unlink(missing_ok=True)
    return len(staged)


def remove_folder(folder: Path) -> int:
    """Remove a staging folder and all in it; returns how many staged files there were."""
    count = clear_folder(folder)
    (folder / ".lease").unlink(missing_ok=True)
    folder.rmdir()
    return count
