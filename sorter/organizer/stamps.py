"""The order of arrival, written on the files themselves, as their modification times.

The first instance to come speaks for its patient, study and series. Only this tells a new index, made from
the tree alone, which one it was. No promise rests on it, so it is not synced, and a file system that keeps
no such times is no error.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterator


class Stamps:
    """The stamps of one archive: they grow from turn to turn, whoever takes it and wherever the clock is set.

    Parameters
    ----------
    lock
        Descriptor of the archive's lock file, which keeps the last one.
    """

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self._next = itertools.count()

    def reserve(self, count: int) -> None:
        """Take so many for this turn."""
        first = max(time.time_ns(), os.fstat(self._lock).st_mtime_ns + 1)
        self._next = itertools.count(first)
        with _no_times():
            os.utime(self._lock, ns=(first + count, first + count))

    def put(self, name: str, folder: int) -> None:
        """Write the next one on a file of this folder (a descriptor)."""
        now = next(self._next)
        with _no_times():
            os.utime(name, ns=(now, now), dir_fd=folder, follow_symlinks=False)


@contextlib.contextmanager
def _no_times() -> Iterator[None]:
    """A file system that keeps no such times, or does not let us set them, is no error."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
