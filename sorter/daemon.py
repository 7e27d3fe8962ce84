"""The daemon: watch, walk, settle, ingest, for years.

One thread does the work. Events only wake it; a walk decides what is there. A second thread, the heartbeat,
writes the status file and tells systemd that the first one still gets on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from sorter import __version__, log, waiting
from sorter.drops import DropFolders
from sorter.duties import Duties, Duty, Trouble
from sorter.errors import ArchiveFullError, IndexBusyError
from sorter.intake import BATCH_FILES, Batches, Intake, Tally
from sorter.model import Candidate, Kind, Outcome, Reason, Refused
from sorter.organizer.lease import META
from sorter.rounds import Round
from sorter.unpack.beside import may_be_sidecar

IDLE_REST = 30.0
# Between two tries while there is no room, or somebody else holds the index.
PAUSE = 5.0
# An index that somebody else holds for longer than this is a matter for people.
BUSY_PATIENCE = 600.0
# What failed was among these: three batches are under way at once.
CAREFUL_FILES = 3 * BATCH_FILES
# What may be a file that is still being written.
_MAY_GROW = frozenset((Reason.TRUNCATED, Reason.MALFORMED))


class Daemon:
    """One configuration being served; :func:`serve` makes a new one on reload."""

    def __init__(
        self,
        intake: Intake,
        wake: threading.Event,
        stop: threading.Event,
        duties: Sequence[Duty] = (),
        trouble: Trouble = lambda _kind, _detail: None,
    ) -> None:
        self._trouble = trouble
        self.config = intake.config
        self._intake, self._wake, self._stop = intake, wake, stop
        self._drops = DropFolders(intake, wake, stop, self._alive, trouble)
        intake.workers.stopping = stop.is_set
        self._duties = Duties(duties)
        self._round = self._new_round()
        self._told: set[str] = set()  # folders in which this batch had sidecars
        self._careful = False
        self.tally = Tally()
        self.state = "starting"
        self.paused = ""  # why, as long as it is
        self._paused_at = 0.0
        self.progress_at = time.monotonic()
        self._waiting: dict[str, object] = {}
        self._waiting_at = self._worked_at = 0.0

    # -- the loop -------------------------------------------------------------------------------------

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until told to stop; the batch under way is finished first."""
        self._drops.start()
        self.state = "working"
        ready()
        try:
            while not self._stop.is_set():
                self._tick()
                self._rest()
        finally:
            self.state = "stopping"
            self._drops.watch.stop()
            self._duties.close()

    def _alive(self) -> None:
        self.progress_at = time.monotonic()

    def _tick(self) -> None:
        """One round; where the disk is full or the index busy, wait and let the next one try all again."""
        self._alive()
        self._round = self._new_round()
        count = self.tally.seen
        try:
            self._work()
        except ArchiveFullError as error:
            self._careful = True  # the next round finds out which file it is that does not fit
            self._pause(Reason.NO_SPACE, detail=str(error))
        except IndexBusyError as error:
            self._pause("index_busy", detail=str(error))
            if time.monotonic() - self._paused_at > BUSY_PATIENCE:
                raise
        else:
            if not self._round.full:
                self.paused = ""
            elif self.tally.seen == count:  # nothing of it fits
                self._pause(Reason.NO_SPACE, floor_mb=self.config.min_free_mb)
            else:
                self._drops.walk_soon()
        self._note_waiting(every=0.0)

    def _new_round(self) -> Round:
        return Round(self._intake, self._drops.settler, self._stop.is_set)

    def _work(self) -> None:
        """Everything that is due: supervise, bring in what has waited, then walk, and what that finds."""
        self._drops.supervise()
        for outcomes in self._taken():
            self._alive()
            for outcome in outcomes:
                self._count(outcome)
            if self._told:
                self._drops.hurry(self._told)
                self._told.clear()
            kinds = Counter(str(outcome.kind) for outcome in outcomes)
            log.get().info("batch", count=len(outcomes), **kinds)
            self._worked_at = time.monotonic()
            self._duties.note(outcomes)
            self._duties.work()
            self._note_waiting(every=1.0)
        self._duties.work()

    def _pause(self, why: str, **facts: object) -> None:
        """Wait a little, having said so once."""
        if self.paused != why:
            self.paused, self._paused_at = why, time.monotonic()
            log.get().error(f"paused_{why}", free_mb=self._intake.archive.free_bytes() >> 20, **facts)
            self._trouble(why, "nothing is brought in until this is over")
        self._intake.abandon()
        self._drops.walk_soon()
        self._note_waiting(every=1.0)
        self._alive()
        self._stop.wait(PAUSE)

    def _rest(self) -> None:
        """Sleep until an event, the next walk, or the next settled file."""
        self.state = "idle"
        if len(self._drops.settler) and not self.paused:
            self._intake.workers.warm_up()  # while the file settles
        now = time.monotonic()
        due, duty = self._drops.next_due(), self._duties.next_due()
        until = min(due, now + IDLE_REST, due if duty is None else duty)
        if not self._wake.wait(max(0.0, until - now)):
            if not len(self._drops.settler) and time.monotonic() - self._worked_at >= IDLE_REST:
                self._intake.workers.rest()
            return
        # Let a burst of events gather, and do not walk a large folder again and again; but a file that is
        # due is looked at on time, which needs no walk.
        self._stop.wait(max(0.0, min(until, self._drops.walk_again_at()) - time.monotonic()))

    # -- which files ----------------------------------------------------------------------------------

    def _taken(self) -> Iterator[list[Outcome]]:
        """Bring in what is ready; after the disk was full each file alone, to find the one to blame."""
        if not self._careful:
            # What has waited is not held up by a walk that takes long.
            for candidates in (self._drops.waited(), self._drops.walked()):
                if not self._round.full:
                    yield from self._intake.take(self._batches(candidates, Batches()), self._refuse)
            return
        ready = chain(self._drops.waited(), self._drops.walked())
        for number, batch in enumerate(self._batches(ready, Batches(files=1)), 1):
            try:
                yield from self._intake.take([batch], self._refuse)
            except ArchiveFullError:
                self._intake.abandon()
                if not self._round.set_aside(batch):
                    raise
            if number == CAREFUL_FILES:
                self._drops.walk_soon()
                break
        self._careful = self._round.full

    def _batches(self, candidates: Iterable[Candidate], batches: Batches) -> Iterator[list[Candidate]]:
        for batch in self._round.batches(candidates, batches):
            self.state = "working"
            yield batch

    # -- what became of them ----------------------------------------------------------------------------

    def _refuse(self, refused: Refused) -> Refused:
        """Wait for what may still be growing or become readable, instead of refusing it."""
        if refused.kind is not Kind.REJECTED or refused.candidate.held:
            return refused  # a member of an archive that is whole does not grow
        if refused.reason is Reason.UNREADABLE:
            return replace(refused, kind=Kind.DEFERRED)
        had_time = self._drops.gave_enough_time(refused.candidate)
        if refused.reason is Reason.NEEDS_INFO:
            told = self._drops.is_asked_about(refused.candidate)  # the quarantine's note asks once
            return refused if had_time and not told else replace(refused, kind=Kind.DEFERRED)
        if had_time:
            return refused
        if refused.reason in _MAY_GROW:
            return replace(refused, kind=Kind.DEFERRED, reason=Reason.INCOMPLETE)
        if refused.reason is Reason.NOT_DICOM and self._may_be_sidecar(refused.candidate):
            return replace(refused, kind=Kind.DEFERRED, reason=Reason.INCOMPLETE)
        return refused

    def _may_be_sidecar(self, candidate: Candidate) -> bool:
        """Whether the file that it speaks of may still come."""
        return self._intake.recipe.wanted.converts and may_be_sidecar(candidate.name)

    def _count(self, outcome: Outcome) -> None:
        candidate = outcome.candidate
        if candidate.held and outcome.kind is Kind.DEFERRED:
            return  # so is the file around it
        self._round.landed(outcome)
        if outcome.reason is Reason.NEEDS_INFO and not candidate.held:
            note = self._intake.archive.locate(outcome.path) if outcome.path else ""
            self._drops.ask(candidate, note)
        elif outcome.kind is not Kind.DEFERRED:
            self._drops.forget(candidate)
        if outcome.kind is Kind.DEFERRED:
            self._drops.settler.defer(candidate, time.monotonic(), outcome.reason or Reason.CHANGING)
            return
        if outcome.reason is Reason.SIDECAR:
            self._told.add(candidate.folder)
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
        return time.monotonic() - last < 4 * self._intake.workers.longest + 60

    def _note_waiting(self, *, every: float) -> None:
        """What waits and why, taken in the working thread, which alone may look at the settler."""
        now = time.monotonic()
        if now - self._waiting_at < every:
            return
        self._waiting = waiting.report(self._drops.settler, now)
        self._waiting_at = now

    def report(self) -> dict[str, object]:
        """The state for ``status.json``; no paths, no patient data."""
        return {
            "version": __version__,
            "state": "paused" if self.paused else self.state,
            "paused": self.paused,
            "healthy": self.healthy,
            "heartbeat": time.time(),
            **self._drops.report(),
            **self._waiting,
            **self._duties.report(),
            "free_mb": self._intake.archive.free_bytes() >> 20,
            "since_start": self.tally.summary(),
        }
