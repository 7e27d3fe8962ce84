"""How much the index holds, in SQL that every database takes; by itself it needs no SQLAlchemy."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sorter.index.version import VERSION

_LEVELS = ("patients", "studies", "series", "instances")
_OUTCOMES = (
    "SELECT outcome, reason, count(*) FROM sources WHERE NOT superseded "
    "GROUP BY outcome, reason ORDER BY outcome, reason"
)
_BUSY_SECONDS = 5


def gather(rows_of: Callable[[str], Sequence[Sequence[Any]]]) -> dict[str, Any]:
    """Rows by level, bytes stored, and sources by outcome and reason.

    Parameters
    ----------
    rows_of
        All rows of a query.
    """
    found: dict[str, Any] = {
        level: rows_of(f"SELECT count(*) FROM {level}")[0][0]  # noqa: S608 - a constant of this module
        for level in _LEVELS
    }
    found["bytes"] = int(rows_of("SELECT sum(size) FROM instances")[0][0] or 0)
    outcomes: dict[str, int] = defaultdict(int)
    reasons: dict[str, dict[str, int]] = defaultdict(dict)
    for outcome, reason, count in rows_of(_OUTCOMES):
        outcomes[outcome] += count
        if reason:
            reasons[outcome][reason] = count
    return found | {"outcomes": dict(outcomes), "reasons": dict(reasons)}


def glance(path: Path, *, counts: bool = True) -> dict[str, Any] | None:
    """The counts of an SQLite index of the newest version, without waiting for SQLAlchemy.

    On a machine that is busy bringing files in, that makes a second.

    Parameters
    ----------
    counts
        False: only look whether it can be read, and count nothing.

    Returns
    -------
    dict or None
        ``None`` where it is not to be had so simply; :class:`sorter.index.Index` then says what is wrong.
    """
    uri = f"file:{quote(str(path))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
            connection.execute("BEGIN")  # all counts are of one state
            if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(VERSION,)]:
                return None
            return gather(lambda query: connection.execute(query).fetchall()) if counts else {}
    except sqlite3.Error:
        return None
