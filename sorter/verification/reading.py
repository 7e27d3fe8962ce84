"""Looking at one archived file: whether it is there, regular, of the right size, with the right bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from sorter.errors import ArchiveError
from sorter.index.verification import Recorded, Word
from sorter.model import Problem
from sorter.organizer.layout import path_key
from sorter.organizer.names import component, unsafe_characters
from sorter.verification.findings import Finding, Mend, Wrong

CHUNK = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENOTDIR)
# Want of this process, which says nothing about the file.
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
# A file of the archive: its owner may read it, nobody may write or run it.
_NEVER, _ALWAYS = 0o7333, 0o400


class Stopped(Exception):  # noqa: N818 - not an error
    """Reading is to end now."""


Pace = Callable[[int], None]  # told of each piece that was read, in bytes; may wait, or raise to stop


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the file of a row gave; ``version`` is what it was then, None where it is not there."""

    row: Recorded
    wrong: Wrong | None = None
    expected: str = ""
    found: str = ""
    mode: int = 0o444
    owner: int = -1
    version: tuple[int, ...] | None = None
    size: int = 0
    read: bool = False

    def findings(self, owner: int) -> list[Finding]:
        """Everything wrong about it, in an archive that belongs to this user id."""
        found = []
        if self.wrong is not None:
            found.append(self._finding(self.wrong, self.expected, self.found))
        elif self.mode & _NEVER or not self.mode & _ALWAYS:
            found.append(self._finding(Wrong.PERMISSIONS, "0444 or less", f"{self.mode:04o}"))
        if self.wrong is None and self.owner not in (-1, owner):
            found.append(self._finding(Wrong.OWNER, f"user id {owner}", f"user id {self.owner}"))
        if expected := _misplaced(self.row):
            found.append(self._finding(Wrong.MISPLACED, expected, ""))
        return found

    def _finding(self, kind: Wrong, expected: str, found: str) -> Finding:
        row = self.row
        mend = Mend.PERMISSIONS if kind is Wrong.PERMISSIONS else Mend.NOTHING
        return Finding(kind, row.path, expected, found, mend, "", row.id, row.sha256, row.size)

    def word(self) -> Word | None:
        """What the index is to be told; nothing of a file that may not be read."""
        if self.wrong is Wrong.UNREADABLE:
            return None
        problem = None
        if self.wrong is not None:
            problem = Problem.MISSING if self.wrong is Wrong.MISSING else Problem.DAMAGED
        return Word(self.row.id, self.row.path, self.row.sha256, problem, self.read or problem is not None)


def right_mode(mode: int) -> int:
    """The mode of an archived file, as near to this one as may be."""
    return (mode & ~_NEVER | _ALWAYS) & 0o777


def _misplaced(row: Recorded) -> str:
    folder, _, leaf = row.path.rpartition("/")
    if folder != row.folder:
        return "to lie in the folder of its series"
    parts = [*folder.split("/"), leaf] if folder else [leaf]
    if any(not part or component(part) != part or unsafe_characters(part) for part in parts):
        return "a path of safe names"
    return "" if path_key(row.path) == row.path_key else "the path key of its path"


def look(root: str, row: Recorded, *, quick: bool, pace: Pace = lambda _size: None) -> Look:
    """Look at the file of a row; read it, unless ``quick``.

    Raises
    ------
    ArchiveError
        This process wants descriptors or memory.
    """
    try:
        return _look(f"{root}/{row.path}", row, quick, pace)
    except OSError as error:
        if error.errno in _GONE:
            return Look(row, Wrong.MISSING, "a file", "nothing")
        name = errno.errorcode.get(error.errno or 0, "error")
        if error.errno in _SCARCE:
            raise ArchiveError(f"cannot verify: {os.strerror(error.errno or 0)}") from None
        if error.errno == errno.ELOOP:
            return Look(row, Wrong.DAMAGED, "a file", "a symbolic link", version=version_of(root, row.path))
        kind = Wrong.UNREADABLE if error.errno in (errno.EACCES, errno.EPERM) else Wrong.DAMAGED
        return Look(row, kind, "to be readable", name, version=version_of(root, row.path))


def _look(path: str, row: Recorded, quick: bool, pace: Pace) -> Look:
    if quick:
        return _shape(row, os.lstat(path))
    fd = os.open(path, _OPEN)
    try:
        shape = _shape(row, os.fstat(fd))
        if shape.wrong is not None:
            return shape
        # What lies in memory says nothing about the disk. Only clean pages go, so nothing is lost.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        digest = _digest(fd, pace)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    wrong = None if digest == row.sha256 else Wrong.DAMAGED
    return Look(row, wrong, row.sha256, digest, shape.mode, shape.owner, shape.version, shape.size, read=True)


def _shape(row: Recorded, facts: os.stat_result) -> Look:
    wrong, expected, found = None, "", ""
    if not stat.S_ISREG(facts.st_mode):
        wrong, expected, found = Wrong.DAMAGED, "a file", "something that is no file"
    elif facts.st_size != row.size:
        wrong, expected, found = Wrong.DAMAGED, f"{row.size} bytes", f"{facts.st_size} bytes"
    mode = stat.S_IMODE(facts.st_mode)
    return Look(row, wrong, expected, found, mode, facts.st_uid, _version(facts), facts.st_size)


def _version(facts: os.stat_result) -> tuple[int, ...]:
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def version_of(root: str, path: str) -> tuple[int, ...] | None:
    """Which file lies under a path now; None where none does."""
    try:
        return _version(os.lstat(f"{root}/{path}"))
    except OSError:
        return None


def _digest(fd: int, pace: Pace) -> str:
    digest, buffer = hashlib.sha256(), bytearray(CHUNK)
    view = memoryview(buffer)
    while size := os.readv(fd, [buffer]):
        digest.update(view[:size])
        pace(size)
    return digest.hexdigest()


def digest_of(path: str) -> str:
    """SHA-256 of a regular file; empty where it is none or cannot be read."""
    try:
        fd = os.open(path, _OPEN)
    except OSError:
        return ""
    try:
        return _digest(fd, lambda _size: None) if stat.S_ISREG(os.fstat(fd).st_mode) else ""
    except OSError:
        return ""
    finally:
        os.close(fd)
