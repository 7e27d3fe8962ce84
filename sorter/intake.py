"""Everything that bringing files in needs, opened from a Config; and the count of what became of them."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sorter import log
from sorter.config import Config
from sorter.convert.site import site_facts
from sorter.errors import ArchiveFullError, ConfigError, IndexUnusableError
from sorter.index import Index
from sorter.index.rows import SourceRow
from sorter.ingest import ingest
from sorter.journal import finish
from sorter.model import SAFE, Candidate, Kind, Outcome, Reason, Refused, is_safe
from sorter.observer.emptied import Emptied
from sorter.observer.retire import retire
from sorter.organizer.archive import Archive
from sorter.organizer.layout import Layout, TemplateError, path_key
from sorter.organizer.lease import META, RunsLease, clear_folder
from sorter.organizer.quarantine import QUARANTINE
from sorter.organizer.tree import trouble
from sorter.room import Room
from sorter.unpack.wanted import Wanted
from sorter.workers import Recipe, Workers

# A batch closes at so many files or bytes: durability is cheap in batches (docs/performance.md).
BATCH_FILES = 1024
# The first ones are smaller, so that there is soon something to publish; each may be twice the one before.
FIRST_FILES = 128
BATCH_BYTES = 512 << 20
MOST_TOLD = 10_000


@dataclass(slots=True)
class Tally:
    """How many sources were seen and what became of them; ``seen`` is always the sum of the outcomes."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    reasons: Counter[tuple[Kind, Reason]] = field(default_factory=Counter)
    bytes: int = 0
    adopted: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, kind: Kind, reason: Reason | None, size: int, count: int = 1) -> None:
        """Count one source, or several of ``size`` bytes in all."""
        self.kinds[kind] += count
        if reason is not None:
            self.reasons[kind, reason] += count
        self.bytes += size

    @property
    def seen(self) -> int:
        """All of them."""
        return sum(self.kinds.values())

    @property
    def refused(self) -> bool:
        """Whether anything needs a person's eye: exit status 1."""
        return bool(self.kinds[Kind.CONFLICT] or self.kinds[Kind.REJECTED] or self.kinds[Kind.DEFERRED])

    @property
    def rate(self) -> float:
        """Files a second since the start."""
        return self.seen / max(time.monotonic() - self.started, 1e-3)

    def summary(self) -> dict[str, Any]:
        """The ``--json`` object: counts, reasons, bytes read, seconds."""
        reasons: dict[str, dict[str, int]] = {}
        for (kind, reason), count in sorted(self.reasons.items()):
            reasons.setdefault(str(kind), {})[str(reason)] = count
        return {
            "seen": self.seen,
            **{str(kind): self.kinds[kind] for kind in Kind},
            "adopted": self.adopted,
            "seconds": round(time.monotonic() - self.started, 3),
            "bytes": self.bytes,
            "reasons": reasons,
        }


