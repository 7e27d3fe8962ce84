"""A watchdog observer for each drop folder, supervised. Its handler only says: look again, here first.

Events are a hint. They are lost on queue overflow, on network file systems, beyond the watch limit and after
the silent death of a watchdog thread; and most producers close files that no event names. What is there is
decided by :mod:`sorter.observer.walk` alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from sorter.observer.mounts import written_elsewhere
from sorter.observer.retire import SORTED
from sorter.observer.threads import all_alive, hush_watchdog, stop_in_time

Mode = Literal["auto", "events", "poll", "scan"]

POLL_SECONDS = 5.0
MOST_NAMED = 20_000  # folders named by events that nobody has asked for yet
# Where something appears. Not opened and read (our own reads), not deleted (our own retiring), and for
# inotify not modified: one event a write says nothing that the close, or the settler's clock, does not.
_EVENTS: list[type[FileSystemEvent]] = [FileCreatedEvent, FileMovedEvent, DirCreatedEvent, DirMovedEvent]
_EVENTS_INOTIFY = [*_EVENTS, FileClosedEvent]
_EVENTS_POLL = [*_EVENTS, FileModifiedEvent]


class TroubleKind(StrEnum):
    """What :meth:`Watch.check` can find."""

    ROOT_ABSENT = "root_absent"  # missing or not accessible
    ROOT_BACK = "root_back"
    ROOT_CHANGED = "root_changed"  # another folder or file system lies there now
    THREAD_DIED = "thread_died"
    WATCH_LIMIT = "watch_limit"  # fs.inotify.max_user_watches; walks alone from now on
    START_FAILED = "start_failed"
    STOP_FAILED = "stop_failed"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One finding. ``root`` is the position among the drop folders; ``detail`` the name of an error."""

    kind: TroubleKind
    root: int
    detail: str = ""


class Watch:
    """Wakes the daemon when something may have appeared in a drop folder, and keeps doing so.

    Parameters
    ----------
    roots
        Drop folders, absolute.
    wake
        Set when a folder should be walked.
    mode
        ``events`` (inotify), ``poll`` (watchdog's snapshots), ``scan`` (periodic walks only), or ``auto``:
        ``scan`` on network, FUSE and overlay file systems, else ``events``.
    exclude
        Folders whose events wake nobody, such as an archive inside the drop folder.
    """

    def __init__(
        self, roots: Sequence[str], wake: threading.Event, *, mode: Mode = "auto", exclude: Sequence[str] = ()
    ) -> None:
        self._wake = wake
        self._named: deque[str] = deque(maxlen=MOST_NAMED)
        self._roots = [
            _Root(index, path, _Bell(wake, self._named), mode, exclude) for index, path in enumerate(roots)
        ]
        self._unreported: list[Trouble] = []

    @property
    def modes(self) -> list[str]:
        """For each root what is in use now: ``events``, ``poll``, ``scan`` or ``absent``."""
        return [root.mode for root in self._roots]

    def start(self) -> None:
        """Start watching. Nothing that goes wrong is fatal; the next :meth:`check` tells it."""
        hush_watchdog()
        for root in self._roots:
            self._unreported += root.start()
        self._wake.set()

    def check(self) -> list[Trouble]:
        """Look whether every thread lives and every root is what it was; rebuild what is not, and wake.

        Returns
        -------
        list[Trouble]
            What was found; a lasting state is told once, when it begins. Empty where all is well.
        """
        found, self._unreported = self._unreported, []
        for root in self._roots:
            found += root.check()
        if found:
            self._wake.set()
        return found

    def named(self) -> tuple[set[str], bool]:
        """Folders that events named since the last call; and whether these are all, or there were too many.

        A hint for the walk: a write into an existing file changes no folder, so only its event tells where.
        """
        complete = len(self._named) < MOST_NAMED
        found = set()
        while self._named:
            found.add(self._named.popleft())
        return found, complete

    def stop(self) -> None:
        """Stop watching. Returns within a few seconds for each root even where a thread hangs."""
        for root in self._roots:
            root.stop()


