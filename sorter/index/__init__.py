"""Index: what is known of patients, studies, series and instances, and what became of every source.

Its names are imported when they are asked for, so that who only counts (:mod:`sorter.index.counts`) need not
wait for SQLAlchemy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sorter.index.engine import sqlite_file
    from sorter.index.index import Index
    from sorter.index.rows import Known, SourceRow

__all__ = ["Index", "Known", "SourceRow", "sqlite_file"]
_HOMES = {"Index": "index", "Known": "rows", "SourceRow": "rows", "sqlite_file": "engine"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
