"""The account: every source version that was ever seen has one final outcome, or waits openly.

What is proved: seen = stored + duplicate + equivalent + expanded + conflict + rejected + ignored
+ waiting; no row of
the ledger was changed, removed or slipped in since it was recorded (:mod:`sorter.index.chain`); what the
ledger calls archived is in the index with the digest it was archived with, and what it calls refused lies in
quarantine. That the archived bytes are still there is the question of ``sorter verify``.
"""

from __future__ import annotations

import datetime
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from sorter.config import Config
from sorter.index import Index, chain, conservation
from sorter.index.ledger import words
from sorter.index.names import original
from sorter.model import Candidate, Kind, Reason, Refused
from sorter.observer.listing import look
from sorter.observer.walk import RootUnavailable, Walker

KEPT = 100  # findings and open sources that are named; all are counted
_EMPTY = chain.ORIGIN


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: which kind, about what (a batch, a row, a path), and how."""

    kind: str
    what: str
    detail: str


@dataclass(frozen=True, slots=True, order=True)
class Open:
    """Something that is not settled yet, and for how long."""

    age_seconds: int
    why: str
    what: str


@dataclass(slots=True)
class Audit:
    """The account; :attr:`balanced` is the verdict."""

    since: str = ""
    batches: int = 0
    head: str = _EMPTY
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    adopted: int = 0
    not_taken: Counter[str] = field(default_factory=Counter)  # by rule, without a row: reason -> files
    findings: list[Finding] = field(default_factory=list)
    findings_count: Counter[str] = field(default_factory=Counter)
    open: list[Open] = field(default_factory=list)
    open_count: Counter[str] = field(default_factory=Counter)
    overdue: int = 0

    @property
    def waiting(self) -> int:
        """Sources in the drop folders without a final outcome."""
        return self.open_count["waiting"]

    @property
    def seen(self) -> int:
        """Every source version of the ledger, and what waits."""
        return sum(self.outcomes.values()) + self.waiting

    @property
    def balanced(self) -> bool:
        """Whether nothing is wrong, and nothing is open for longer than the daemon would let it wait."""
        return not self.findings_count and not self.overdue

    @property
    def meddled(self) -> int:
        """Findings that an honest program does not leave behind."""
        kinds = ("tampered", "unknown_outcome", "no_batch", "superseded", "other_digest", "no_source")
        return sum(self.findings_count[kind] for kind in kinds)

    def found(self, kind: str, what: str, detail: str) -> None:
        """Count a finding; the first ones are named."""
        self.findings_count[kind] += 1
        if len(self.findings) < KEPT:
            self.findings.append(Finding(kind, what, detail))

    def opened(self, why: str, what: str, age: float, patience: float) -> None:
        """Count something open; the oldest are named."""
        self.open_count[why] += 1
        self.overdue += age > patience
        one = Open(int(age), why, what)
        (heapq.heappush if len(self.open) < KEPT else heapq.heappushpop)(self.open, one)

    def summary(self) -> dict[str, Any]:
        """The ``--json`` object."""
        return {
            "balanced": self.balanced,
            "since": self.since or None,
            "seen": self.seen,
            **{str(kind): self.outcomes[kind] for kind in Kind if kind is not Kind.DEFERRED},
            "waiting": self.waiting,
            "adopted": self.adopted,
            "reasons": self.reasons,
            "not_taken": dict(self.not_taken),
            "batches": self.batches,
            "head": self.head,
            "overdue": self.overdue,
            "open_count": dict(self.open_count),
            "open": [
                {"why": one.why, "what": one.what, "age_seconds": one.age_seconds}
                for one in sorted(self.open, reverse=True)
            ],
            "findings_count": dict(self.findings_count),
            "findings": [
                {"finding": one.kind, "what": one.what, "detail": one.detail} for one in self.findings
            ],
        }


def audit(
    config: Config, *, since: str = "", expect: str = "", progress: Callable[[str], None] = lambda _step: None
) -> Audit:
    """Make the account. Writes nothing; may run beside a daemon.

    Parameters
    ----------
    since
        ISO 8601 in UTC: only what was recorded from then on is counted, and the chain checked from there.
    expect
        The digest that an earlier audit gave as the ledger's newest; it must still be there.

    Raises
    ------
    IndexUnusableError
        There is no index, or it cannot be read.
    """
    found = Audit(since=since)
    patience = config.incomplete_seconds + 2 * config.walk_seconds + config.settle_seconds
    index = Index.open(config.index_location, read_only=True)
    try:
        progress("the chain of the ledger")
        _check_chain(index, found, expect)
        progress("the rows of the ledger")
        _check_rows(index, found, patience)
        progress("the quarantine")
        _check_quarantine(config, index, found)
        progress("the drop folders")
        for root in _drop_folders(config):
            _check_drop_folder(config, root, index, found, patience)
    finally:
        index.close()
    return found


def _check_chain(index: Index, found: Audit, expect: str) -> None:
    with index.reading() as connection:
        found.batches, found.head = conservation.batch_count(connection), chain.head(connection)
        after = conservation.batch_before(connection, found.since) if found.since else 0
        for broken in chain.broken(connection, after=after):
            found.found("tampered", f"batch {broken.batch}", broken.detail)
        if expect and not conservation.has_batch(connection, expect):
            detail = "no batch has the expected digest: its end was cut off, or the whole was remade"
            found.found("tampered", "the ledger", detail)


def _check_rows(index: Index, found: Audit, patience: float) -> None:
    with index.reading() as connection:
        after = conservation.batch_before(connection, found.since) if found.since else 0
        for outcome, reason, count in conservation.outcomes(connection, after):
            found.outcomes[outcome] += count
            if reason:
                found.reasons.setdefault(outcome, {})[reason] = count
        found.adopted = conservation.adopted(connection, after)
        for kind, what, detail in conservation.oddities(connection):
            found.found(kind, what, detail)
        for path, problem in conservation.problems(connection):
            found.found(problem, path, f"verification found this archived file {problem}")
        for path, when in conservation.unread(connection):
            if _is_unread(connection, original(path)):
                found.opened("unreadable", path, _seconds_since(when), patience)
        if unfinished := conservation.unfinished_moves(connection):
            detail = f"{unfinished} were begun and not ended: run the same relayout or undo again"
            found.found("unfinished_move", "the journal of moves", detail)


def _is_unread(connection: Connection, path: str) -> bool:
    """Whether it is there as it was; else it is gone, or became another version: chmod alone makes it one."""
    seen = look(path)
    if not isinstance(seen, Candidate):
        return isinstance(seen, Refused) and seen.reason is Reason.UNREADABLE
    return any(row.reason == Reason.UNREADABLE for _, row in words(connection, [seen]))


def _check_quarantine(config: Config, index: Index, found: Audit) -> None:
    with index.reading() as connection:
        for path in conservation.quarantined(connection):
            if not (config.archive / path).is_file():
                found.found("not_in_quarantine", path, "the ledger says it was put there, and it is gone")


def _drop_folders(config: Config) -> list[str]:
    """The drop folders; without the default one where nobody has made it."""
    default = [root.absolute() for root in Config.model_fields["incoming"].default]
    return [str(root) for root in config.incoming if root not in default or root.exists()]


def _check_drop_folder(config: Config, root: str, index: Index, found: Audit, patience: float) -> None:
    """Whatever lies there without a final outcome waits; its age is the time since it last changed."""
    exclude = [str(one) for one in (config.archive, config.retire_to) if one]
    try:
        for listing in Walker(root, ignore=config.ignore, exclude=exclude).walk(deep=True):
            now = time.time()
            for refused in listing.ignored:
                if refused.kind is Kind.REJECTED:
                    found.found("drop_folder", refused.candidate.path, "cannot be looked at")
                else:
                    found.not_taken[str(refused.reason)] += 1
            for candidate, touched in _without_word(index, listing.candidates):
                age = max(0.0, now - candidate.ctime_ns / 1e9)
                # Only a deep walk sees that a mode or a link has changed, and it may take its time.
                found.opened("waiting", candidate.path, age, age if touched else patience)
    except RootUnavailable:
        found.found("drop_folder", root, "cannot be looked at: what waits in it is not known")


def _without_word(index: Index, candidates: list[Candidate]) -> Iterator[tuple[Candidate, bool]]:
    """Those without a final word; and of each, whether one is known of the same content."""
    with index.reading() as connection:
        known = dict(words(connection, candidates))
        # One that vanished while it was looked at, and is here again as it was, waits like a new one.
        new = [one for one in candidates if one not in known or known[one].reason == Reason.VANISHED]
        touched = dict(words(connection, new, ctime=False))
    return ((one, one in touched) for one in new)


def _seconds_since(when: str) -> float:
    then = datetime.datetime.fromisoformat(when)
    return max(0.0, (datetime.datetime.now(datetime.UTC) - then).total_seconds())
