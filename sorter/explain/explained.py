"""What is told of one file."""

from __future__ import annotations

import dataclasses
from typing import Any

from sorter.model import Kind, Reason, is_safe


@dataclasses.dataclass(slots=True)
class Explained:
    """What is told of one file. ``outcome`` is the one that a run would give it now."""

    file: str
    size: int
    drop_folder: str
    outcome: str = ""
    reason: str = ""
    detail: str = ""
    path: str = ""
    judged: dict[str, str] = dataclasses.field(default_factory=dict)  # by its bytes, whatever else holds
    taking: dict[str, Any] = dataclasses.field(default_factory=dict)
    read: dict[str, Any] = dataclasses.field(default_factory=dict)
    identity: dict[str, Any] = dataclasses.field(default_factory=dict)
    place: dict[str, Any] = dataclasses.field(default_factory=dict)
    ledger: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    other_versions: int = 0
    retire: str = ""

    @property
    def safe(self) -> bool:
        """Whether it is, or would be, in the archive."""
        return is_safe(self.outcome, self.reason)

    def decide(self, kind: Kind, reason: Reason | None, detail: str, path: str = "") -> None:
        """Set the outcome."""
        self.outcome, self.reason = str(kind), str(reason or "")
        self.detail, self.path = detail, path

    def summary(self) -> dict[str, Any]:
        """The ``--json`` object."""
        return dataclasses.asdict(self)
