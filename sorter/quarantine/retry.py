"""Bringing quarantined files in once more, after an upgrade or a repair, with their history.

The bytes take the normal way of :mod:`sorter.ingest`; the ledger then speaks of the sources that they came
from, not of the quarantined copy (:class:`sorter.index.quarantine.RetryIndex`). The order, for each batch:

1. published and durable;
2. in one transaction the instances, and a new word about each source, which replaces the refusal;
3. the archived file is read again and compared with its digest;
4. the note is removed, then the quarantined bytes.

A crash before 2 leaves a published file without a row, which the next retry adopts; a crash after 2 leaves a
quarantined copy that no source needs any more, which the next retry finds to be a duplicate, and removes.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sorter.config import Config
from sorter.index import Index
from sorter.index.quarantine import RetryIndex
from sorter.intake import Batches, Intake, check_index_is_there
from sorter.model import Candidate, Kind, Outcome, Reason, is_safe
from sorter.observer.listing import look
from sorter.organizer.layout import path_key
from sorter.quarantine.entries import NO_COPY, NO_FILE, Chosen, Entry, entries, read_note
from sorter.rehearsal import Rehearsal

DAMAGED = "the quarantined file is damaged: its digest is not the one it was kept under"
_AGAIN = (Kind.REJECTED, Kind.CONFLICT)


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of one quarantined file.

    ``outcome`` is that of the normal line, or empty where there were no bytes to try. ``path`` is where the
    instance, or the quarantined file, lies now. ``removed`` says that the copy has left the quarantine.
    """

    id: str
    first_reason: str
    outcome: str
    reason: str
    detail: str
    path: str
    removed: bool

    @property
    def brought_in(self) -> bool:
        """Whether it is in the archive now."""
        return is_safe(self.outcome, self.reason)

    def summary(self) -> dict[str, Any]:
        """One of ``files`` in ``--json``."""
        return {
            "id": self.id,
            "first_reason": self.first_reason,
            "outcome": self.outcome or None,
            "reason": self.reason or None,
            "detail": self.detail,
            "path": self.path or None,
            "removed": self.removed,
        }


def retry(
    config: Config,
    chosen: Chosen,
    *,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda _step: None,
) -> Iterator[Retried]:
    """Bring the chosen entries in; may run beside a daemon, and may be repeated after a crash at any line.

    Parameters
    ----------
    dry_run
        Say what would happen; write nothing below the archive.

    Raises
    ------
    SorterError
        The archive or the index cannot be used; what was brought in so far stays.
    """
    check_index_is_there(config)
    with (Rehearsal if dry_run else _Intake)(config) as intake:
        if not dry_run:
            intake.archive.sweep()
        run = _Run(intake, chosen, progress)
        for outcomes in intake.take(run.batches()):
            yield from run.left()
            yield from run.settle(outcomes)
        yield from run.left()


class _Intake(Intake):
    """An Intake whose index tells what became of the sources of quarantined files."""

    def _open_index(self) -> Index:
        index = RetryIndex.open(self.config.index_location)
        assert isinstance(index, RetryIndex)
        index.root = str(self.config.archive)
        return index


