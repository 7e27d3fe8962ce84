"""The chain of the ledger: each batch carries a SHA-256 over its rows and over the batch before it.

So a row that is changed, removed or slipped in later, without making all later batches anew, is found by
``sorter audit``. Who can write to the index can also make the whole chain anew: compare the newest digest
with one that was kept elsewhere (``sorter audit --expect``).

What a digest is made of is documented in ``docs/index.md``; it never changes for a recorded batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from sorter.index.schema import batches, folders, moves, sources
from sorter.model import BatchKind

ORIGIN = "0" * 64  # what the first batch follows

_SOURCE = (
    folders.c.path, sources.c.name, sources.c.device, sources.c.inode, sources.c.size, sources.c.mtime_ns,
    sources.c.ctime_ns, sources.c.sha256, sources.c.outcome, sources.c.reason, sources.c.detail,
    sources.c.path, sources.c.archived_sha256, sources.c.replaces, sources.c.recorded_at,
)  # fmt: skip
_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes an encoder for each call
_MOVE = (moves.c.plan, moves.c.sop_instance_uid, moves.c.sha256, moves.c.old_path, moves.c.new_path)


@dataclass(frozen=True, slots=True)
class Broken:
    """A batch whose digest does not follow from its rows; ``detail`` says how, without patient data."""

    batch: int
    detail: str


def head(connection: Connection) -> str:
    """Digest of the newest batch."""
    query = select(batches.c.sha256).order_by(batches.c.id.desc()).limit(1)
    return connection.scalar(query) or ORIGIN


def open_batch(connection: Connection, kind: BatchKind, recorded_at: str, detail: str = "") -> int:
    """Begin a batch in this transaction; rows may name it. :func:`seal` must follow."""
    # Not left to the database: its numbers may have gaps, and a gap here means that a batch was removed.
    number = (connection.scalar(select(func.max(batches.c.id))) or 0) + 1
    row = {
        "id": number,
        "kind": str(kind),
        "sources": 0,
        "detail": detail or None,
        "recorded_at": recorded_at,
        "previous_sha256": head(connection),
        "sha256": "",
    }
    connection.execute(insert(batches), row)
    return number


def seal(connection: Connection, number: int) -> str:
    """Count and digest what the batch holds; returns the digest, now the ledger's newest."""
    row = connection.execute(select(batches).where(batches.c.id == number)).one()
    count, sha256 = _digest(row, _source_rows(connection, number), _moved(connection, number))
    change = batches.update().where(batches.c.id == number)
    connection.execute(change.values(sources=count, sha256=sha256))
    return sha256


def broken(connection: Connection, *, after: int = 0) -> Iterator[Broken]:
    """Batches that are not what they were when they were sealed.

    Parameters
    ----------
    after
        Only batches with a greater number; the one with this number is taken as true.
    """
    first = select(batches.c.sha256).where(batches.c.id == after)
    previous = connection.scalar(first) or ORIGIN
    expected = after + 1
    for row in connection.execute(select(batches).where(batches.c.id > after).order_by(batches.c.id)).all():
        if row.id != expected:
            yield Broken(row.id, f"batches {expected} to {row.id - 1} are gone")
        elif row.previous_sha256 != previous:
            yield Broken(row.id, "does not follow the batch before it")
        count, sha256 = _digest(row, _source_rows(connection, row.id), _moved(connection, row.id))
        if count != row.sources:
            yield Broken(row.id, f"has {count} rows, and had {row.sources}")
        elif sha256 != row.sha256:
            yield Broken(row.id, "its rows are not what they were")
        previous, expected = row.sha256, row.id + 1


def _source_rows(connection: Connection, number: int) -> Iterator[Row[Any]]:
    query = select(*_SOURCE).join(folders, folders.c.id == sources.c.folder_fk)
    query = query.where(sources.c.batch_fk == number).order_by(sources.c.id)
    return iter(connection.execute(query, execution_options={"yield_per": 1000}))


def _moved(connection: Connection, number: int) -> Iterator[Row[Any]]:
    query = select(*_MOVE).where(moves.c.batch_fk == number).order_by(moves.c.id)
    return iter(connection.execute(query, execution_options={"yield_per": 1000}))


def _digest(batch: Row[Any], rows: Iterable[Row[Any]], moved: Iterable[Row[Any]]) -> tuple[int, str]:
    digest = hashlib.sha256()
    head_line = (batch.previous_sha256, batch.id, batch.kind, batch.detail, batch.recorded_at)
    digest.update(_line("batch", head_line))
    count = 0
    for row in rows:
        digest.update(_line("source", tuple(row)))
        count += 1
    for row in moved:
        digest.update(_line("move", tuple(row)))
    return count, digest.hexdigest()


def _line(kind: str, values: Sequence[Any]) -> bytes:
    return _encode([kind, *values]).encode() + b"\n"
