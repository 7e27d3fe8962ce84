"""Directories below the archive root, by descriptor: no symlink is followed, nothing escapes.

Every step opens one component with ``O_NOFOLLOW`` relative to its parent's descriptor, so a planted symlink
leads nowhere. (``openat2(RESOLVE_BENEATH)`` would do it in one call but returns ENOSYS under systemd's
``RestrictSUIDSGID=``.)
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from sorter.errors import ArchiveError, ArchiveFullError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Trouble of this process or of the disk, which says nothing about what lies under a name.
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
_RENAME_NOREPLACE = 1
_CHUNK = 1 << 20
# 255 bytes are usual, and the layout keeps to them; eCryptfs allows 143.
_TOO_LONG = (
    "the archive's file system allows no name as long as this one: choose a template with shorter names"
)
# Above this many, one syncfs costs less than an fsync each (docs/performance.md).
SYNC_EACH_UP_TO = 16

_libc = ctypes.CDLL(None, use_errno=True)


class Blocked(Exception):  # noqa: N818 - a state of one place, not an error of the run
    """A file cannot get its name there, whatever is tried; concerns one place only. Says why."""

    def __init__(
        self, why: str = "something that is not a folder stands in the archive where a folder must be"
    ) -> None:
        super().__init__(why)


@contextlib.contextmanager
def trouble(doing: str) -> Iterator[None]:
    """Turn an OSError below the archive root into the exception that ends the process.

    Raises
    ------
    ArchiveFullError
        No space or no quota.
    ArchiveError
        Anything else. Names the step and the errno, never a path: paths hold patient ids.
    """
    try:
        yield
    except OSError as error:
        kind = ArchiveFullError if error.errno in _FULL else ArchiveError
        raise kind(f"cannot {doing}: {os.strerror(error.errno or 0)}") from None


def make_root(path: Path) -> None:
    """Make a folder with its ancestors where missing, durably: rows will rely on their names (rule 2)."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def syncfs(fd: int) -> None:
    """Make all of a file system durable; reports write-back errors since Linux 5.8."""
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Tree:
    """Descriptors of directories below a root, opened once a turn.

    They are kept for one turn only (:meth:`forget`), so that a folder that somebody moves by hand is found
    moved. Every directory used in a turn counts as dirty, even when it already existed: an earlier process
    may have died between ``mkdir`` and ``fsync``, and rule 2 asks that every ancestor of a name is durable
    before the row. Syncing a clean directory costs next to nothing.
    """

    def __init__(self, root: Path, *, keep: int = 256) -> None:
        self.fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._keep = keep
        self._open: OrderedDict[str, int] = OrderedDict()
        self._dirty: set[str] = set()

    def directory(self, folder: str) -> int:
        """Descriptor of ``folder`` (relative, ``/``-separated), made where missing.

        Raises
        ------
        Blocked
            A component exists and is not a real directory, or its name is too long for the file system.
        """
        if not folder:
            return self.fd
        fd = self._open.get(folder)
        if fd is not None:
            self._open.move_to_end(folder)
            return fd
        parent, _, name = folder.rpartition("/")
        parent_fd = self.directory(parent)
        fd = _open_or_make(name, parent_fd)
        self._dirty.add(parent)
        self._open[folder] = fd
        if len(self._open) > self._keep:
            self._evict()
        return fd

    def _evict(self) -> None:
        for folder in list(self._open)[: self._keep // 4]:  # the longest unused
            os.close(self._open.pop(folder))

    def link(self, source: str, source_fd: int, folder: str, name: str) -> None:
        """Give a staged file its name, never replacing one.

        Raises
        ------
        FileExistsError
            The name is taken.
        Blocked
            The file system does not allow a name as long as this.
        """
        target_fd = self.directory(folder)
        try:
            os.link(source, name, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise Blocked(_TOO_LONG) from None
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # FAT, exFAT and some network file systems have no hard links.
            _rename_noreplace(source, source_fd, name, target_fd)
        self._dirty.add(folder)

    def touch(self, folder: str) -> None:
        """Count ``folder`` as dirty: a name in it is relied upon that this process did not make."""
        self.directory(folder)
        self._dirty.add(folder)

    def holds(self, folder: str, name: str, sha256: str) -> bool:
        """Whether the name holds just these bytes; then it counts as ours, made durable again."""
        return self.vouch(folder, name, lambda fd: digest(fd) == sha256)

    def vouch(self, folder: str, name: str, is_ours: Callable[[int], bool]) -> bool:
        """Make bytes durable that are relied upon though another process named them, with their folder.

        False, and nothing is done, where the name is no regular file, or not ours.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, dir_fd=self.directory(folder))
        except Blocked:
            return False
        except OSError as error:
            if error.errno in _SCARCE:
                raise
            return False  # a symlink, a socket, somebody else's, or gone: not what we published
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode) or not is_ours(fd):
                return False
            os.fsync(fd)
        finally:
            os.close(fd)
        self.touch(folder)
        return True

    def sync(self) -> None:
        """Make every name given since the last call durable (rule 2)."""
        if len(self._dirty) > SYNC_EACH_UP_TO:
            self.sync_all()
        else:
            for folder in list(self._dirty):
                os.fsync(self.directory(folder))
        self._dirty.clear()

    def sync_all(self) -> None:
        """Make all of the archive's file system durable."""
        syncfs(self.fd)

    def forget(self) -> None:
        """End the turn: close all kept descriptors."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        self._dirty.clear()

    def close(self) -> None:
        """Close everything."""
        self.forget()
        os.close(self.fd)


def digest(fd: int) -> str:
    """SHA-256 of what is left to read of an open file."""
    found = hashlib.sha256()
    while chunk := os.read(fd, _CHUNK):
        found.update(chunk)
    return found.hexdigest()


def _open_or_make(name: str, parent_fd: int) -> int:
    for _ in range(3):  # another writer may remove or make it in between
        try:
            return os.open(name, _DIRECTORY, dir_fd=parent_fd)
        except FileNotFoundError:
            try:
                os.mkdir(name, dir_fd=parent_fd)
            except FileExistsError:
                continue
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise Blocked from None
            if error.errno == errno.ENAMETOOLONG:
                raise Blocked(_TOO_LONG) from None
            raise
    return os.open(name, _DIRECTORY, dir_fd=parent_fd)


def _rename_noreplace(source: str, source_fd: int, name: str, target_fd: int) -> None:
    result = _libc.renameat2(source_fd, os.fsencode(source), target_fd, os.fsencode(name), _RENAME_NOREPLACE)
    if result == 0:
        return
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):
        raise ArchiveError(
            "the archive's file system supports neither hard links nor RENAME_NOREPLACE; "
            "without one of them names could be overwritten: use another file system"
        )
    raise OSError(number, os.strerror(number))
