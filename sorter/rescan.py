"""The one-shot backfill: bring in all that is not yet in the archive, then stop.

It may run beside a daemon: both stage on their own and take turns, batch by batch, at the one writer
lock. It may be stopped at any point and started again: what the ledger knows is not read a second time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sorter.adopt import adopt
from sorter.auditlog import AuditTrail
from sorter.config import Config
from sorter.errors import ConfigError
from sorter.intake import Batches, Intake, Tally, check_index_is_there
from sorter.model import Candidate, Kind, Outcome, Reason, Refused
from sorter.observer.listing import Listing, look, no_words
from sorter.observer.settle import Settler, quiet_by_clock
from sorter.observer.walk import RootUnavailable, Walker
from sorter.rehearsal import Rehearsal
from sorter.rounds import MOST_SET_ASIDE
from sorter.workers import Workers

Progress = Callable[[Tally], None]
# A file that keeps changing for so many quiet periods is left for the daemon or the next rescan.
PATIENCE = 5


class Rescan:
    """One backfill over drop folders, or over paths given by hand (which are never retired).

    Parameters
    ----------
    intake
        Where to bring files.
    paths
        Files or folders; empty: the configured drop folders.
    progress
        Called after each batch and each listed folder.

    Attributes
    ----------
    note
        Told the outcomes of each batch, once they are committed.
    """

    def __init__(
        self,
        intake: Intake,
        paths: Sequence[Path] = (),
        *,
        progress: Progress = lambda _tally: None,
    ) -> None:
        self.tally = Tally()
        self.note: Callable[[Sequence[Outcome]], None] = lambda _outcomes: None
        self._intake, self._config, self._progress = intake, intake.config, progress
        self._settler = Settler(self._config.settle_seconds, 0.0)
        self._sources = check_paths(self._config, paths)
        self._aside = 0  # larger than the room there is

    def run(self) -> Tally:
        """Do it; returns what became of each source.

        Raises
        ------
        SorterError
            The archive or the index cannot be used; what was recorded so far stays.
        """
        for outcomes in self._intake.take(self._batches()):
            for outcome in outcomes:
                self._count(outcome)
            self.note(outcomes)
            self._progress(self.tally)
        return self.tally

    def _count(self, outcome: Outcome) -> None:
        self.tally.add(outcome.kind, outcome.reason, outcome.candidate.size)

    # -- which files -------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[list[Candidate]]:
        """Every file that the ledger does not know, once it is quiet, in batches."""
        batches = Batches()
        for candidate in self._quiet():
            if (batch := batches.add(candidate)) and (fits := self._with_room(batch)):
                yield fits
        if (batch := batches.rest()) and (fits := self._with_room(batch)):
            yield fits

    def _with_room(self, batch: list[Candidate]) -> list[Candidate]:
        """A batch without those that are larger than all the room there is: a few wait for another run.

        Raises
        ------
        ArchiveFullError
            There is no room for the others, or too many would have to wait.
        """
        room = self._intake.room()
        fits = [one for one in batch if room.fitting([one])]
        if room and self._aside + len(batch) - len(fits) <= MOST_SET_ASIDE:
            self._aside += len(batch) - len(fits)
            chosen = set(fits)
            for one in batch:
                if one not in chosen:
                    self.tally.add(Kind.DEFERRED, Reason.NO_SPACE, one.size)
            batch = fits
        self._intake.check_space(batch)
        return batch

    def _quiet(self) -> Iterator[Candidate]:
        for candidate in self._fresh():
            if quiet_by_clock(candidate, time.time_ns(), self._config.settle_seconds):
                yield candidate
            elif self._settler.observe(candidate, time.monotonic()):
                self._settler.forget(candidate.folder, candidate.name)
                yield candidate
            yield from self._settled()
        patience = time.monotonic() + PATIENCE * max(self._config.settle_seconds, 0.1)
        while (due := self._settler.next_due()) is not None and time.monotonic() < patience:
            time.sleep(max(0.0, min(due, patience) - time.monotonic()))
            yield from self._settled()
        for waiting in self._settler.waiting(time.monotonic()):
            self.tally.add(Kind.DEFERRED, Reason.CHANGING, waiting.candidate.size)

    def _settled(self) -> Iterator[Candidate]:
        now = time.monotonic()
        for candidate in self._settler.due(now):
            again = look(candidate.path, candidate.root)
            if isinstance(again, Candidate):
                if not self._settler.observe(again, now):
                    continue
                yield again
            else:
                refused = again or Refused(candidate, Kind.IGNORED, Reason.VANISHED)
                self.tally.add(refused.kind, refused.reason, 0)
            self._settler.forget(candidate.folder, candidate.name)

    def _fresh(self) -> Iterator[Candidate]:
        """Walk the sources; count what is ignored or known already."""
        for source, root in self._sources:
            for listing in self._listed(source, root):
                for refused in listing.ignored:
                    self.tally.add(refused.kind, refused.reason, refused.candidate.size)
                for (outcome, reason), count in listing.known.items():
                    self._known(Kind(outcome), Reason(reason) if reason else None, count)
                self.tally.bytes += listing.known_bytes
                yield from self._unknown(listing.candidates)
                self._progress(self.tally)

    def _unknown(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        known = self._intake.index.seen(candidates)
        words: Counter[tuple[Kind, Reason | None]] = Counter()
        for candidate in candidates:
            row = known.get(candidate)
            if row is None:
                yield candidate
                continue
            words[row.kind, row.reason] += 1
            self.tally.bytes += candidate.size
            self._intake.retire_known(candidate, row)
        for (kind, reason), count in words.items():
            self._known(kind, reason, count)

    def _known(self, kind: Kind, reason: Reason | None, count: int) -> None:
        """Count what the ledger knows: stored by an earlier run is, this time, a duplicate."""
        self.tally.add(Kind.DUPLICATE if kind is Kind.STORED else kind, reason, 0, count)

    def _listed(self, source: str, root: str) -> Iterator[Listing]:
        found = look(source, root)
        if isinstance(found, Candidate):
            yield Listing("", [found], [], last=True)
        elif os.path.isdir(source):
            exclude = [str(one) for one in (self._config.archive, self._config.retire_to) if one]
            # What may be retired is looked at one by one.
            words = no_words if root and self._config.retire != "keep" else self._intake.index.words_in
            ignore = self._config.ignore
            walker = Walker(source, ignore=ignore, exclude=exclude, retirable=bool(root), words=words)
            try:
                yield from walker.walk(deep=True)
            except RootUnavailable as error:
                raise ConfigError(str(error)) from None
        elif found is not None:
            yield Listing("", [], [found], last=True)


def check_paths(config: Config, paths: Sequence[Path]) -> list[tuple[str, str]]:
    """(source, drop folder or "") for each path to walk.

    Raises
    ------
    ConfigError
        One does not exist. Paths given by hand are named by their number: they may hold patient names.
    """
    if not paths:
        for root in config.incoming:
            if not root.is_dir():
                raise ConfigError(f"the drop folder {root} does not exist or is not a folder")
        return [(str(root), str(root)) for root in config.incoming]
    for number, path in enumerate(paths, 1):
        if not os.path.lexists(path):
            raise ConfigError(f"path number {number} on the command line does not exist")
    return [(os.path.abspath(path), "") for path in paths]


def estimate(config: Config, paths: Sequence[Path] = ()) -> int:
    """How many files there are to look at, for a progress bar."""
    return sum(
        len(files) if os.path.isdir(source) else 1
        for source, _ in check_paths(config, paths)
        for _, _, files in (os.walk(source) if os.path.isdir(source) else [("", [], [])])
    )


def backfill(
    config: Config,
    paths: Sequence[Path] = (),
    *,
    dry_run: bool = False,
    progress: Progress = lambda _: None,
    workers: Workers | None = None,
) -> Tally:
    """Open everything, bring in what is missing, close everything; returns the count.

    Without paths, published files that have no row are adopted as well.

    Parameters
    ----------
    workers
        Where the caller has started some already.

    Raises
    ------
    SorterError
        A path does not exist, or the archive or the index cannot be used.
    """
    check_paths(config, paths)
    if paths:  # else the files in the archive are adopted before any other is looked at
        check_index_is_there(config)
    with contextlib.ExitStack() as stack:
        intake = stack.enter_context((Rehearsal if dry_run else Intake)(config, workers=workers))
        intake.archive.sweep()
        rescan = Rescan(intake, paths, progress=progress)
        if not dry_run:
            rescan.note = stack.enter_context(AuditTrail(config, "rescan")).note
        if not paths:
            rescan.tally.adopted = adopt(intake)
        return rescan.run()
