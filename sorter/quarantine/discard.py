"""Giving quarantined copies up for good: recorded in the ledger first, removed then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sorter.config import Config
from sorter.index.quarantine import Waiting, record_discard
from sorter.intake import Intake, check_index_is_there
from sorter.quarantine.entries import Entry

_BATCH = 256


@dataclass(slots=True)
class Sum:
    """How many entries, of how many bytes, by reason."""

    entries: int = 0
    bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, chosen: Iterable[Entry]) -> Sum:
        """Count them."""
        found = cls()
        for entry in chosen:
            found.add(entry)
        return found

    def add(self, entry: Entry) -> None:
        """Count one."""
        self.entries += 1
        self.bytes += entry.size
        self.reasons[entry.reason] += 1

    def summary(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"entries": self.entries, "bytes": self.bytes, "reasons": dict(sorted(self.reasons.items()))}


def discard(config: Config, chosen: Sequence[Entry]) -> int:
    """Remove these entries from the quarantine; returns how many sources had their bytes there.

    Each batch is recorded in the ledger before its files go: after a crash in between the ledger is right,
    and the files are orphans, which the same discard removes.

    Raises
    ------
    SorterError
        The archive or the index cannot be used; what was discarded so far stays so.
    """
    check_index_is_there(config)
    concerned = 0
    left, waiting = iter(chosen), Waiting()
    with Intake(config) as intake:
        intake.archive.sweep()
        while batch := list(islice(left, _BATCH)):
            paths = [path for entry in batch for path in entry.paths]
            with intake.archive.turn():
                digests = [entry.sha256 for entry in batch if entry.files]
                concerned += record_discard(intake.index, waiting, paths, digests)
                # In this order: a file without its note still has the id by which it is discarded.
                intake.archive.quarantine.remove([entry.note_path for entry in batch if entry.note_path])
                intake.archive.quarantine.remove([path for entry in batch for path in entry.files])
    return concerned
