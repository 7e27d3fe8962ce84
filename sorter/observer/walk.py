"""The truth: which files are in the drop folder. Events only say when to look."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from sorter.config import DEFAULT_IGNORE
from sorter.model import Kind
from sorter.observer.listing import GONE, Ledger, Listing, Sieve, chunks, error_name, no_words, unreadable

RACY_SECONDS = 2.0  # the coarsest time stamps of a file system in use (FAT)
_Version = tuple[int, int, int, int]


class RootUnavailable(Exception):  # noqa: N818 - names a state of the drop folder, not a mistake
    """The drop folder is missing, not a folder or unreadable. Never the same as an empty one."""


@dataclass(slots=True)
class _Folder:
    """What is remembered of one folder; nothing is remembered of its files."""

    version: _Version
    first_seen: float  # when this version was first seen, by the monotonic clock
    subfolders: tuple[str, ...] = ()
    unknown: set[int] = field(default_factory=set)  # serials of listings with files that are not final
    complete: bool = False  # read to its end, long enough after ``first_seen``
    walk: int = 0


class Walker:
    """Walks one drop folder, without following links, and skips what has not changed.

    A *deep* walk lists every folder. A *shallow* walk lists only folders that may hold something new and
    costs one ``lstat`` for each of the others: a folder is skipped where its device, inode, mtime and ctime
    are those of a complete listing all of whose files were reported :meth:`known`. As with git's racily clean
    entries, that listing must have begun 2 seconds after this version of the folder was first seen, so that
    any later change gets another time stamp. Both times are taken from the monotonic clock, so a file server
    whose clock is wrong does no harm.

    Writing into an existing file does not touch its folder: only deep walks, and whoever remembers the file
    (:class:`~sorter.observer.settle.Settler`), see that.

    Parameters
    ----------
    root
        The drop folder; may itself be a symlink.
    ignore
        Patterns (``fnmatch``) of names that are ignored; folders that match are not entered.
    exclude
        Folders that are not entered and not reported, such as an archive inside the drop folder.
    retirable
        False for a folder named by hand: its candidates carry no root and are never retired.
    clock
        Monotonic seconds.
    stop
        Asked before each folder; a walk that is stopped just ends, and the next one starts anew.
    words
        The ledger's final words about the files of a folder, asked before the files are looked at. A file
        that they name is counted; any other becomes a candidate.
    """

    def __init__(
        self,
        root: str,
        *,
        ignore: Sequence[str] = DEFAULT_IGNORE,
        exclude: Sequence[str] = (),
        retirable: bool = True,
        clock: Callable[[], float] = time.monotonic,
        stop: Callable[[], bool] = lambda: False,
        words: Ledger = no_words,
    ) -> None:
        self.root = os.path.abspath(root)
        self._label = self.root if retirable else ""
        self._sieve = Sieve(self.root, ignore=ignore, label=self._label)
        self._exclude = tuple(exclude)
        self._clock, self._stop, self._words = clock, stop, words
        self._folders: dict[str, _Folder] = {}
        self._unreadable: dict[str, tuple[int, str]] = {}  # path -> the last walk that met it so, and why
        self._serials = count()
        self._walks = count(1)

    def walk(self, *, deep: bool) -> Iterator[Listing]:
        """All listings of the drop folder that are due; folders that vanish meanwhile are skipped.

        An unreadable folder is reported once, when it is first met, as rejected/unreadable with zeros for a
        version.

        Raises
        ------
        RootUnavailable
            The drop folder cannot be listed.
        """
        walk = next(self._walks)
        excluded = {(s.st_dev, s.st_ino) for s in map(_stat, self._exclude) if s is not None}
        pending = [self.root]
        while pending:
            if self._stop():
                return
            path = pending.pop()
            try:
                seen = os.stat(path) if path == self.root else os.lstat(path)
                if (seen.st_dev, seen.st_ino) in excluded:
                    continue
                if not stat.S_ISDIR(seen.st_mode):
                    if path == self.root:
                        raise RootUnavailable("the drop folder is not a folder")
                    continue
                if deep or self._has_news(path, seen):
                    yield from self._list(path, walk)
            except OSError as error:
                yield from self._failed(path, error, walk)
                continue
            folder = self._folders[path]
            folder.walk = walk
            pending.extend(f"{path}/{name}" for name in reversed(folder.subfolders))
        self._folders = {path: folder for path, folder in self._folders.items() if folder.walk == walk}
        self._unreadable = {path: last for path, last in self._unreadable.items() if last[0] == walk}

    @property
    def unreadable(self) -> dict[str, str]:
        """Folders and entries that the last walk could not read: path -> what was wrong."""
        return {path: detail for path, (_, detail) in self._unreadable.items()}

    def known(self, listing: Listing) -> None:
        """Every candidate of this listing has a final outcome and need not be listed again.

        One with entries that cannot be read is listed again all the same: they may become readable.
        """
        folder = self._folders.get(listing.folder)
        if folder is not None and not listing.has_unreadable:
            folder.unknown.discard(listing.serial)

    def suspect(self, folder: str) -> None:
        """List this folder at the next walk whatever it looks like: an event named it."""
        entry = self._folders.get(folder)
        if entry is not None:
            entry.complete = False

    def _has_news(self, path: str, seen: os.stat_result) -> bool:
        folder = self._folders.get(path)
        return (
            folder is None or not folder.complete or bool(folder.unknown) or folder.version != _version(seen)
        )

    def _list(self, path: str, walk: int) -> Iterator[Listing]:
        """The folder in parts. Its version is taken before the first entry is read."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | (0 if path == self.root else os.O_NOFOLLOW))
        try:
            yield from self._parts(fd, path, self._begin(path, os.fstat(fd)), walk)
        finally:
            os.close(fd)

    def _parts(self, fd: int, path: str, folder: _Folder, walk: int) -> Iterator[Listing]:
        settled = self._clock() - folder.first_seen >= RACY_SECONDS
        subfolders: list[str] = []
        words = self._words(path, None)
        part = Listing(path, [], [], last=False, serial=next(self._serials))
        try:
            with os.scandir(fd) as entries:
                for chunk in chunks(entries):
                    if not part.empty:
                        yield self._open(folder, part, walk)
                        part = Listing(path, [], [], last=False, serial=next(self._serials))
                    some = self._words(path, [one.name for one in chunk]) if words is None else words
                    self._sieve.sort_in(path, chunk, some or {}, part, subfolders)
        except OSError:
            yield self._open(folder, part, walk)  # what was read before the folder failed is not lost with it
            raise
        folder.subfolders = tuple(subfolders)
        folder.complete = settled
        part.last = True
        if not part.empty:
            yield self._open(folder, part, walk)

    def _begin(self, path: str, seen: os.stat_result) -> _Folder:
        version = _version(seen)
        before = self._folders.get(path)
        unmoved = before is not None and before.version == version
        folder = _Folder(version, before.first_seen if before and unmoved else self._clock())
        self._folders[path] = folder
        return folder

    def _open(self, folder: _Folder, part: Listing, walk: int) -> Listing:
        if part.candidates or part.has_unreadable:
            folder.unknown.add(part.serial)
        for one in part.ignored:
            if one.kind is Kind.REJECTED:
                self._unreadable[one.candidate.path] = (walk, one.detail)
        return part

    def _failed(self, path: str, error: OSError, walk: int) -> Iterator[Listing]:
        if path == self.root:
            raise RootUnavailable(f"the drop folder cannot be listed: {error_name(error.errno)}") from None
        self._folders.pop(path, None)
        if error.errno in GONE:
            return
        met = path in self._unreadable
        refused = unreadable(*os.path.split(path), self._label, error.errno)
        self._unreadable[path] = (walk, refused.detail)
        if not met:
            yield Listing(path, [], [refused], last=True)


def _version(seen: os.stat_result) -> _Version:
    return (seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None  # not there, so nothing to exclude and no folder to walk
