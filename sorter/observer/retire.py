"""What becomes of a source once its instance is safe in the archive: kept, deleted or moved aside."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from typing import Literal

from sorter.model import Candidate

SORTED = ".sorted"  # below the drop folder; the walk never enters it
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))  # vanished, or replaced by a file or a link


def retire(
    candidate: Candidate, how: Literal["keep", "delete", "move"], *, moved_to: str | None = None
) -> bool:
    """Retire one source, only while it is still the very version that was archived.

    Folders are opened one by one from the drop folder with ``O_NOFOLLOW``: no planted link leads elsewhere.
    The file is compared directly before it is unlinked or renamed; a file that is replaced between these
    two system calls, or written through a descriptor that stays open, cannot be told apart by any call that
    all file systems offer.

    Parameters
    ----------
    how
        ``move`` renames to ``<moved_to>/<path relative to the drop folder>``; nothing is overwritten, a
        taken name gets ``.1``, ``.2`` and so on. A crash may leave an empty file there.
    moved_to
        Absolute folder on the same file system, made where it is missing; by default ``.sorted`` in the drop
        folder. One that lies elsewhere in the drop folder must be excluded from the walk.

    Returns
    -------
    bool
        False where it was left alone: it is gone, or another version now, or was named by hand.

    Raises
    ------
    OSError
        It could not be deleted or moved (EXDEV, EROFS, EACCES, ...); the source is still there. The
        exception names no path.
    """
    if how == "keep":
        return True
    if not candidate.root:
        return False
    try:
        return _retire(candidate, how, moved_to)
    except OSError as error:
        number = error.errno or errno.EIO
    raise OSError(number, os.strerror(number))


def _retire(candidate: Candidate, how: Literal["delete", "move"], moved_to: str | None) -> bool:
    parts = folders_between(candidate.root, candidate.folder)
    try:
        source = enter(candidate.root, parts)
    except OSError as error:
        if error.errno in _GONE:
            return False
        raise
    with closing(source):
        if not _same_version(candidate, source):
            return False
        if how == "delete":
            os.unlink(candidate.name, dir_fd=source)
            return True
        if moved_to is None:
            base, parts = candidate.root, [SORTED, *parts]
        else:
            base = moved_to
            os.makedirs(base, exist_ok=True)
        with closing(enter(base, parts, make=True)) as target:
            return _move(candidate, source, target)


def folders_between(root: str, folder: str) -> list[str]:
    """The names of the folders that lead from the drop folder to a folder in it."""
    root, folder = f"{root}/", f"{folder}/"
    parts = [part for part in folder.removeprefix(root).split("/") if part]
    if not folder.startswith(root) or ".." in parts:
        raise OSError(errno.EINVAL, "the source does not lie in its drop folder")
    return parts


def enter(base: str, parts: list[str], *, make: bool = False) -> int:
    """Open ``base`` and the folders below it, without following links below ``base``; the last descriptor."""
    fd = os.open(base, _FOLDER)
    for part in parts:
        with closing(fd):
            if make:
                try:
                    os.mkdir(part, dir_fd=fd)
                except FileExistsError:
                    pass  # made for an earlier source
            fd = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
    return fd


def _same_version(candidate: Candidate, folder: int) -> bool:
    try:
        seen = os.lstat(candidate.name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return candidate.version == (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _move(candidate: Candidate, source: int, target: int) -> bool:
    """Rename over an empty file of our own: unlike link and unlink this works on every file system."""
    name = _reserve(candidate.name, target)
    moved = False
    try:
        if _same_version(candidate, source):
            os.rename(candidate.name, name, src_dir_fd=source, dst_dir_fd=target)
            moved = True
    finally:
        if not moved:
            os.unlink(name, dir_fd=target)
    return moved


def _reserve(name: str, folder: int) -> str:
    for suffix in chain([""], (f".{n}" for n in count(1))):
        free = os.fsdecode(os.fsencode(name)[: 255 - len(suffix)]) + suffix
        try:
            os.close(
                os.open(free, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            )
        except FileExistsError:
            continue
        return free
    raise AssertionError("unreachable: the suffixes never end")


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """The descriptor, closed at the end."""
    try:
        yield fd
    finally:
        os.close(fd)
