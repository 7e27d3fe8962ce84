"""Files that leave the archive for a folder elsewhere, on another file system too; never replaces a file.

The copy is durable, with its name, and was read again, before the file in the archive goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from sorter.errors import ArchiveError
from sorter.organizer.tree import Blocked, Tree, digest, make_root, trouble

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


class Outside:
    """A folder outside the archive, made where missing.

    Raises
    ------
    ArchiveError
        It cannot be made, or a file stands where a folder must be.
    """

    def __init__(self, target: Path) -> None:
        with trouble("make the target folder"):
            make_root(target)
            self._tree = Tree(target)

    def bring(self, origin: Path, paths: Sequence[str]) -> list[str]:
        """Bring files from below ``origin`` to the same paths here; returns those that are here, durable.

        Parameters
        ----------
        paths
            Relative to ``origin``. What is no regular file, or whose name is taken here by other bytes, is
            left out.
        """
        with trouble("write the target folder"), clear_way():
            here = [path for path in paths if self._bring(origin / path, path)]
            self._tree.sync()
            self._tree.forget()
        return here

    def _bring(self, source: Path, path: str) -> bool:
        folder, _, leaf = path.rpartition("/")
        target = self._tree.directory(folder)
        try:
            reader = os.open(source, _OPEN)
        except FileNotFoundError:
            return False
        # The same name again after a crash, so that what a crash left goes; another archive's is another.
        draft = f".{hashlib.sha256(os.fsencode(source)).hexdigest()[:32]}.part"
        try:
            if not stat.S_ISREG(os.fstat(reader).st_mode):
                return False
            _remove(draft, target)
            sha256 = _proved_copy(reader, draft, target)
            try:
                self._tree.link(draft, target, folder, leaf)
            except FileExistsError:
                return self._tree.holds(folder, leaf, sha256)
            return True
        finally:
            os.close(reader)
            _remove(draft, target)

    def close(self) -> None:
        """Close all."""
        self._tree.close()


@contextlib.contextmanager
def clear_way() -> Iterator[None]:
    """Say of what stands in the way that it does.

    Raises
    ------
    ArchiveError
        A file stands where a folder must be.
    """
    try:
        yield
    except Blocked:
        raise ArchiveError("a file stands in the target where a folder must be") from None


def _remove(draft: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):  # there was none; or it was renamed, for want of links
        os.unlink(draft, dir_fd=folder)


def copied(reader: int, writer: int) -> str:
    """Copy all from one descriptor to the other, durably; returns the SHA-256."""
    found = hashlib.sha256()
    while chunk := os.read(reader, _CHUNK):
        found.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(writer, view) :]
    os.fsync(writer)
    return found.hexdigest()


def _proved_copy(reader: int, name: str, folder: int) -> str:
    """Copy, and read the copy again; returns its SHA-256."""
    writer = os.open(name, _CREATE, 0o444, dir_fd=folder)
    try:
        sha256 = copied(reader, writer)
        os.lseek(writer, 0, os.SEEK_SET)
        if digest(writer) != sha256:
            raise ArchiveError("a copy in the target folder is not what was written: do not trust that disk")
        return sha256
    finally:
        os.close(writer)
