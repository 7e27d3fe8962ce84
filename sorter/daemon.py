"""The daemon: watch, walk, settle, ingest, for years.

One thread does the work. Events only wake it; a walk decides what is there. A second thread, the heartbeat,
writes the status file and tells systemd that the first one still gets on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sorter import __version__, log, waiting
from sorter.duties import Duties, Duty
from sorter.errors import ArchiveFullError
from sorter.intake import SAFE, Batches, Intake, Tally
from sorter.model import Candidate, Kind, Outcome, Reason, Refused
from sorter.observer.settle import Settler, quiet_by_clock
from sorter.observer.walk import Listing, RootUnavailable, Walker, look
from sorter.observer.watch import Watch
from sorter.organizer.lease import META

__all__ = ["Daemon", "Duty"]

# A walk on every wake, but not so often that walking itself keeps a core busy.
WAKE_PAUSE = 0.1
WALK_SHARE = 0.2
# The deep walk looks at every file again. It may take this share of a core, however many files there are.
DEEP_SHARE = 0.002
SPACE_PAUSE = 5.0
IDLE_REST = 30.0
TROUBLES_KEPT = 10
# More files than this are not remembered as waiting at once; the rest is met again by the next walk.
MOST_WAITING = 100_000
# What may be a file that is still being written.
_MAY_GROW = frozenset((Reason.TRUNCATED, Reason.MALFORMED))


class Daemon:
    """One configuration being served; :func:`serve` makes a new one on reload."""

    def __init__(
        self, intake: Intake, wake: threading.Event, stop: threading.Event, duties: Sequence[Duty] = ()
    ) -> None:
        self.config = intake.config
        self._duties = Duties(duties)
        self._intake, self._wake, self._stop = intake, wake, stop
        roots = [str(root) for root in self.config.incoming]
        exclude = [str(self.config.archive)]
        if self.config.retire_to:
            exclude.append(str(self.config.retire_to))
        self._walkers = [Walker(root, ignore=self.config.ignore, exclude=exclude) for root in roots]
        self._watch = Watch(roots, wake, mode=self.config.watch, exclude=exclude)
        self._settler = Settler(self.config.settle_seconds, self.config.incomplete_seconds)
        self._in_flight: set[tuple[str, str]] = set()
        self._next_walk = self._next_deep = self._walked_at = 0.0
        self._troubles: list[str] = []
        self.tally = Tally()
        self.state = "starting"
        self.last_walk: dict[str, float | int | bool] = {}
        self.progress_at = time.monotonic()
        self._waiting: dict[str, object] = {}
        self._waiting_at = self._worked_at = 0.0

    # -- the loop -------------------------------------------------------------------------------------

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until told to stop; the batch under way is finished first."""
        self._watch.start()
        log.get().info("watching", roots=len(self._walkers), modes=list(self._watch.modes))
        self._wake.set()
        ready()
        try:
            while not self._stop.is_set():
                self._tick()
                self._rest()
        finally:
            self.state = "stopping"
            self._watch.stop()
            self._duties.close()

    def _tick(self) -> None:
        """Everything that is due: supervise, walk, look again at what waits, ingest what is ready."""
        self.progress_at = time.monotonic()
        self._supervise()
        self._in_flight.clear()
        for outcomes in self._intake.take(self._batches(), self._refuse):
            self.progress_at = time.monotonic()
            for outcome in outcomes:
                self._count(outcome)
            kinds = Counter(str(outcome.kind) for outcome in outcomes)
            log.get().info("batch", count=len(outcomes), **kinds)
            self._worked_at = time.monotonic()
            self._duties.note(outcomes)
            self._duties.work()
            self._note_waiting(every=1.0)
        self._duties.work()
        self._note_waiting(every=0.0)

    def _rest(self) -> None:
        """Sleep until an event, the next walk, or the next settled file."""
        self.state = "idle"
        now = time.monotonic()
        due, duty = self._settler.next_due(), self._duties.next_due()
        until = min(self._next_walk, *(at for at in (due, duty) if at is not None), now + IDLE_REST)
        if not self._wake.wait(max(0.0, until - now)):
            if due is None and time.monotonic() - self._worked_at >= IDLE_REST:
                self._intake.workers.rest()
            return
        # Let a burst of events gather, and do not walk a large folder again and again; but a file that is
        # due is looked at on time, which needs no walk.
        self._stop.wait(max(0.0, min(until, self._walk_again_at()) - time.monotonic()))

    def _walk_again_at(self) -> float:
        """When an event may cause the next walk: walking has a bounded share of the time."""
        pause = max(WAKE_PAUSE, float(self.last_walk.get("seconds", 0.0)) * (1 - WALK_SHARE) / WALK_SHARE)
        return self._walked_at + min(pause, self.config.walk_seconds)

    def _supervise(self) -> None:
        found = [f"{one.kind} {one.detail}".strip() for one in self._watch.check()]
        if found:
            log.get().warning("watch_trouble", troubles=found, modes=list(self._watch.modes))
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self._troubles = [*self._troubles, *(f"{at} {one}" for one in found)][-TROUBLES_KEPT:]

    # -- which files ----------------------------------------------------------------------------------

    def _batches(self) -> Iterator[list[Candidate]]:
        batches = Batches()
        for candidate in self._ready():
            key = (candidate.folder, candidate.name)
            if key in self._in_flight:
                continue
            self._in_flight.add(key)
            if batch := batches.add(candidate):
                yield from self._when_there_is_space(batch)
            if self._stop.is_set():
                return
        if batch := batches.rest():
            yield from self._when_there_is_space(batch)

    def _when_there_is_space(self, batch: list[Candidate]) -> Iterator[list[Candidate]]:
        while not self._stop.is_set():
            try:
                self._intake.check_space()
            except ArchiveFullError:
                if self.state != "paused":
                    self.state = "paused"
                    free = self._intake.archive.free_bytes() >> 20
                    log.get().error("paused_no_space", free_mb=free, floor_mb=self.config.min_free_mb)
                self.progress_at = time.monotonic()
                self._stop.wait(SPACE_PAUSE)
                continue
            self.state = "working"
            yield batch
            return

    def _ready(self) -> Iterator[Candidate]:
        """Candidates that are quiet: from a walk, when one is due, and of those that waited."""
        now = time.monotonic()
        if now >= self._next_walk or (self._wake.is_set() and now >= self._walk_again_at()):
            yield from self._walk(deep=now >= self._next_deep)
        now = time.monotonic()
        for due in self._settler.due(now):
            again = look(due.path, due.root)
            if not isinstance(again, Candidate):
                self._settler.forget(due.folder, due.name)
            elif self._settler.observe(again, now):
                yield again

    def _walk(self, *, deep: bool) -> Iterator[Candidate]:
        self._wake.clear()  # before the walk: what arrives meanwhile wakes the next one
        deep = self._suspect() or deep
        began, spent, count = time.monotonic(), time.process_time(), 0
        for walker in self._walkers:
            try:
                for listing in walker.walk(deep=deep):
                    self.progress_at = time.monotonic()
                    count += len(listing.candidates)
                    ready = list(self._look_at(listing, walker))
                    paused, idle = time.monotonic(), time.process_time()
                    yield from ready
                    began += time.monotonic() - paused  # ingesting meanwhile is no part of the walk
                    spent += time.process_time() - idle
            except RootUnavailable:
                continue  # the watch reports it; a vanished mount is not an empty drop folder
        self._walked_at = now = time.monotonic()
        spent = time.process_time() - spent
        self.last_walk = {"at": time.time(), "seconds": now - began, "files": count, "deep": deep}
        self._next_walk = now + self.config.walk_seconds
        if deep:
            self._next_deep = now + max(self.config.walk_seconds, spent / DEEP_SHARE)

    def _suspect(self) -> bool:
        """Hand the folders that events named to the walkers; True where there were too many to know all."""
        named, complete = self._watch.named()
        for folder in named:
            for walker in self._walkers:
                walker.suspect(folder)
        return not complete

    def _look_at(self, listing: Listing, walker: Walker) -> Iterator[Candidate]:
        known = self._intake.index.seen(listing.candidates)
        fresh = [one for one in listing.candidates if one not in known]
        if not fresh:
            walker.known(listing)
        if self.config.retire != "keep":
            for candidate in known:
                if known[candidate].kind in SAFE:
                    self._intake.retire(candidate, known[candidate].path)
        now, wall = time.monotonic(), time.time_ns()
        for candidate in fresh:
            if (
                quiet_by_clock(candidate, wall, self.config.settle_seconds)
                and not self._settler.holds(candidate)
            ) or (len(self._settler) < MOST_WAITING and self._settler.observe(candidate, now)):
                yield candidate

    # -- what became of them ----------------------------------------------------------------------------

    def _refuse(self, refused: Refused) -> Refused:
        """Wait for what may still be growing or become readable, instead of refusing it."""
        if refused.kind is not Kind.REJECTED:
            return refused
        if refused.reason is Reason.UNREADABLE:
            return replace(refused, kind=Kind.DEFERRED)
        candidate = refused.candidate
        now = time.monotonic()
        if refused.reason in _MAY_GROW and not self._long_quiet(candidate, now):
            return replace(refused, kind=Kind.DEFERRED, reason=Reason.INCOMPLETE)
        return refused

    def _long_quiet(self, candidate: Candidate, now: float) -> bool:
        enough = self.config.incomplete_seconds
        return quiet_by_clock(candidate, time.time_ns(), enough) or self._settler.gave_enough_time(
            candidate, now
        )

    def _count(self, outcome: Outcome) -> None:
        candidate = outcome.candidate
        if outcome.kind is Kind.DEFERRED:
            self._settler.defer(candidate, time.monotonic(), outcome.reason or Reason.CHANGING)
            return
        self._settler.forget(candidate.folder, candidate.name)
        self.tally.add(outcome.kind, outcome.reason, candidate.size)
        if outcome.kind in (Kind.REJECTED, Kind.CONFLICT):
            log.get().warning(
                "refused",
                kind=str(outcome.kind),
                reason=str(outcome.reason),
                detail=outcome.detail,
                source=log.source_id(candidate.path),
                name=outcome.path.removeprefix(f"{META}/"),
            )

    # -- how it does ------------------------------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Whether the working thread got on lately: a task may take its deadline, alone and again.

        Each task that ends counts, so that many hanging files in one batch are slow, and not a hang.
        """
        last = max(self.progress_at, self._intake.workers.progress_at)
        return time.monotonic() - last < 4 * self.config.worker_seconds + 60

    def _note_waiting(self, *, every: float) -> None:
        """What waits and why, taken in the working thread, which alone may look at the settler."""
        now = time.monotonic()
        if now - self._waiting_at < every:
            return
        self._waiting = waiting.report(self._settler, now)
        self._waiting_at = now

    def report(self) -> dict[str, object]:
        """The state for ``status.json``; no paths, no patient data."""
        return {
            "version": __version__,
            "state": self.state,
            "healthy": self.healthy,
            "heartbeat": time.time(),
            "last_walk": self.last_walk,
            "watch": list(self._watch.modes),
            "troubles": self._troubles,
            **self._waiting,
            **self._duties.report(),
            "free_mb": self._intake.archive.free_bytes() >> 20,
            "since_start": self.tally.summary(),
        }
