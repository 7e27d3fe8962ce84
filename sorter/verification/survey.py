"""``sorter verify``: every row against its file, every file against its row, and all that lies beside them.

A daemon is not disturbed: files are read beside it, only what is recorded takes a turn. A file that comes,
moves or goes meanwhile is no finding: whatever looks wrong is looked at again, at last within the turn.
"""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from sorter.index import verification
from sorter.index.verification import Recorded, Word
from sorter.intake import Intake
from sorter.organizer.lease import META
from sorter.organizer.tree import trouble
from sorter.verification import reached
from sorter.verification.findings import Finding, Wrong
from sorter.verification.matching import match
from sorter.verification.reached import Reached, resumable
from sorter.verification.reading import Look, Stopped, look, version_of
from sorter.verification.report import Options, Report
from sorter.verification.rest import Rest

_SLICE = 512  # rows asked for, and results recorded, at once
_TASK_FILES, _TASK_BYTES = 16, 32 << 20
_RECORD_SECONDS = 5.0
_TRIES = 3

Progress = Callable[[int, int], None]  # bytes (quick: files) done, and in all


class Survey:
    """One verification.

    Parameters
    ----------
    resume
        Go on where an interrupted one ended, with its options; one that ended begins anew.
    """

    def __init__(
        self,
        intake: Intake,
        options: Options,
        *,
        resume: bool = False,
        progress: Progress = lambda _done, _all: None,
    ) -> None:
        self._intake, self._progress = intake, progress
        self._root = str(intake.config.archive)
        self._owner = os.stat(f"{self._root}/{META}").st_uid
        self._after = 0
        self._upto, self._files, self._bytes = self._extent(options, 0)
        done = 0
        if resume and (state := resumable(intake.config.archive)):
            options, self._after, self._upto, done = state
            _, self._files, self._bytes = self._extent(options, self._after)
        self._options = options
        self.report = Report(options, resumed=done)
        self._words: list[Word] = []
        self._recorded_at = time.monotonic()
        self._stop = threading.Event()

    def _extent(self, options: Options, after: int) -> tuple[int, int, int]:
        with self._intake.index.reading() as connection:
            return verification.extent(
                connection, after, since=options.since, unread_since=options.unread_since
            )

    def run(self) -> Report:
        """Do it.

        Raises
        ------
        SorterError
            The archive or the index cannot be read. What was recorded so far stays; ``resume`` goes on.
        """
        began = time.monotonic()
        self._check_index()
        self._check_files()
        rest = Rest(self._intake, self.report.findings, quick=self._options.quick, owner=self._owner)
        self.report.files, self.report.quarantined = rest.check()
        match(self._intake, self.report.findings)
        with trouble("end the verification"):
            reached.forget(self._intake.config.archive)
        self.report.seconds = time.monotonic() - began
        return self.report

    def _check_index(self) -> None:
        with self._intake.index.reading() as connection:
            troubles = verification.quick_check(connection)
            shared = verification.shared_paths(connection)
        for detail in troubles:
            self._add(Finding(Wrong.INDEX, "the index", "sorter reindex", detail))
        for path in shared:
            self._add(Finding(Wrong.MISPLACED, path, "one row", "more than one row names it"))

    def _add(self, finding: Finding) -> None:
        self.report.findings.add(finding)

    # -- every row has its file -------------------------------------------------------------------------

    def _check_files(self) -> None:
        """Read by threads (hashing does not hold the interpreter), a bounded number of files ahead."""
        threads = self._intake.config.worker_count
        ahead: deque[Future[list[Look]]] = deque()
        with ThreadPoolExecutor(threads, "verify") as pool:
            try:
                for task in self._tasks():
                    ahead.append(pool.submit(self._look, task))
                    while len(ahead) > 2 * threads:
                        self._take(ahead.popleft().result())
                while ahead:
                    self._take(ahead.popleft().result())
            except BaseException:
                self._stop.set()
                raise
        self._record()

    def _tasks(self) -> Iterator[list[Recorded]]:
        task: list[Recorded] = []
        size = 0
        for row in self._rows():
            if task and (len(task) == _TASK_FILES or size + row.size > _TASK_BYTES):
                yield task
                task, size = [], 0
            task.append(row)
            size += row.size
        if task:
            yield task

    def _rows(self) -> Iterator[Recorded]:
        index, options = self._intake.index, self._options
        with index.reading() as connection:
            known = verification.with_problem(connection, self._after)
        for number in known:  # found by the run that was interrupted
            if row := self._row(number):
                yield row
        after = self._after
        while True:
            with index.reading() as connection:  # never for long: a log that is read cannot be cleared
                rows = verification.slice_of(
                    connection,
                    after,
                    self._upto,
                    _SLICE,
                    since=options.since,
                    unread_since=options.unread_since,
                )
            if not rows:
                return
            yield from (row for row in rows if options.chooses(row))
            after = rows[-1].id

    def _row(self, number: int) -> Recorded | None:
        with self._intake.index.reading() as connection:
            return verification.row(connection, number)

    def _look(self, rows: Sequence[Recorded]) -> list[Look]:
        return [look(self._root, row, quick=self._options.quick, pace=self._pace) for row in rows]

    def _pace(self, _size: int) -> None:
        if self._stop.is_set():
            raise Stopped

    def _take(self, looks: Sequence[Look]) -> None:
        for first in looks:
            again: Look | None = first
            if first.findings(self._owner):
                again = self._again(first)
            if again is None:
                continue
            for finding in again.findings(self._owner):
                self._add(finding)
            if word := again.word():
                self._words.append(word)
            self.report.instances += 1
            self.report.bytes += again.size if again.read else 0
            self._after = max(self._after, again.row.id)
        quick = self._options.quick
        done, total = (self.report.instances, self._files) if quick else (self.report.bytes, self._bytes)
        self._progress(done, max(total, done))
        if len(self._words) >= _SLICE or time.monotonic() - self._recorded_at > _RECORD_SECONDS:
            self._record()

    def _again(self, first: Look) -> Look | None:
        """What is wrong is true only of the row as it is now; None where it is gone."""
        # Only bytes need reading again; and the last look counts, whatever moves.
        quick = self._options.quick or first.wrong is None
        for _ in range(_TRIES):
            row = self._row(first.row.id)
            if row is None:
                return None
            again = look(self._root, row, quick=quick)
            if not again.findings(self._owner):
                break
            with self._intake.archive.turn():
                same = self._row(row.id) == row
                if same and version_of(self._root, row.path) == again.version:
                    break
        return replace(again, read=again.read or first.read) if again.wrong is None else again

    def _record(self) -> None:
        words, self._words = self._words, []
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        if words:
            with self._intake.archive.turn(), self._intake.index.writing() as connection:
                verification.tell(connection, words, now)
        done = self.report.resumed + self.report.instances
        with trouble("note how far the verification came"):
            reached.note(self._intake.config.archive, Reached(self._options, self._after, self._upto, done))
        self._recorded_at = time.monotonic()
