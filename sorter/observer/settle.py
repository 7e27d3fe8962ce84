"""When is a file complete? Pure: the clock is a parameter and nothing here touches the disk."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count

from sorter.model import Candidate, Reason

SHORTEST_DELAY = 0.1  # seconds; the backoff of a drop folder that wants no quiet period must not spin
_LARGEST_EXPONENT = 32  # beyond it every delay is far above any maximum


@dataclass(frozen=True, slots=True)
class Waiting:
    """One file that is not ready, for people who ask why it is not in the archive yet.

    Parameters
    ----------
    since
        When it was first seen, on the caller's monotonic clock.
    age
        Seconds since then.
    attempts
        How often it was tried and put back.
    """

    candidate: Candidate
    since: float
    age: float
    reason: str
    attempts: int


@dataclass(slots=True, eq=False)
class _Entry:
    candidate: Candidate
    since: float
    changed: float  # when this version came to be, or was first seen
    ready_at: float
    reason: str = Reason.SETTLING
    attempts: int = 0
    scheduled: float | None = None  # the time of its one valid item in the heap


class Settler:
    """Remembers files until they have been unchanged long enough.

    Rules:

    1. A file is ready when its version (device, inode, size, mtime, ctime) has stayed the same for the quiet
       period. ``cp -p`` and rsync set mtime back, so its age proves nothing; ctime cannot be set.
    2. Any change starts the period again. The age shown to people still counts from the first sight.
    3. A file that was ready, was tried, and was still changing or structurally incomplete is deferred: the
       next try comes after 1, 2, 4, ... quiet periods, up to ``backoff_max`` seconds. A change ends that
       wait: the slow sender may be done, so the file is tried again one quiet period after it.
    4. Nothing is ever given up here. :meth:`gave_enough_time` tells the caller when a file was incomplete
       and unchanged for so long that it may be rejected.

    Edge cases:

    - What :meth:`observe` calls ready is handed over: it is no longer waiting, and :meth:`due` does not name
      it again. The caller ends that with :meth:`forget` (there is a final outcome) or :meth:`defer`.
      Observing the same version in between answers "ready" again, so nothing that got lost stays lost.
    - A new version of a file that was handed over waits like any changed file.
    - What :meth:`due` names must be observed again, or forgotten where it has vanished.
    - With a quiet period of 0 the first sight is enough.

    Parameters
    ----------
    quiet, incomplete, backoff_max
        Seconds.
    """

    def __init__(self, quiet: float, incomplete: float, backoff_max: float = 300) -> None:
        self._quiet = quiet
        self._incomplete = incomplete
        self._backoff_max = max(backoff_max, quiet)
        self._waiting: dict[tuple[str, str], _Entry] = {}
        self._handed_over: dict[tuple[str, str], _Entry] = {}
        # One valid item an entry: one that comes up too early is put back at the later time, and one that
        # would come up too late is left behind for a new one.
        self._heap: list[tuple[float, int, _Entry]] = []
        self._serial = count()

    def __len__(self) -> int:
        return len(self._waiting)

    def observe(self, candidate: Candidate, now: float, changed: float | None = None) -> bool:
        """Take note of what ``lstat`` shows now.

        Parameters
        ----------
        changed
            When this version came to be, on the caller's clock, where its time stamps can tell; by default
            when it is first seen. The quiet period is counted from there.

        Returns
        -------
        bool
            True where the file is ready to be tried. Otherwise it is remembered, with a due time.
        """
        key = (candidate.folder, candidate.name)
        entry = self._handed_over.get(key) or self._waiting.get(key)
        if entry is None:
            begin = now if changed is None else changed
            entry = _Entry(candidate, now, begin, begin + self._quiet)
        elif entry.candidate.version != candidate.version:
            self._renew(entry, candidate, now if changed is None else changed)
            entry.reason = Reason.CHANGING
            entry.ready_at = entry.changed + self._quiet
        if now < entry.ready_at:
            self._wait(key, entry)
            return False
        self._waiting.pop(key, None)
        self._handed_over[key] = entry
        return True

    def defer(self, candidate: Candidate, now: float, reason: str) -> None:
        """Put back a file that was tried: it is still changing or incomplete. Its age is kept."""
        key = (candidate.folder, candidate.name)
        entry = self._handed_over.get(key) or self._waiting.get(key)
        if entry is None:
            entry = _Entry(candidate, now, now, now)
        elif entry.candidate.version != candidate.version:
            self._renew(entry, candidate, now)
        entry.attempts += 1
        entry.reason = reason
        entry.ready_at = now + self._backoff(entry.attempts)
        self._wait(key, entry)

    def hurry(self, folders: Collection[str], reason: str, now: float) -> None:
        """Those that wait for a reason, in or below one of these folders, are due now."""
        for key, entry in self._waiting.items():
            if entry.reason == reason and lies_below(key[0], folders):
                entry.ready_at = now
                entry.scheduled = now
                heapq.heappush(self._heap, (now, next(self._serial), entry))

    def gave_enough_time(self, candidate: Candidate, now: float) -> bool:
        """Whether this version was seen ``incomplete`` seconds ago or longer, and never changed since.

        The caller asks when the file has proved incomplete; it may then reject it instead of deferring it.
        A file that is not remembered was not given any time.
        """
        key = (candidate.folder, candidate.name)
        entry = self._handed_over.get(key) or self._waiting.get(key)
        if entry is None or entry.candidate.version != candidate.version:
            return False
        return now - entry.changed >= self._incomplete

    def due(self, now: float) -> list[Candidate]:
        """Those whose time has come, each once: ``lstat`` and :meth:`observe` them again."""
        found = []
        while (first := self._first()) is not None and first.ready_at <= now:
            heapq.heappop(self._heap)
            first.scheduled = None
            found.append(first.candidate)
        return found

    def next_due(self) -> float | None:
        """When :meth:`due` next has something, on the caller's clock; ``None`` where nothing is scheduled."""
        first = self._first()
        return None if first is None else first.ready_at

    def holds(self, candidate: Candidate) -> bool:
        """Whether a file is waiting, in any version."""
        return (candidate.folder, candidate.name) in self._waiting

    def forget(self, folder: str, name: str) -> None:
        """Drop a file that has a final outcome or has vanished; unknown ones are no error."""
        self._waiting.pop((folder, name), None)
        self._handed_over.pop((folder, name), None)

    def waiting(self, now: float) -> list[Waiting]:
        """All that wait, oldest first."""
        oldest_first = sorted(self._waiting.values(), key=lambda entry: entry.since)
        return [Waiting(e.candidate, e.since, now - e.since, e.reason, e.attempts) for e in oldest_first]

    def _backoff(self, attempts: int) -> float:
        factor = 2.0 ** min(attempts - 1, _LARGEST_EXPONENT)
        return min(max(self._quiet, SHORTEST_DELAY) * factor, self._backoff_max)

    @staticmethod
    def _renew(entry: _Entry, candidate: Candidate, changed: float) -> None:
        entry.candidate = candidate
        entry.changed = changed

    def _wait(self, key: tuple[str, str], entry: _Entry) -> None:
        self._handed_over.pop(key, None)
        self._waiting[key] = entry
        if entry.scheduled is None or entry.ready_at < entry.scheduled:
            entry.scheduled = entry.ready_at
            heapq.heappush(self._heap, (entry.ready_at, next(self._serial), entry))

    def _first(self) -> _Entry | None:
        """The entry that is due first; the heap's top is then exact."""
        while self._heap:
            at, _, entry = self._heap[0]
            if at != entry.scheduled:
                heapq.heappop(self._heap)
            elif self._waiting.get((entry.candidate.folder, entry.candidate.name)) is not entry:
                heapq.heappop(self._heap)
                entry.scheduled = None
            elif at < entry.ready_at:
                entry.scheduled = entry.ready_at
                heapq.heapreplace(self._heap, (entry.ready_at, next(self._serial), entry))
            else:
                return entry
        return None


def lies_below(folder: str, others: Collection[str]) -> bool:
    """Whether a folder is one of these, or lies below one."""
    while folder:
        if folder in others:
            return True
        folder = folder.rpartition("/")[0]
    return False


def quiet_by_clock(candidate: Candidate, wall_ns: int, quiet: float) -> bool:
    """Whether ctime says that nothing touched the file for the quiet period, by the wall clock.

    It lets files that lay there before the start be tried at first sight. A ctime in the future (a server's
    clock runs ahead) says nothing: False.

    Parameters
    ----------
    wall_ns
        Nanoseconds since the epoch.
    quiet
        Seconds.
    """
    return age_by_clock(candidate, wall_ns) >= max(quiet, 0)


def age_by_clock(candidate: Candidate, wall_ns: int) -> float:
    """Seconds since ctime, by the wall clock; negative where ctime lies in the future."""
    return (wall_ns - candidate.ctime_ns) / 1e9
