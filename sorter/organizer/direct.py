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
import threading

# Below, the pages cost less than the wait for the disk.
DIRECT_FROM = 128 << 10
# Offsets, lengths and addresses are multiples of this: no disk asks for more than its file system's block.
_BLOCK = 4096
_AREA = 1 << 20
# https://man7.org/linux/man-pages/man2/statfs.2.html; others copy all the same, or write through to a server.
_DIRECT = frozenset((0xEF53, 0x58465342))  # ext4, XFS

_libc = ctypes.CDLL(None)


class _Own(threading.local):
    """Memory that begins at a page, for each thread that writes."""

    def __init__(self) -> None:
        self.area = mmap.mmap(-1, _AREA, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


_own = _Own()


def write_all(fd: int, data: bytes | memoryview, *, cached: bool = False) -> int:
    """Write all of ``data`` where the file stands, as much as pays past the page cache; returns its length.

    Nothing is durable yet. Raises OSError.

    Parameters
    ----------
    cached
        Whether it is to be in the page cache.
    """
    view = memoryview(data)
    if len(view) >= DIRECT_FROM and not cached and _suits(fd):
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
    flags, done = fcntl.fcntl(fd, fcntl.F_GETFL), 0
    try:
        area = _own.area
    except (OSError, MemoryError):
        return 0  # a worker may be near its limit
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        while (size := min(_AREA, len(view) - done) // _BLOCK * _BLOCK) and done % _BLOCK == 0:
            area[:size] = view[done : done + size]
            with memoryview(area) as whole:
                done += os.write(fd, whole[:size])
    except OSError as error:
        if error.errno != errno.EINVAL:  # which says that this disk wants it otherwise
            raise
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
    return done
