"""Writing past the page cache, where that is cheaper: large files on ext4 and XFS.

A page of the cache has to be found, cleared and written back, for a file that is not read again soon; a
write that goes straight to the disk needs none. See docs/performance.md for what that saves.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import time
from dataclasses import dataclass

# Below, the pages cost less than the wait for the disk.
DIRECT_FROM = 128 << 10
# Offsets, lengths and addresses are multiples of this: no disk asks for more than its file system's block.
_BLOCK = 4096
_AREA = 1 << 20
# https://man7.org/linux/man-pages/man2/statfs.2.html; others copy all the same, or write through to a server.
_DIRECT = frozenset((0xEF53, 0x58465342))  # ext4, XFS
# Seconds a byte (125 MB/s): from the cache such a disk is given many writes at once, and does better.
_SLOW = 8e-9
_PAUSE = 256  # writes through the cache, until it is asked again how fast the disk is

_libc = ctypes.CDLL(None)
_areas: list[mmap.mmap] = []  # memory that begins at a page, for the next thread that writes


@dataclass(slots=True)
class _Pace:
    """How fast the disk takes what goes past the cache, over the last writes of this process."""

    mean: float = 0.0
    pause: int = 0

    def allows(self) -> bool:
        """Whether the next write may wait for the disk."""
        self.pause = max(0, self.pause - 1)
        return not self.pause

    def note(self, seconds: float, size: int) -> None:
        """Learn from a write."""
        self.mean += (seconds / size - self.mean) / 8
        if self.mean > _SLOW:
            self.mean, self.pause = 0.0, _PAUSE


_pace = _Pace()


def write_all(fd: int, data: bytes | memoryview, *, cached: bool = False) -> int:
    """Write all of ``data`` where the file stands, as much as pays past the page cache; returns its length.

    Nothing is durable yet. Raises OSError.

    Parameters
    ----------
    cached
        Whether it is to be in the page cache.
    """
    view = memoryview(data)
    if len(view) >= DIRECT_FROM and not cached and _suits(fd) and _pace.allows():
        view = view[_past_the_cache(fd, view) :]
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def _suits(fd: int) -> bool:
    facts = (ctypes.c_long * 64)()  # more than a struct statfs, which begins with its f_type
    if _libc.fstatfs(fd, facts) != 0 or facts[0] not in _DIRECT:
        return False
    return os.lseek(fd, 0, os.SEEK_CUR) % _BLOCK == 0


def _past_the_cache(fd: int, view: memoryview) -> int:
    """Write whole blocks as long as that goes well; returns how many bytes were written."""
    try:
        area = _areas.pop() if _areas else mmap.mmap(-1, _AREA, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        return 0  # a worker may be near the limit of its memory
    flags, done = fcntl.fcntl(fd, fcntl.F_GETFL), 0
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        while (size := min(_AREA, len(view) - done) // _BLOCK * _BLOCK) and done % _BLOCK == 0:
            area[:size] = view[done : done + size]
            began = time.monotonic()
            with memoryview(area) as whole:
                written = os.write(fd, whole[:size])
            if not written:
                break
            _pace.note(time.monotonic() - began, written)
            done += written
    except OSError as error:
        if error.errno != errno.EINVAL:  # which says that this disk wants it otherwise
            raise
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        _areas.append(area)
    return done
