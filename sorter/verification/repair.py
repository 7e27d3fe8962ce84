"""``sorter verify --repair``: mend what can be mended without losing a byte; the rest stays, marked.

Each step may be cut off anywhere: what is found afterwards is mended by the same steps again.
"""

from __future__ import annotations

import datetime
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sorter.adopt import adopt, without_row
from sorter.config import FAMILIES
from sorter.index import verification
from sorter.index.draft import leftovers
from sorter.index.verification import Recorded, Word
from sorter.intake import Intake
from sorter.model import Candidate, Pixels, Staged
from sorter.observer.listing import look as look_at
from sorter.organizer.mending import Mending
from sorter.organizer.tree import trouble
from sorter.verification.findings import Finding, Findings, Mend, Wrong
from sorter.verification.reading import look, right_mode
from sorter.verification.sources import find_sources
from sorter.workers import Recipe

_AT_ONCE = 32  # files put back in one turn
EXAMPLES = 3

Numbered = tuple[int, Finding]


@dataclass(slots=True)
class Repaired:
    """What was done, how often; what was tried in vain; and what is still wrong."""

    done: Counter[str] = field(default_factory=Counter)
    in_vain: Counter[str] = field(default_factory=Counter)
    left: int = 0

    def summary(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"done": dict(self.done), "in_vain": dict(self.in_vain), "left": self.left}


