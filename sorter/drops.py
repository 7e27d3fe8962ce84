"""The drop folders of one daemon: which of their files are ready, which wait, which cannot be read."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator

from sorter import log
from sorter.duties import Trouble
from sorter.intake import Intake
from sorter.model import Candidate, Kind, Reason
from sorter.observer.listing import Listing, look, no_words
from sorter.observer.mounts import keeps_our_time
from sorter.observer.settle import Settler, age_by_clock, lies_below, quiet_by_clock
from sorter.observer.walk import RootUnavailable, Walker
from sorter.observer.watch import Watch
from sorter.unpack.beside import State, state, voxels

# A walk on every wake, but not so often that walking itself keeps a core busy.
WAKE_PAUSE = 0.1
WALK_SHARE = 0.2
# Files that are due so soon after another share its batch, and the three waits for the disk of one.
GATHER = 0.02
# Looking after the watch costs a millisecond or two: not before each of the small batches of a busy day.
SUPERVISE_PAUSE = 0.5
# The deep walk looks at every file again. It may take this share of a core, however many files there are.
DEEP_SHARE = 0.002
TROUBLES_KEPT = 10
# More files than this are not remembered as waiting at once; the rest is met again by the next walk.
MOST_WAITING = 100_000
# What was written so shortly before may have come while the file that it speaks of was tried.
STATE_AGE_NS = 60 * 10**9


class DropFolders:
    """Watches, walks and settles; only the working thread may call it, but for :attr:`modes`.

    Parameters
    ----------
    intake
        What is known already, and the retiring of what is safe.
    wake
        Set by events; cleared before each walk.
    stop
        Ends a walk between two folders.
    alive
        Called now and then: a sign of life in a long walk.
    trouble
        Told of what the watch meets.
    """

    def __init__(
        self,
        intake: Intake,
        wake: threading.Event,
        stop: threading.Event,
        alive: Callable[[], None],
        trouble: Trouble,
    ) -> None:
        self._trouble = trouble
        config = intake.config
        self._config, self._intake, self._wake, self._stop, self._alive = config, intake, wake, stop, alive
        roots = [str(root) for root in config.incoming]
        exclude = [str(config.archive)]
        if config.retire_to:
            exclude.append(str(config.retire_to))
        # What may be retired is looked at one by one.
        words = no_words if config.retire != "keep" else intake.index.words_in
        self._walkers = [
            Walker(root, ignore=config.ignore, exclude=exclude, stop=stop.is_set, words=words)
            for root in roots
        ]
        self._by_clock: dict[str, bool] = {}  # root -> whether a time stamp there can be compared with now
        self.watch = Watch(roots, wake, mode=config.watch, exclude=exclude)
        self.settler = Settler(config.settle_seconds, config.incomplete_seconds)
        self._next_walk = self._next_deep = self._walked_at = self._supervise_at = 0.0
        self._unreadable: set[str] = set()
        # What needs to be told more: all that was said of it when it was tried, and what people were asked.
        self._asked: dict[tuple[str, str], State] = {}
        self._noted: dict[tuple[str, str], tuple[Candidate, str]] = {}
        self._passed_over: Counter[str] = Counter()
        self._troubles: list[str] = []
        self.last_walk: dict[str, float | int | bool] = {}

    def start(self) -> None:
        """Start watching, and ask for the first walk."""
        self.watch.start()
        log.get().info("watching", roots=len(self._walkers), modes=list(self.watch.modes))
        self._wake.set()

    def supervise(self) -> None:
        """Repair what watches, now and then; note what was found."""
        now = time.monotonic()
        if now < self._supervise_at:
            return
        self._supervise_at = now + SUPERVISE_PAUSE
        found = [f"{one.kind} {one.detail}".strip() for one in self.watch.check()]
        if found:
            log.get().warning("watch_trouble", troubles=found, modes=list(self.watch.modes))
            for one in found:
                self._trouble("watch", one)
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self._troubles = [*self._troubles, *(f"{at} {one}" for one in found)][-TROUBLES_KEPT:]

    # -- when ------------------------------------------------------------------------------------------

    def next_due(self) -> float:
        """When there is something to look at, by the monotonic clock, if no event comes before."""
        first = self.settler.next_due()
        settled = None if first is None else first + GATHER
        due = (self._next_walk, settled, self._intake.emptied.next_due())
        return min(at for at in due if at is not None)

    def walk_again_at(self) -> float:
        """When an event may cause the next walk: walking has a bounded share of the time."""
        pause = max(WAKE_PAUSE, float(self.last_walk.get("seconds", 0.0)) * (1 - WALK_SHARE) / WALK_SHARE)
        return self._walked_at + min(pause, self._config.walk_seconds)

    def walk_soon(self) -> None:
        """Look at everything again: what was handed out was not brought in."""
        self._next_walk = 0.0

    # -- which -----------------------------------------------------------------------------------------

    def waited(self) -> Iterator[Candidate]:
        """Candidates that waited, and are quiet now."""
        now = time.monotonic()
        for due in self.settler.due(now):
            again = look(due.path, due.root)
            if not isinstance(again, Candidate):
                self.settler.forget(due.folder, due.name)
            elif self.settler.observe(again, now, self._changed(again, now)) and self._is_news(again, now):
                yield again

    def walked(self) -> Iterator[Candidate]:
        """Candidates that a walk finds quiet, where one is due."""
        now = time.monotonic()
        if now >= self._next_walk or (self._wake.is_set() and now >= self.walk_again_at()):
            yield from self._walk(deep=now >= self._next_deep)
        self._intake.emptied.sweep(time.monotonic())

    def _walk(self, *, deep: bool) -> Iterator[Candidate]:
        self._wake.clear()  # before the walk: what arrives meanwhile wakes the next one
        deep = self._suspect() or deep
        began, spent, count = time.monotonic(), time.process_time(), 0
        passed_over: Counter[str] = Counter()
        for walker in self._walkers:
            self._by_clock[walker.root] = keeps_our_time(walker.root)
            try:
                for listing in walker.walk(deep=deep):
                    self._alive()
                    count += len(listing.candidates) + listing.known.total()
                    passed_over.update(str(o.reason) for o in listing.ignored if o.kind is Kind.IGNORED)
                    ready = list(self._look_at(listing, walker))
                    paused, idle = time.monotonic(), time.process_time()
                    yield from ready
                    began += time.monotonic() - paused  # ingesting meanwhile is no part of the walk
                    spent += time.process_time() - idle
            except RootUnavailable:
                continue  # the watch reports it; a vanished mount is not an empty drop folder
        if self._stop.is_set():
            return  # it may have ended early, and says nothing
        self._note_unreadable()
        self._walked_at = now = time.monotonic()
        spent = time.process_time() - spent
        self.last_walk = {"at": time.time(), "seconds": now - began, "files": count, "deep": deep}
        self._next_walk = now + self._config.walk_seconds
        if deep:
            self._passed_over = passed_over  # a shallow walk does not meet them all
            self._next_deep = now + max(self._config.walk_seconds, spent / DEEP_SHARE)

    def _suspect(self) -> bool:
        """Hand the folders that events named to the walkers; True where there were too many to know all."""
        named, complete = self.watch.named()
        for folder in named:
            for walker in self._walkers:
                walker.suspect(folder)
        return not complete

    def _look_at(self, listing: Listing, walker: Walker) -> Iterator[Candidate]:
        known = self._intake.index.seen(listing.candidates)
        fresh = [one for one in listing.candidates if one not in known]
        if not fresh:
            walker.known(listing)
        if self._config.retire != "keep":
            for candidate, row in known.items():
                self._intake.retire_known(candidate, row)
        now = time.monotonic()
        for candidate in fresh:
            ready = (
                self.quiet_for(candidate, self._config.settle_seconds) and not self.settler.holds(candidate)
            ) or (
                len(self.settler) < MOST_WAITING
                and self.settler.observe(candidate, now, self._changed(candidate, now))
            )
            if ready and self._is_news(candidate, now):
                yield candidate

    def _changed(self, candidate: Candidate, now: float) -> float | None:
        """When a file last changed, by the monotonic clock; ``None`` where its time stamp does not tell."""
        if not self._by_clock.get(candidate.root, False):
            return None
        return now - max(0.0, age_by_clock(candidate, time.time_ns()))

    def quiet_for(self, candidate: Candidate, seconds: float) -> bool:
        """Whether the time stamps alone say so; never where they come from another machine's clock."""
        by_clock = self._by_clock.get(candidate.root, False)
        return by_clock and quiet_by_clock(candidate, time.time_ns(), seconds)

    def gave_enough_time(self, candidate: Candidate) -> bool:
        """Whether an incomplete file has been left unchanged for so long that it may be refused."""
        return self.quiet_for(candidate, self._config.incomplete_seconds) or self.settler.gave_enough_time(
            candidate, time.monotonic()
        )

    # -- what needs to be told more ----------------------------------------------------------------------

    def _is_news(self, candidate: Candidate, now: float) -> bool:
        """Whether to try: not while the voxels still come, nor before anything new is said of a file."""
        key = (candidate.folder, candidate.name)
        if key in self._asked and self._asked[key] == self._state(candidate):
            self.settler.defer(candidate, now, Reason.NEEDS_INFO)
            return False
        if self._by_clock.get(candidate.root, False):
            for path in voxels(candidate):
                beside = look(path, candidate.root)
                if isinstance(beside, Candidate) and not self.quiet_for(beside, self._config.settle_seconds):
                    self.settler.defer(candidate, now, Reason.SETTLING)
                    return False
        return True

    def _state(self, candidate: Candidate) -> State:
        _, note = self._noted.get((candidate.folder, candidate.name), (None, ""))
        return state(candidate, note)

    def ask(self, candidate: Candidate, note: str) -> None:
        """Keep a file waiting until something new is said of it.

        Parameters
        ----------
        note
            Path of the quarantine's note that asks people for it from now on; or empty.
        """
        key = (candidate.folder, candidate.name)
        if note:
            self._noted[key] = candidate, note
            self.settler.defer(candidate, time.monotonic(), Reason.NEEDS_INFO)
        found = self._state(candidate)
        newest = max((changed for _, _, changed in found), default=0)
        if newest < time.time_ns() - STATE_AGE_NS and len(self._asked) < MOST_WAITING:
            self._asked[key] = found
        else:
            self._asked.pop(key, None)  # it may have come while the file was looked at

    def is_asked_about(self, candidate: Candidate) -> bool:
        """Whether people were asked about this version already."""
        known = self._noted.get((candidate.folder, candidate.name))
        return known is not None and known[0] == candidate

    def hurry(self, folders: Collection[str]) -> None:
        """Something was said about the files in and below these folders."""
        self.settler.hurry(folders, Reason.NEEDS_INFO, time.monotonic())
        self._asked = {key: one for key, one in self._asked.items() if not lies_below(key[0], folders)}

    def forget(self, candidate: Candidate) -> None:
        """It has its final outcome."""
        key = (candidate.folder, candidate.name)
        self.settler.forget(*key)
        self._asked.pop(key, None)
        self._noted.pop(key, None)

    def _note_unreadable(self) -> None:
        """Each is logged when it is first met, and looked at again at every walk."""
        unreadable = {path: detail for walker in self._walkers for path, detail in walker.unreadable.items()}
        for path, detail in unreadable.items():
            if path not in self._unreadable:
                log.get().warning("unreadable", source=log.source_id(path), detail=detail)
        self._unreadable = set(unreadable)

    # -- for people ------------------------------------------------------------------------------------

    @property
    def modes(self) -> list[str]:
        """How each drop folder is watched."""
        return list(self.watch.modes)

    def report(self) -> dict[str, object]:
        """Keys for ``status.json``."""
        return {
            "last_walk": self.last_walk,
            "watch": self.modes,
            "troubles": self._troubles,
            "unreadable": len(self._unreadable),
            "passed_over": dict(self._passed_over),
        }
