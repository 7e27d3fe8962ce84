"""The draft of a new index, beside the one in use until it is whole."""

from __future__ import annotations

from pathlib import Path

BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database
_DRAFT = ".new"


def draft_of(index: Path) -> Path:
    """Where a new index is built."""
    return index.with_name(index.name + _DRAFT)


def leftovers(index: Path) -> list[Path]:
    """Files of a draft that was never finished; only while nobody builds one."""
    draft = draft_of(index)
    parts = (draft.with_name(draft.name + suffix) for suffix in (*BESIDE, ""))
    return [part for part in parts if part.exists()]
