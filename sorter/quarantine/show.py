"""All that is known of quarantined files; of a conflict, both instances side by side."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from pebble import ProcessExpired
from sqlalchemy import Connection

from sorter.config import Config
from sorter.errors import IndexUnusableError
from sorter.index import Index
from sorter.index.quarantine import histories, instance_path
from sorter.model import Reason
from sorter.parser.difference import Comparison, Side, compare, side
from sorter.quarantine.entries import Chosen, Entry, entries
from sorter.reading import map_path
from sorter.workers import Workers

_DIED = (TimeoutError, ProcessExpired, MemoryError, BrokenProcessPool, CancelledError)


class _Comparers(Workers):
    """Workers that look at files for a person; they have the limits of those that decode."""

    def side(self, path: str) -> Side | None:
        """What a file is; ``None`` where it cannot be read."""
        found: Side | None = self._looked(_side, path)
        return found

    def compare(self, first: str, second: str) -> Comparison | None:
        """Two files side by side; ``None`` where one cannot be read or a decoder died."""
        found: Comparison | None = self._looked(_compare, first, second)
        return found

    def _looked(self, function: Any, *paths: str) -> Any:
        try:
            return self._result(self._task(function, *paths, size=sum(map(os.path.getsize, paths))))
        except (OSError, *_DIED):  # or the file is gone by now
            return None


def _side(path: str) -> Side | None:
    try:
        return side(map_path(path))
    except Exception:  # noqa: BLE001 - the worker's edge: it was refused for a reason
        return None


def _compare(first: str, second: str) -> Comparison | None:
    try:
        return compare(map_path(first), map_path(second))
    except Exception:  # noqa: BLE001 - as above
        return None


def show(config: Config, chosen: Chosen) -> Iterator[dict[str, Any]]:
    """All that is known of each chosen entry, ready for JSON. Reads only.

    Raises
    ------
    ConfigError
        An id stands for nothing.
    """
    index = _index(config)
    workers = _Comparers(count=1, memory_mb=config.worker_memory_mb, seconds=config.worker_seconds)
    try:
        for entry in entries(config.archive, chosen):
            facts: dict[str, Any] = {**entry.summary(), "archive": str(config.archive)}
            existing = entry.text("existing")
            if index is None:
                facts["history"] = None
            else:
                with index.reading() as connection:
                    facts["history"] = histories(connection, entry.paths)
                    existing = _existing(connection, entry) or existing
            yield facts | _looked_at(config, entry, existing, workers)
    finally:
        workers.close()
        if index is not None:
            index.close()


def _index(config: Config) -> Index | None:
    try:
        return Index.open(config.index_location, read_only=True)
    except IndexUnusableError:
        return None  # then the notes alone say what they know


def _existing(connection: Connection, entry: Entry) -> str | None:
    """The archived instance may have moved since the conflict."""
    uid = entry.header("SOPInstanceUID")
    return instance_path(connection, uid) if uid else None


def _looked_at(config: Config, entry: Entry, existing: str, workers: _Comparers) -> dict[str, Any]:
    if not entry.files:
        return {}
    mine = f"{config.archive}/{entry.files[-1]}"
    if entry.reason != Reason.CONFLICT:
        found = workers.side(mine)
        return {"file": dataclasses.asdict(found) if found else None}
    facts: dict[str, Any] = {"existing": existing or None}
    theirs = config.archive / existing
    if not existing or not theirs.is_file():
        found = workers.side(mine)
        return facts | {"existing_is_there": False, "file": dataclasses.asdict(found) if found else None}
    compared = workers.compare(str(theirs), mine)
    return facts | {
        "existing_is_there": True,
        "comparison": dataclasses.asdict(compared) if compared else None,
    }
