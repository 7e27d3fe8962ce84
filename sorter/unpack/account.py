"""What became of the members of what was expanded, until all have their outcome; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sorter.model import Candidate, Expanded, Kind, Outcome, Reason, is_safe

_BATCH = 512


@dataclass(slots=True)
class _Open:
    """An expanded file whose members are under way."""

    expanded: Expanded
    waiting: int
    paths: list[str] = field(default_factory=list)  # where its instances are in the archive
    refused: int = 0
    deferred: Reason | None = None


class Account:
    """The files that were expanded in one course of ingest, each with its one outcome in the end."""

    def __init__(self) -> None:
        self._by_held: dict[str, _Open] = {}
        self._next: deque[Sequence[Candidate]] = deque()

    def open(self, expanded: Expanded) -> None:
        """Its members come next."""
        one = _Open(expanded, len(expanded.members))
        self._by_held.update((member.held, one) for member in expanded.members)
        for first in range(0, len(expanded.members), _BATCH):
            self._next.append(expanded.members[first : first + _BATCH])

    def before(self, batches: Iterator[Sequence[Candidate]]) -> Iterator[Sequence[Candidate]]:
        """The batches, and before each what members wait: so no more than needed is held in staging."""
        while True:
            while self._next:
                yield self._next.popleft()
            batch = next(batches, None)
            if batch is None:
                return
            yield batch

    @property
    def waits(self) -> bool:
        """Whether members wait to be staged."""
        return bool(self._next)

    def closed(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Outcomes of the files all of whose members have theirs with these; inner ones first."""
        found: list[Outcome] = []
        left = deque(outcomes)
        while left:
            outcome = left.popleft()
            one = self._by_held.pop(outcome.candidate.held, None) if outcome.candidate.held else None
            if one is None:
                continue
            _note(one, outcome)
            if not one.waiting:
                found.append(_closing(one))
                left.append(found[-1])
        return found


def _note(one: _Open, outcome: Outcome) -> None:
    one.waiting -= 1
    if outcome.kind is Kind.DEFERRED:
        one.deferred = outcome.reason or Reason.CHANGING
    elif is_safe(outcome.kind, outcome.reason):
        one.paths += outcome.archived
    elif outcome.kind is not Kind.IGNORED:
        one.refused += 1


def _closing(one: _Open) -> Outcome:
    expanded = one.expanded
    if one.deferred:
        return Outcome(expanded.candidate, Kind.DEFERRED, one.deferred, source_sha256=expanded.source_sha256)
    detail = f"{len(expanded.members)} members"
    reason = None
    if one.refused or expanded.left:
        reason = Reason.PARTLY
        detail += f", {one.refused} of them not wholly safe; {expanded.left} other files stay in it"
    return Outcome(
        expanded.candidate,
        Kind.EXPANDED,
        reason,
        detail,
        source_sha256=expanded.source_sha256,
        members=tuple(one.paths),
    )
