"""Background verification: the daemon reads every archived file again once an interval, a little at a time.

A thread reads, at the pace that the interval asks for, and not while files are brought in; the working
thread records what was found, within the turn.
"""

from __future__ import annotations

import contextlib
import datetime
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from sorter import log
from sorter.errors import SorterError
from sorter.index import Index, verification
from sorter.index.verification import Recorded, Word
from sorter.intake import Intake
from sorter.model import Outcome
from sorter.verification.reading import Look, Stopped, look, version_of

Tell = Callable[[str, Mapping[str, Any]], None]

SLOWEST = 1 << 20  # bytes a second: a small archive is read quickly, and then rests
MARGIN = 1.25  # a bit faster than the interval asks for, since ingestion makes it wait
BUSY = 5.0  # seconds after a batch that count as busy
LONGEST_WAIT = 60.0  # and so long does a file wait for a daemon that is always busy
AT_ONCE, RECORD_SECONDS = 64, 30.0  # what is recorded at once: so many files, or what was read in so long
COUNT_SECONDS = 600.0  # counting looks at every row
IDLE = 300.0
WAKE = 3.0  # how soon the working thread looks for results
MOST_SKIPPED = 1000


class Verifier:
    """The duty.

    Parameters
    ----------
    intake
        Whose archive; its configuration has ``verify_interval``, in days. 0: nothing is read.
    tell
        Called in the working thread with ``"verification"`` and what was found wrong for the first time:
        ``instances``, a list of path, sop_instance_uid, problem, expected and found.
    first_read_seconds
        What was stored less long ago needs no reading yet.
    """

    def __init__(
        self,
        intake: Intake,
        tell: Tell = lambda _event, _facts: None,
        *,
        first_read_seconds: float = 3600.0,
    ) -> None:
        self._intake, self._tell = intake, tell
        self._root = str(intake.config.archive)
        self._interval = datetime.timedelta(days=intake.config.verify_interval)
        self._first_read = datetime.timedelta(seconds=first_read_seconds)
        self._found: queue.Queue[list[Look]] = queue.Queue(1)
        self._recorded, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._noted_at = self._counted_at = 0.0
        self._rate = float(SLOWEST)
        self._skipped: set[int] = set()  # may not be read, or moved: not met again at once
        self._verified = 0
        self._progress: dict[str, object] = {"verified": 0, "last_at": None}  # the working thread's
        self._counts: dict[str, object] = {"problems": 0, "oldest_days": 0.0}  # the reading thread's

    # -- the duty: in the working thread ----------------------------------------------------------------

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Files were brought in: reading waits."""
        if outcomes:
            self._noted_at = time.monotonic()

    def work(self, now: float) -> float | None:
        """Record what the thread has found; returns when to be called again."""
        if not self._interval:
            return None
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name="verify", daemon=True)
            self._thread.start()
        with contextlib.suppress(queue.Empty):
            self._record(self._found.get_nowait())
            self._recorded.set()
        return now + WAKE

    def report(self) -> dict[str, object]:
        """``verification``: how many were read since the start, how many problems there are, and how old."""
        if not self._interval:
            return {}
        interval = {"interval_days": self._intake.config.verify_interval}
        return {"verification": self._progress | self._counts | interval}

    def close(self) -> None:
        """Stop reading; what was read is recorded."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            with contextlib.suppress(queue.Empty):
                self._record(self._found.get_nowait())

    def _record(self, looks: Sequence[Look]) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._intake.archive.turn():
            # What looks wrong may have moved or gone since; then it is met again as it is now.
            sure = [one for one in looks if one.wrong is None or self._is_still(one)]
            told = [(one, word) for one in sure if (word := one.word())]
            with self._intake.index.writing() as connection:
                verification.tell(connection, [word for _, word in told], now)
        self._verified += len(told)
        self._progress = {"verified": self._verified, "last_at": now}
        if any(one.row.problem != word.problem for one, word in told):
            self._counted_at = 0.0
        self._report_problems([(one, word) for one, word in told if word.problem])

    def _is_still(self, one: Look) -> bool:
        with self._intake.index.reading() as connection:
            row = verification.row(connection, one.row.id)
        same = row is not None and (row.path, row.sha256) == (one.row.path, one.row.sha256)
        return same and version_of(self._root, one.row.path) == one.version

    def _report_problems(self, wrong: Sequence[tuple[Look, Word]]) -> None:
        new = [(one, word) for one, word in wrong if one.row.problem != word.problem]
        for one, word in new:
            log.get().error("verify_problem", source=log.source_id(one.row.path), kind=str(word.problem))
        if new:
            facts = [
                {
                    "path": one.row.path,
                    "sop_instance_uid": one.row.sop_instance_uid,
                    "problem": str(word.problem),
                    "expected": one.expected,
                    "found": one.found,
                }
                for one, word in new
            ]
            self._tell("verification", {"instances": facts})

    # -- the reading thread -----------------------------------------------------------------------------

    def _read(self) -> None:
        """Until told to stop. The index is opened anew each time, so that nothing is held for long."""
        while not self._stop.is_set():
            rows: list[Recorded] = []
            try:
                rows = self._due()
                self._look(rows)
            except Stopped:
                return
            except SorterError as error:
                log.get().warning("verify_interrupted", detail=str(error))
            if not rows:
                self._skipped.clear()
                self._stop.wait(IDLE)

    def _due(self) -> list[Recorded]:
        now = datetime.datetime.now(datetime.UTC)
        index = Index.open(self._intake.config.index_location, read_only=True)
        try:
            with index.reading() as connection:
                self._count(connection)
                rows = verification.due(
                    connection,
                    stored_before=(now - self._first_read).isoformat(timespec="seconds"),
                    read_before=(now - self._interval).isoformat(timespec="seconds"),
                    limit=AT_ONCE + len(self._skipped),
                )
        finally:
            index.close()
        return [row for row in rows if row.id not in self._skipped][:AT_ONCE]

    def _count(self, connection: Connection) -> None:
        if time.monotonic() - self._counted_at < COUNT_SECONDS:
            return
        self._counted_at = time.monotonic()
        _, _, size = verification.extent(connection)
        self._rate = max(SLOWEST, MARGIN * size / self._interval.total_seconds())
        longest = verification.longest_unread(connection)
        self._counts = {
            "problems": verification.problems(connection),
            "oldest_days": round(_days_since(longest), 1) if longest else 0.0,
        }

    def _look(self, rows: Sequence[Recorded]) -> None:
        found: list[Look] = []
        began = time.monotonic()
        for number, row in enumerate(rows, 1):
            self._wait_for_calm()
            found.append(look(self._root, row, quick=False, pace=self._pace))
            if number == len(rows) or time.monotonic() - began > RECORD_SECONDS:
                self._hand_over(found)
                found, began = [], time.monotonic()

    def _hand_over(self, found: list[Look]) -> None:
        """Wait until it is recorded: else it would be due again."""
        if len(self._skipped) < MOST_SKIPPED:
            self._skipped.update(one.row.id for one in found if one.wrong)
        self._recorded.clear()
        self._found.put(found)  # it is empty: the last one was recorded
        while not self._recorded.wait(1.0):
            if self._stop.is_set():
                raise Stopped

    def _pace(self, size: int) -> None:
        if self._stop.wait(size / self._rate):
            raise Stopped

    def _wait_for_calm(self) -> None:
        until = time.monotonic() + LONGEST_WAIT
        while (now := time.monotonic()) < (end := min(self._noted_at + BUSY, until)):
            if self._stop.wait(end - now):
                raise Stopped


def _days_since(when: str) -> float:
    then = datetime.datetime.fromisoformat(when)
    return max(0.0, (datetime.datetime.now(datetime.UTC) - then) / datetime.timedelta(days=1))
