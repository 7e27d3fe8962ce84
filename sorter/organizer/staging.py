"""Staging: where bytes wait, durable, until they get a name. Used by the workers and by the archive."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, Self

from sorter.organizer.direct import DIRECT_FROM, write_all
from sorter.organizer.tree import syncfs, trouble

# Archived files are read-only from the start: a published file never changes.
FILE_MODE = 0o444
# Two processes that make files in one folder wait for each other, so jobs that run side by side use several.
LANES = 16
# https://man7.org/linux/man-pages/man2/ioctl_ficlone.2.html
_FICLONE = 0x40049409
_NO_CLONES = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)
_copied: set[tuple[int, str]] = set()  # (device, staging folder): between these no file can be cloned
_BEHIND = 32 << 20  # the most that is kept in memory while it is written
_CREATE = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Staging:
    """One run's own folder below ``<archive>/.sorter/staging``; cheap to make and to send to a worker.

    The name of a staged file may begin with a lane: one folder below, made when it is first needed.
    """

    folder: str

    def path(self, name: str) -> str:
        """The absolute path of a staged file."""
        return f"{self.folder}/{name}"

    def write(self, name: str, chunks: Iterable[bytes], *, sync: bool, read_again: bool = False) -> int:
        """Write a new staged file; returns its size in bytes.

        Parameters
        ----------
        read_again
            Whether that is soon, so that it is kept in the page cache.

        Raises
        ------
        ArchiveFullError, ArchiveError
            The archive cannot take it; the half-written file is removed.
        """
        with trouble("stage a file"):
            fd = self._new(name)
            try:
                size = 0
                for chunk in chunks:
                    size += write_all(fd, chunk, cached=read_again)
                _make_durable(fd, sync)
            except BaseException:
                self.discard(name)
                raise
            finally:
                os.close(fd)
            return size

    def clone(self, name: str, source: int, *, sync: bool) -> int | None:
        """A new staged file that shares the blocks of an open one, where the file system can do that.

        Returns
        -------
        int or None
            Its descriptor; the caller closes it. ``None`` where the file must be copied: nothing is staged.

        Raises
        ------
        ArchiveFullError, ArchiveError
            The archive cannot take a file.
        """
        between = os.fstat(source).st_dev, self.folder
        if between in _copied:
            return None
        with trouble("stage a file"):
            fd = self._new(name)
            try:
                fcntl.ioctl(fd, _FICLONE, source)
                _make_durable(fd, sync)
            except OSError as error:  # whatever it is, copying will tell
                os.close(fd)
                self.discard(name)
                if error.errno in _NO_CLONES:
                    _copied.add(between)
                return None
        return fd

    def create(self, name: str) -> BinaryIO:
        """A new, empty staged file, open for reading and writing."""
        with trouble("stage a file"):
            return os.fdopen(self._new(name), "w+b", buffering=1 << 20)

    def sync(self) -> None:
        """Make all that is staged durable (rule 1), by one ``syncfs``."""
        with trouble("make staged files durable"):
            fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                syncfs(fd)
            finally:
                os.close(fd)

    def _new(self, name: str) -> int:
        path = self.path(name)
        try:
            return os.open(path, _CREATE, FILE_MODE)
        except FileNotFoundError:
            if "/" not in name:
                raise
            with contextlib.suppress(FileExistsError):  # another worker was quicker
                os.mkdir(os.path.dirname(path))
            return os.open(path, _CREATE, FILE_MODE)

    def found(self, prefix: str) -> list[str]:
        """Names of the staged files that begin so."""
        lane, slash, begins = prefix.rpartition("/")
        try:
            names = os.listdir(self.path(lane))
        except FileNotFoundError:
            return []  # nothing was staged in that lane yet
        return [f"{lane}{slash}{name}" for name in names if name.startswith(begins)]

    def discard(self, name: str) -> None:
        """Remove a staged file, if it is there."""
        with trouble("remove a staged file"), contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))  # a Path would cost more than the call


def _make_durable(fd: int, sync: bool) -> None:
    """Sync a staged file (rule 1), unless it is one of many that are synced at once."""
    if sync:
        os.fsync(fd)


class WriteBehind:
    """Writes one staged file while its caller reads the next; all are written when the block ends.

    Raises what :meth:`Staging.write` raises, at the next write or at the end of the block.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._thread = ThreadPoolExecutor(1, "write")  # which starts none before there is something to write
        self._writing: Future[int] | None = None

    def write(self, name: str, data: bytes, *, sync: bool) -> None:
        """Write a new staged file: behind, where that waits for the disk and ``data`` may wait with it."""
        self._wait()
        if DIRECT_FROM <= len(data) <= _BEHIND:
            with contextlib.suppress(RuntimeError):  # no memory for a thread
                self._writing = self._thread.submit(self._staging.write, name, [data], sync=sync)
                return
        self._staging.write(name, [data], sync=sync)

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self._wait()
