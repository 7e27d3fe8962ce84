"""Who is alive: locks that a dead process cannot keep."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sorter.errors import AlreadyRunningError
from sorter.organizer.tree import make_root, trouble

META = ".sorter"


# `sorter status` holds the daemon's lock for a moment to see whether it is free.
_PATIENCE = 1.0


class DaemonLease:
    """Held for the life of a daemon: one daemon an archive, and the way to see whether one runs."""

    def __init__(self, root: Path) -> None:
        with trouble(f"open the archive {root}"):
            make_root(root / META)
            self._fd = open_lock(root / META / "daemon.lock")
        give_up = time.monotonic() + _PATIENCE
        while not _locked(self._fd, fcntl.LOCK_EX):
            if time.monotonic() > give_up:
                os.close(self._fd)
                raise AlreadyRunningError("another sorter daemon already serves this archive")
            time.sleep(_PATIENCE / 20)

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
            return not _locked(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)


class RunsLease:
    """Held by everything that writes to an archive, as long as it does.

    Runs that take turns (a daemon, rescans) hold it together; what needs the archive for itself, such as a
    new index, holds it alone. Whoever cannot have it fails at once and says what runs.

    Parameters
    ----------
    root
        The archive root; its ``.sorter`` folder exists.
    alone
        Whether nothing else may run meanwhile.

    Raises
    ------
    AlreadyRunningError
        Something else runs that does not go with it.
    """

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        path = root / META / "runs.lock"
        with trouble(f"open the archive {root}"):
            self._fd = open_lock(path)
        if _locked(self._fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
            return
        os.close(self._fd)
        found = sorted(holders(path))
        who = f"process {', '.join(map(str, found))}" if found else "another process"
        if not alone:
            raise AlreadyRunningError(f"{who} needs this archive for itself: wait until it has ended")
        raise AlreadyRunningError(
            f"this needs the archive for itself, and {who} uses it (a daemon, a rescan or the like): "
            "stop it first, or wait until it has ended"
        )

    def release(self) -> None:
        """Give the lease back."""
        os.close(self._fd)

    def __enter__(self) -> RunsLease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holders(path: Path) -> set[int]:
    """Process ids that hold a lock on a file, as far as this process may see them."""
    return {pid for pid, waits, _ in _locks(path) if not waits}


def holds_up(path: Path) -> int | None:
    """The process for whose lock on a file this process waits right now; ``None`` where it does not wait."""
    found = list(_locks(path))
    waiting = {number for pid, waits, number in found if waits and pid == os.getpid()}
    return next((pid for pid, waits, number in found if number in waiting and not waits), None)


def _locks(path: Path) -> Iterator[tuple[int, bool, str]]:
    """(process id, whether it waits, number of the lock) for the locks on a file.

    Source: https://man7.org/linux/man-pages/man5/proc_locks.5.html
    """
    try:
        inode = str(path.stat().st_ino)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return  # it is only for people
    for line in lines:
        fields = line.replace(" -> ", " ").split()
        # The device is not compared: btrfs shows another one here than stat does.
        if len(fields) >= 6 and fields[5].rpartition(":")[2] == inode:
            yield int(fields[4]), " -> " in line, fields[0]


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
        yield _locked(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)


def clear_folder(folder: Path) -> int:
    """Remove all that is staged in a folder; returns how many files there were."""
    count = 0
    for entry in list(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():  # a lane
            count += clear_folder(entry)
            entry.rmdir()
        elif entry.name != ".lease":
            entry.unlink(missing_ok=True)
            count += 1
    return count


def remove_folder(folder: Path) -> int:
    """Remove a staging folder and all in it; returns how many staged files there were."""
    count = clear_folder(folder)
    (folder / ".lease").unlink(missing_ok=True)
    folder.rmdir()
    return count
