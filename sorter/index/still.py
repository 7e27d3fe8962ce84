"""An index that is only looked at: nothing is written, not even the log that SQLite makes for a reader."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import QueuePool, create_engine, make_url

from sorter.index.engine import bring_up_to_date, guarded
from sorter.index.index import Index
from sorter.model import BatchKind, Outcome, Place


class StillIndex(Index):
    """Answers like any index, and records nothing."""

    @classmethod
    def look_at(cls, location: str | Path) -> Index | None:
        """The index at this place as it is now; ``None`` where there is none.

        Raises
        ------
        IndexUnusableError
            Damaged, or of another version.
        """
        if isinstance(location, str) and make_url(location).get_backend_name() == "sqlite":
            location = Path(make_url(location).database or "")
        if not isinstance(location, Path):
            return cls.open(location, read_only=True)
        if not location.exists():
            return None
        if location.with_name(f"{location.name}-wal").exists():
            return cls.open(location, read_only=True)  # somebody has it open: the log is there already
        uri = f"file:{quote(os.path.abspath(location))}?immutable=1"

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)

        engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, hide_parameters=True)
        with guarded():
            bring_up_to_date(engine, read_only=True)
        return cls(engine)

    def record(
        self,
        outcomes: Sequence[Outcome],
        places: Mapping[str, Place],
        path_keys: Mapping[str, int],
        *,
        kind: BatchKind = BatchKind.INGEST,
    ) -> None:
        """Nothing is recorded."""