class _Run:
    """One retry under way."""

    def __init__(self, intake: Intake, chosen: Chosen, progress: Callable[[str], None]) -> None:
        self._intake, self._chosen, self._progress = intake, chosen, progress
        self._root = intake.config.archive
        self._index = intake.index if isinstance(intake.index, RetryIndex) else None
        self._tried: dict[str, Entry] = {}  # by path; what is being staged or judged
        self._refiled: set[str] = set()
        self._left: list[Retried] = []
        self._count = 0

    def left(self) -> Iterator[Retried]:
        """What could not even be tried, since the last call."""
        left, self._left = self._left, []
        yield from left

    def batches(self) -> Iterator[list[Candidate]]:
        """The chosen files whose bytes are what they were."""
        batches = Batches()
        for entry in entries(self._root, self._chosen):
            if not entry.files:
                candidate = self._source(entry)
                if candidate is not None and (batch := batches.add(candidate)):
                    self._intake.check_space(batch)
                    yield batch
            for path in entry.files:
                if path in self._refiled:
                    continue  # put there by this very run
                candidate = self._candidate(entry, path)
                if candidate is not None and (batch := batches.add(candidate)):
                    self._intake.check_space(batch)
                    yield batch
        if batch := batches.rest():
            self._intake.check_space(batch)
            yield batch

    def _source(self, entry: Entry) -> Candidate | None:
        """What needs to be told more was not copied: it waits where it came from."""
        if entry.reason == Reason.NEEDS_INFO and entry.source:
            roots = map(str, self._intake.config.incoming)
            root = next((one for one in roots if entry.source.startswith(f"{one}/")), "")
            found = look(entry.source, root)
            if isinstance(found, Candidate):
                self._tried[self._path(found)] = entry
                return found
        self._left.append(_untried(entry, entry.trouble or NO_COPY))
        return None

    def _candidate(self, entry: Entry, path: str) -> Candidate | None:
        found = look(str(self._root / path))
        if not isinstance(found, Candidate):
            self._left.append(_untried(entry, NO_FILE))
            return None
        digest = self._intake.archive.digest(path)
        if digest is None or not digest.startswith(entry.id):
            self._left.append(_untried(entry, DAMAGED, path))
            return None
        self._remember(entry, path, digest)
        self._tried[path] = entry
        self._count += 1
        self._progress(f"{self._count:,} files")
        return found

    def _remember(self, entry: Entry, path: str, digest: str) -> None:
        """A conflict is kept as it was staged: decoded, perhaps. Then its file says what it was made of."""
        if self._index is None or entry.reason != Kind.CONFLICT:
            return
        with self._index.reading() as connection:
            rows = self._index.waiting.rows(connection, [path]).get(path, [])
        if any(row.sha256 == digest for row in rows):
            return  # it came just so
        locate, keywords = self._intake.archive.locate, self._intake.layout.keywords
        (found,) = self._intake.workers.examine([locate(path)], keywords)
        if found is not None and found.source_sha256 != digest:
            self._index.origins[path] = found

    # -- what became of them ----------------------------------------------------------------------------

    def settle(self, outcomes: Sequence[Outcome]) -> Iterator[Retried]:
        """Remove what is safe elsewhere; note the time of this retry with what is still refused."""
        # Members of what was tried have their word in the ledger.
        own = [one for one in outcomes if not one.candidate.depth]
        tried = [(self._tried.pop(self._path(one.candidate)), one) for one in own]
        removed: set[str] = set()
        if self._index is not None:
            with self._intake.archive.turn():
                for entry, one in tried:
                    self._annotate(entry, one)
                done = [(entry, one) for entry, one in tried if self._is_elsewhere(entry, one)]
                removed = self._remove(done)
        for entry, one in tried:
            path = self._path(one.candidate)
            yield _retried(entry, one, path, removed=path in removed)

    def _path(self, candidate: Candidate) -> str:
        return candidate.path.removeprefix(f"{self._root}/")

    def _is_elsewhere(self, entry: Entry, outcome: Outcome) -> bool:
        """Whether the bytes were read again where they are now, and no source needs them here."""
        path = self._path(outcome.candidate)
        if outcome.archived:
            safe = all(map(self._is_archived, outcome.archived))
        elif outcome.kind in _AGAIN and outcome.path not in ("", path, *entry.paths):
            recorded = self._intake.archive.digest(path)
            safe = recorded is not None and self._intake.archive.digest(outcome.path) == recorded
        else:
            return False
        if not safe:
            return False
        assert self._index is not None
        with self._index.reading() as connection:
            # Of what was never copied, nobody needs the note.
            return not entry.files or not self._index.waiting.rows(connection, [path])

    def _is_archived(self, path: str) -> bool:
        recorded = self._intake.index.digest(path_key(path))
        return recorded is not None and self._intake.archive.digest(path) == recorded

    def _remove(self, done: Sequence[tuple[Entry, Outcome]]) -> set[str]:
        removed = {self._path(one.candidate) for entry, one in done if entry.files}
        notes = [entry.note_path for entry, _ in done if entry.note_path and removed.issuperset(entry.files)]
        # In this order: a file without its note is met by the next retry, a note alone would stay.
        self._intake.archive.quarantine.remove(notes)
        self._intake.archive.quarantine.remove(sorted(removed))
        return removed | {self._path(one.candidate) for entry, one in done if not entry.files}

    def _annotate(self, entry: Entry, outcome: Outcome) -> None:
        """The first note stays, with a word about this retry; refused for another reason, it moves along."""
        if outcome.kind not in _AGAIN:
            return
        path = self._path(outcome.candidate)
        said = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "outcome": str(outcome.kind),
            "reason": str(outcome.reason),
            "detail": outcome.detail,
        }
        if outcome.path == path or not entry.files:
            if entry.note:
                self._intake.archive.quarantine.annotate(entry.note_path, {**entry.note, "retried": said})
            return
        self._refiled.add(outcome.path)
        folder = outcome.path.rpartition("/")[0]
        new, trouble = read_note(self._root, f"{folder}/{entry.id}.json")
        if not trouble:
            first = {key: value for key, value in entry.note.items() if key != "header"}
            note = {**new, "source": entry.source or new.get("source"), "first": first, "retried": said}
            self._intake.archive.quarantine.annotate(f"{folder}/{entry.id}.json", note)


def _untried(entry: Entry, detail: str, path: str = "") -> Retried:
    return Retried(entry.id, entry.reason, "", "", detail, path or entry.note_path, removed=False)


def _retried(entry: Entry, outcome: Outcome, path: str, *, removed: bool) -> Retried:
    reason = str(outcome.reason or "")
    where = outcome.path or path
    return Retried(entry.id, entry.reason, str(outcome.kind), reason, outcome.detail, where, removed)