class Repair:
    """Mends findings. What is mended is no finding any more."""

    def __init__(self, intake: Intake, findings: Findings) -> None:
        self._intake, self._findings = intake, findings
        self._mending = Mending(intake.archive)
        self.result = Repaired()

    def plan(self) -> list[tuple[Mend, int, list[str]]]:
        """(what, how many, examples) of all that can be mended."""
        counts = self._findings.mends()
        return [
            (mend, counts[mend], [one.path for one in islice(self._findings.all(mend=mend), EXAMPLES)])
            for mend in Mend
            if mend and mend in counts
        ]

    def run(self, progress: Callable[[str], None] = lambda _step: None) -> Repaired:
        """Do it; returns what became of it.

        Raises
        ------
        SorterError
            The archive or the index cannot be written; what is mended stays so.
        """
        steps: list[tuple[Mend, Callable[[Sequence[Numbered]], None]]] = [
            (Mend.SWEEP, self._sweep),
            (Mend.PERMISSIONS, self._permissions),
            (Mend.PUT_BACK, self._put_back),
            (Mend.REMOVE_NAME, self._remove_names),
            (Mend.RESTORE, self._restore),
            (Mend.ADOPT, self._adopt),
        ]
        for mend, step in steps:
            found = self._findings.numbered(mend=mend)
            while some := list(islice(found, _AT_ONCE)):
                progress(str(mend))
                step(some)
        self.result.left = len(self._findings)
        return self.result

    def _done(self, number: int, mend: Mend) -> None:
        self.result.done[str(mend)] += 1
        self._findings.forget(number)

    def _settle(self, some: Sequence[Numbered], mend: Mend, done: set[str]) -> None:
        for number, finding in some:
            if finding.path in done:
                self._done(number, mend)
            else:
                self.result.in_vain[str(mend)] += 1

    # -- the steps --------------------------------------------------------------------------------------

    def _sweep(self, some: Sequence[Numbered]) -> None:
        self._intake.archive.sweep()
        if isinstance(self._intake.config.index_location, Path):
            with trouble("remove an unfinished index"):
                for part in leftovers(self._intake.config.index_location):
                    part.unlink()
        self._settle(some, Mend.SWEEP, {finding.path for _, finding in some})

    def _permissions(self, some: Sequence[Numbered]) -> None:
        done = set()
        with self._intake.archive.turn():
            for _, finding in some:
                mode = int(finding.found, 8)
                mode = right_mode(mode) if finding.instance else mode & ~0o002 | 0o700
                if self._mending.set_mode(finding.path, mode):
                    done.add(finding.path)
        self._settle(some, Mend.PERMISSIONS, done)

    def _put_back(self, some: Sequence[Numbered]) -> None:
        """Files that were moved by hand get their recorded names; a damaged file there is set aside first."""
        with self._intake.archive.turn():
            still = [(self._still(finding), finding) for _, finding in some]
            moved = [(finding.source, row.path, row.sha256) for row, finding in still if row]
            for row, finding in still:
                if row and finding.kind is Wrong.DAMAGED and self._mending.holds(finding.source, row.sha256):
                    self._mending.set_aside(row.path)
            done = set(self._mending.put_back(moved))
            self._protect(done)
            self._tell([row for row, _ in still if row and row.path in done])
        self._settle(some, Mend.PUT_BACK, done)

    def _remove_names(self, some: Sequence[Numbered]) -> None:
        with self._intake.archive.turn():
            pairs = [(finding.path, finding.source) for _, finding in some]
            done = set(self._mending.remove_second_names(pairs))
        self._settle(some, Mend.REMOVE_NAME, done)

    def _restore(self, some: Sequence[Numbered]) -> None:
        done = {finding.path for _, finding in some if self._restored(finding)}
        self._settle(some, Mend.RESTORE, done)

    def _restored(self, finding: Finding) -> bool:
        row = self._row(finding)
        if row is None:
            return False
        for source in find_sources(self._intake, row):
            if (staged := self._staged(source, row)) is not None:
                try:
                    with self._intake.archive.turn():
                        still = self._still(finding)
                        return still is not None and self._replaced(staged, still)
                finally:
                    self._intake.archive.discard([staged])
        return False

    def _replaced(self, staged: Staged, row: Recorded) -> bool:
        if look(str(self._intake.config.archive), row, quick=True).version is not None:
            self._mending.set_aside(row.path)
        came = datetime.datetime.fromisoformat(row.stored_at).timestamp()
        if not self._mending.restore(staged.name, row.path, came):
            return False
        self._tell([row])
        return True

    def _staged(self, source: str, row: Recorded) -> Staged | None:
        """The source in staging, if it gives the recorded bytes; staged as the instance was."""
        file = look_at(source)
        if not isinstance(file, Candidate):
            return None
        decoded = row.pixels == str(Pixels.TRANSCODED)
        families = frozenset[str](FAMILIES) if decoded else frozenset[str]()
        recipe = Recipe(self._intake.archive.staging, families, self._intake.layout.keywords)
        for batch in self._intake.workers.stage([[file]], recipe):
            for one in batch.results:
                if isinstance(one, Staged) and one.instance.sha256 == row.sha256:
                    return one
            self._intake.archive.discard(batch.results)
        return None

    def _adopt(self, some: Sequence[Numbered]) -> None:
        """All at once, the first time; what has a row then is mended."""
        if not self.result.done[str(Mend.ADOPT)] and not self.result.in_vain[str(Mend.ADOPT)]:
            adopt(self._intake)
        done = {
            finding.path for _, finding in some if not without_row(self._intake.index, *_apart(finding.path))
        }
        with self._intake.archive.turn():
            self._protect(done)
        self._settle(some, Mend.ADOPT, done)

    def _protect(self, paths: Iterable[str]) -> None:
        """What has its row and its name is written by nobody any more."""
        for path in paths:
            mode = stat.S_IMODE(os.lstat(self._intake.archive.locate(path)).st_mode)
            if mode != right_mode(mode):
                self._mending.set_mode(path, right_mode(mode))

    # -- rows -------------------------------------------------------------------------------------------

    def _row(self, finding: Finding) -> Recorded | None:
        with self._intake.index.reading() as connection:
            return verification.row(connection, finding.instance)

    def _still(self, finding: Finding) -> Recorded | None:
        """The row, if it is as it was and its file still missing or damaged; within a turn."""
        row = self._row(finding)
        if row is None or (row.path, row.sha256) != (finding.path, finding.sha256):
            return None
        return row if look(str(self._intake.config.archive), row, quick=False).wrong else None

    def _tell(self, rows: Sequence[Recorded]) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        words = [Word(row.id, row.path, row.sha256, None, True) for row in rows]
        with self._intake.index.writing() as connection:
            verification.tell(connection, words, now)


def _apart(path: str) -> tuple[str, list[str]]:
    folder, _, name = path.rpartition("/")
    return folder, [name]
