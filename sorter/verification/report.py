"""What a verification is asked, and what it tells in the end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from sorter.index.verification import Recorded
from sorter.verification.findings import Findings


@dataclass(frozen=True, slots=True)
class Options:
    """What to verify.

    Parameters
    ----------
    quick
        Without reading: presence, size, names, permissions.
    sample, seed
        Percent of the instances, and what chooses them.
    since, unread_since
        ISO 8601 in UTC: only instances stored since then; only those that were not read since then.
    """

    quick: bool = False
    sample: float = 100.0
    seed: int = 0
    since: str = ""
    unread_since: str = ""

    def chooses(self, row: Recorded) -> bool:
        """Whether an instance is in the sample; the same for the same seed."""
        if self.sample >= 100:
            return True
        digest = hashlib.blake2b(f"{self.seed}:{row.sop_instance_uid}".encode(), digest_size=7).digest()
        return int.from_bytes(digest) < self.sample / 100 * 2**56


@dataclass(slots=True)
class Report:
    """What was verified; ``findings`` is what is wrong."""

    options: Options
    findings: Findings = field(default_factory=Findings)
    instances: int = 0
    bytes: int = 0
    files: int = 0
    quarantined: int = 0
    resumed: int = 0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not len(self.findings)

    def summary(self) -> dict[str, Any]:
        """For ``--json``, without the findings themselves."""
        return {
            "clean": self.clean,
            "instances": self.instances,
            "bytes": self.bytes,
            "files": self.files,
            "quarantined": self.quarantined,
            "resumed": self.resumed,
            "quick": self.options.quick,
            "sample": self.options.sample,
            "seed": self.options.seed if self.options.sample < 100 else None,
            "seconds": round(self.seconds, 3),
            "counts": self.findings.counts(),
        }