class _Root:
    """One drop folder and its observer; each has its own, so that one that breaks is rebuilt alone."""

    def __init__(self, index: int, path: str, bell: _Bell, want: Mode, exclude: Sequence[str]) -> None:
        self.mode: Literal["events", "poll", "scan", "absent"] = "scan"
        self._index = index
        self._path = path
        self._bell = bell
        self._want = want
        self._exclude = exclude
        self._identity: tuple[int, int] | None = None
        self._observer: BaseObserver | None = None
        self._limited = False
        self._failing = False

    def start(self) -> list[Trouble]:
        self._identity = _identity(self._path)
        if self._identity is None:
            self.mode = "absent"
            return [self._trouble(TroubleKind.ROOT_ABSENT)]
        self.mode = self._choose()
        return [] if self.mode == "scan" else self._observe()

    def check(self) -> list[Trouble]:
        identity = _identity(self._path)
        if identity is None:
            if self.mode == "absent":
                return []
            return self.stop() + self.start()
        if identity != self._identity:
            kind = TroubleKind.ROOT_BACK if self.mode == "absent" else TroubleKind.ROOT_CHANGED
            self._limited = False
            return [self._trouble(kind), *self.stop(), *self.start()]
        if self._observer is not None and not all_alive(self._observer):
            return [self._trouble(TroubleKind.THREAD_DIED), *self.stop(), *self.start()]
        if self._failing:
            return self.start()
        if self.mode == "events" and _watch_limit_reached(self._path):
            return self._give_in()
        return []

    def stop(self) -> list[Trouble]:
        observer, self._observer = self._observer, None
        failure = "" if observer is None else stop_in_time(observer)
        return [self._trouble(TroubleKind.STOP_FAILED, failure)] if failure else []

    def _choose(self) -> Literal["events", "poll", "scan"]:
        if self._limited:
            return "scan"
        if self._want != "auto":
            return self._want
        return "scan" if written_elsewhere(self._path) else "events"

    def _observe(self) -> list[Trouble]:
        """Start an observer; where that fails walk only, and try again at each check."""
        # A symlink as drop folder: inotify would watch the link.
        root = os.path.realpath(self._path)
        quiet = [f"{root}/{SORTED}", *map(os.path.realpath, self._exclude)]
        try:
            if self.mode == "poll":
                self._observer, events = PollingObserver(timeout=POLL_SECONDS), _EVENTS_POLL
            else:
                self._observer, events = Observer(), _EVENTS_INOTIFY
            waker = _Waker(self._bell, quiet, root, self._path)
            self._observer.schedule(waker, root, recursive=True, event_filter=events)
            self._observer.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no new thread can be started
            number = error.errno if isinstance(error, OSError) else None
            if number == errno.ENOSPC:
                return self._give_in()
            told, self._failing, self.mode = self._failing, True, "scan"
            detail = errno.errorcode.get(number or 0, type(error).__name__)
            return self.stop() + ([] if told else [self._trouble(TroubleKind.START_FAILED, detail)])
        self._failing = False
        return []

    def _give_in(self) -> list[Trouble]:
        """Beyond the watch limit watchdog leaves folders out without a word: its events are worth little.

        Not tried again: the watches that were given back would be found free, and run out again.
        """
        self._limited, self._failing, self.mode = True, False, "scan"
        return [self._trouble(TroubleKind.WATCH_LIMIT), *self.stop()]

    def _trouble(self, kind: TroubleKind, detail: str = "") -> Trouble:
        return Trouble(kind, self._index, detail)


@dataclass(frozen=True, slots=True)
class _Bell:
    """What a handler rings: the flag, and the folders to look at first."""

    wake: threading.Event
    named: deque[str]


class _Waker(FileSystemEventHandler):
    """Notes the folder, sets the flag and does nothing else.

    An exception here would end the observer, and its ``stop`` waits for a handler that hangs.
    """

    def __init__(self, bell: _Bell, exclude: Sequence[str], real_root: str, root: str) -> None:
        self._bell = bell
        self._exclude = tuple(f"{folder}/" for folder in exclude)
        self._real_root, self._root = real_root, root

    def on_any_event(self, event: FileSystemEvent) -> None:
        appeared = os.fsdecode(event.dest_path or event.src_path)
        if not f"{appeared}/".startswith(self._exclude):
            folder = os.path.dirname(appeared)
            self._bell.named.append(self._root + folder.removeprefix(self._real_root))
            self._bell.wake.set()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        seen = os.stat(path)
    except OSError:
        return None  # told as root_absent; the walk says why
    return (seen.st_dev, seen.st_ino)


def _watch_limit_reached(path: str) -> bool:
    """Whether one watch more is refused. The limit is the user's, so a second inotify instance can tell."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        return False  # the limit of instances, not of watches
    try:
        watch = libc.inotify_add_watch(fd, os.fsencode(path), 0x00000200)  # IN_DELETE
        return bool(watch < 0 and ctypes.get_errno() == errno.ENOSPC)
    finally:
        os.close(fd)