class Intake:
    """The archive, the index, the workers and the layout of one Config, ready to take files in.

    Parameters
    ----------
    lease
        Where the caller holds the archive for itself; by default the archive is shared with other runs.
    workers
        Where the caller has started some already; they are closed with all else.
    """

    def __init__(
        self, config: Config, lease: RunsLease | None = None, workers: Workers | None = None
    ) -> None:
        self.config, self._lease = config, lease
        try:
            self.layout = Layout(config.template)
        except TemplateError as error:
            raise ConfigError(f"template: {error}") from None
        wanted = _wanted(config)
        with contextlib.ExitStack() as stack:
            self.workers = workers or Workers.of(config)
            stack.callback(self.workers.close)
            self.archive = self._open_archive(stack)
            stack.callback(self.archive.close)
            with self.archive.turn():  # migrations are writes too
                self.index = self._open_index()
                finish(self.archive, self.index)  # what a crash left of a relayout or an undo
            stack.callback(self._close_index)
            stack.callback(self.workers.close)  # before the folder goes that they stage in
            self._stack = stack.pop_all()
        self.emptied = Emptied(config.settle_seconds)
        self._told: set[Candidate] = set()
        self.recipe = Recipe(self.archive.staging, frozenset(config.decompress), self.layout.keywords, wanted)

    def _open_archive(self, stack: contextlib.ExitStack) -> Archive:
        archive = Archive(self.config.archive)
        if self._lease is None:
            try:
                stack.enter_context(RunsLease(self.config.archive))
            except BaseException:
                archive.close()
                raise
        return archive

    def _open_index(self) -> Index:
        return Index.open(self.config.index_location)

    def take(
        self,
        batches: Iterable[Sequence[Candidate]],
        refuse: Callable[[Refused], Refused] = lambda refused: refused,
    ) -> Iterator[list[Outcome]]:
        """Ingest batches; retire the sources whose outcomes are committed."""
        for outcomes in ingest(
            batches,
            archive=self.archive,
            index=self.index,
            workers=self.workers,
            layout=self.layout,
            recipe=self.recipe,
            refuse=refuse,
        ):
            for outcome in outcomes:
                if is_safe(outcome.kind, outcome.reason):
                    self.retire(outcome.candidate, *outcome.archived)
            yield outcomes

    def retire(self, candidate: Candidate, *paths: str) -> None:
        """Keep, delete or move a source that is safe in the archive (rule 3 holds: its row is committed).

        The archived ``paths`` are looked at first: what the index says is not enough to delete by.
        """
        if self.config.retire == "keep" or not candidate.root:
            return
        if not paths or not all(map(self._is_whole, paths)):
            self._not_retired(candidate, reason="archived file not whole")
            return
        moved_to = str(self.config.retire_to) if self.config.retire_to else None
        try:
            if retire(candidate, self.config.retire, moved_to=moved_to):
                self.emptied.note(candidate, time.monotonic())
        except OSError as error:
            # The file is safe; a source that cannot be removed is looked at again at the next walk.
            self._not_retired(candidate, errno=os.strerror(error.errno or 0))

    def retire_known(self, candidate: Candidate, row: SourceRow) -> None:
        """Retire what an earlier run brought in and did not come to retire."""
        if self.config.retire == "keep" or not candidate.root:
            return
        if row.kind in SAFE:
            self.retire(candidate, row.path)
        elif row.kind is Kind.EXPANDED and row.reason is None:
            self.retire(candidate, *self.index.paths_within(candidate.path))

    def _not_retired(self, candidate: Candidate, **why: str) -> None:
        """Say so, once for each version: every deep walk meets it again."""
        if candidate in self._told:
            return
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told.add(candidate)
        log.get().warning("not_retired", source=log.source_id(candidate.path), **why)

    def _is_whole(self, path: str) -> bool:
        """Whether the archived file is there with the bytes that its row says."""
        recorded = self.index.digest(path_key(path))
        return recorded is not None and self.archive.digest(path) == recorded

    def room(self, under_way: int = 0) -> Room:
        """What the archive may still take above the floor, besides so many bytes that are under way."""
        floor = self.config.min_free_mb << 20
        facts = os.statvfs(self.archive.root)
        names = facts.f_favail if facts.f_files else sys.maxsize  # btrfs and others count none
        return Room(self.archive.free_bytes() - floor - under_way, names)

    def check_space(self, batch: Sequence[Candidate] = ()) -> None:
        """Stop before the disk is full.

        Raises
        ------
        ArchiveFullError
            A batch would leave less than ``min_free_mb``, or no room for its names.
        """
        room = self.room()
        if room and len(room.fitting(batch)) == len(batch):
            return
        free, size = self.archive.free_bytes() >> 20, sum(one.size for one in batch)
        raise ArchiveFullError(
            f"{free} MiB and {room.files} file names free below the archive; this needs min_free_mb = "
            f"{self.config.min_free_mb} MiB and {-(-size >> 20)} MiB for {len(batch)} files: make room, "
            "or lower min_free_mb"
        )

    def abandon(self) -> None:
        """Forget what is being staged, after trouble that is waited out: its sources are met again."""
        self.workers.close()
        with trouble("clear the staging folder"):
            clear_folder(Path(self.archive.staging.folder))

    def _close_index(self) -> None:
        with self.archive.turn():  # closing may write the last of the log into the database
            self.index.close()

    def close(self) -> None:
        """Close all."""
        self._stack.close()

    def __enter__(self) -> Intake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _wanted(config: Config) -> Wanted:
    return Wanted(
        archives=config.unpack,
        volumes="nifti" in config.convert,
        pictures=tuple(map(str, config.pictures)),
        answers=f"{config.archive}/{QUARANTINE}/{Reason.NEEDS_INFO}",
        namespace=config.namespace,
        facts=tuple(site_facts(config).items()),
    )


def check_index_is_there(config: Config) -> None:
    """An archive with files and without its index is not a new archive.

    Raises
    ------
    IndexUnusableError
        The index is lost: an empty one would take every known instance for a new one.
    """
    location = config.index_location
    if not isinstance(location, Path) or location.exists() or not config.archive.is_dir():
        return
    if any(one.name != META for one in config.archive.iterdir()):
        raise IndexUnusableError(
            f"the archive holds files, but its index {location} is gone: run `sorter reindex`, "
            "or restore a backup"
        )


@dataclass(slots=True)
class Batches:
    """Collects candidates; :meth:`add` returns a full batch when one closes."""

    files: int = BATCH_FILES
    bytes: int = BATCH_BYTES
    _most: int = FIRST_FILES
    _open: list[Candidate] = field(default_factory=list)
    _size: int = 0

    def add(self, candidate: Candidate) -> list[Candidate] | None:
        """Add one; the batch that it closes, if it does."""
        self._open.append(candidate)
        self._size += candidate.size
        if len(self._open) < min(self._most, self.files) and self._size < self.bytes:
            return None
        self._most = min(2 * self._most, self.files)
        return self.rest()

    def rest(self) -> list[Candidate] | None:
        """Close the open batch, if it holds anything."""
        batch, self._open, self._size = self._open, [], 0
        return batch or None
