"""The entries of one folder, sorted into what the ledger knows, what may be new, and what is passed over."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sorter.model import Candidate, Kind, Reason, Refused
from sorter.observer.retire import SORTED

CHUNK = 5_000  # entries a Listing
PATH_MAX = 4096  # bytes, the final NUL included; no call of the kernel takes a longer path
GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))  # vanished, or replaced by a file or a link
_SURELY_SHORT = PATH_MAX // 4 - 1  # characters, of at most 4 bytes each
# The ledger's word about one version of a file of a folder: its outcome and reason, by name, inode, size,
# mtime and ctime (ns). Of millions of known files nothing else is made.
Word = tuple[str, str | None]
Words = Mapping[tuple[str, int, int, int, int], Word]
# Asked for all words of a folder, or for those of some names; None: too many to hold them all at once.
Ledger = Callable[[str, Sequence[str] | None], Words | None]


def no_words(_folder: str, _names: Sequence[str] | None) -> Words:
    """Nothing is known: every file becomes a candidate."""
    return {}


@dataclass(slots=True)
class Listing:
    """Up to 5,000 entries of one folder; ``last`` marks the folder's final part.

    ``ignored`` also holds the folder itself, or entries of it, that could not be read (kind rejected). For
    files named by hand ``folder`` is empty. ``known`` counts, by their word, the regular files that the
    ledger knows already, and ``known_bytes`` adds up their sizes; they are no candidates.
    """

    folder: str
    candidates: list[Candidate]
    ignored: list[Refused]
    last: bool
    serial: int = -1  # tells the walker which listing this is
    known: Counter[Word] = field(default_factory=Counter)
    known_bytes: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.candidates or self.ignored or self.known)

    @property
    def has_unreadable(self) -> bool:
        """Whether an entry of the folder, or the folder itself, could not be read."""
        return any(one.kind is Kind.REJECTED for one in self.ignored)


class Sieve:
    """Sorts the entries of the folders of one tree into listings.

    Parameters
    ----------
    root
        Top of the tree. Only there :data:`~sorter.observer.retire.SORTED` is our own folder.
    ignore
        Patterns (``fnmatch``) of names that are ignored.
    label
        The drop folder that the candidates carry; empty where they are never retired.
    """

    def __init__(self, root: str, *, ignore: Sequence[str], label: str) -> None:
        self._root, self._label = root, label
        self._ignored = re.compile("|".join(map(fnmatch.translate, ignore)) or r"(?!)")

    def sort_in(
        self,
        path: str,
        entries: Sequence[os.DirEntry[str]],
        words: Words,
        part: Listing,
        subfolders: list[str],
    ) -> None:
        """Put entries of the folder ``path``, which is open, where they belong: ``part`` or ``subfolders``.

        Millions come this way, most of them plain files that are known.
        """
        ignored, label, admit, word_of = self._ignored.match, self._label, part.candidates.append, words.get
        known: list[Word] = []
        short = len(path) + 256 < _SURELY_SHORT  # a name has at most 255 characters
        for entry in entries:
            name = entry.name
            try:
                seen = entry.stat(follow_symlinks=False)  # relative to the open folder
            except OSError as error:
                if error.errno not in GONE:
                    part.ignored.append(unreadable(path, name, label, error.errno))
                continue
            if short and stat.S_IFMT(seen.st_mode) == stat.S_IFREG and not ignored(name):
                version = (name, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
                if (word := word_of(version)) is None:
                    admit(_candidate(path, name, seen, label))
                else:
                    known.append(word)
                    part.known_bytes += seen.st_size
            else:
                self._sort_in_odd(path, name, seen, part, subfolders)
        part.known.update(known)

    def _sort_in_odd(
        self, path: str, name: str, seen: os.stat_result, part: Listing, subfolders: list[str]
    ) -> None:
        folder = stat.S_ISDIR(seen.st_mode)
        if name == SORTED and path == self._root:
            return  # our own folder of retired sources
        if self._ignored.match(name):
            candidate = _candidate(path, name, seen, self._label)
            detail = "folder" if folder else ""
            part.ignored.append(Refused(candidate, Kind.IGNORED, Reason.PATTERN, detail))
        elif folder:
            subfolders.append(name)
        elif len(os.fsencode(f"{path}/{name}")) >= PATH_MAX:
            part.ignored.append(unreadable(path, name, self._label, errno.ENAMETOOLONG))
        elif isinstance(found := _told_apart(path, name, seen, self._label), Candidate):
            part.candidates.append(found)
        else:
            part.ignored.append(found)


def chunks(entries: Iterable[os.DirEntry[str]]) -> Iterator[list[os.DirEntry[str]]]:
    """Up to ``CHUNK`` entries at a time; those that were read before the folder failed come first.

    Raises
    ------
    OSError
        The folder cannot be read on.
    """
    chunk: list[os.DirEntry[str]] = []
    try:
        for entry in entries:
            chunk.append(entry)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except OSError:
        yield chunk
        raise
    if chunk:
        yield chunk


def look(path: str, root: str = "") -> Candidate | Refused | None:
    """What one ``lstat`` says about an absolute path now.

    Returns
    -------
    Candidate | Refused | None
        ``None`` where the file has vanished. Names are not compared with any pattern.
    """
    folder, name = os.path.split(path)
    try:
        seen = os.lstat(path)
    except OSError as error:
        return None if error.errno in GONE else unreadable(folder, name, root, error.errno)
    return _told_apart(folder, name, seen, root)


def _told_apart(folder: str, name: str, seen: os.stat_result, root: str) -> Candidate | Refused:
    """A candidate where ``lstat`` says that it is a regular file; else why it is ignored."""
    candidate = _candidate(folder, name, seen, root)
    if stat.S_ISREG(seen.st_mode):
        return candidate
    reason = Reason.SYMLINK if stat.S_ISLNK(seen.st_mode) else Reason.NOT_REGULAR
    return Refused(candidate, Kind.IGNORED, reason)


def unreadable(folder: str, name: str, root: str, number: int | None) -> Refused:
    """What cannot be looked at, and by which ``errno``: rejected, with zeros for a version."""
    candidate = Candidate(folder, name, 0, 0, 0, 0, 0, root)
    return Refused(candidate, Kind.REJECTED, Reason.UNREADABLE, f"cannot be read: {error_name(number)}")


def error_name(number: int | None) -> str:
    """The symbol of an ``errno``, such as EACCES."""
    return errno.errorcode.get(number or 0, "unknown error")


def _candidate(folder: str, name: str, seen: os.stat_result, root: str) -> Candidate:
    return Candidate(
        folder, name, seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, root
    )
