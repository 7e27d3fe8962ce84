"""Is every source accounted for? What ``sorter audit`` asks the index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, select, true

from sorter.index.schema import CURRENT, batches, folders, instances, moves, sources
from sorter.model import SAFE, BatchKind, Kind, Reason

_REFUSED = (str(Kind.REJECTED), str(Kind.CONFLICT))


def batch_before(connection: Connection, since: str) -> int:
    """Number of the last batch recorded before a time; 0 where there is none."""
    query = select(func.max(batches.c.id)).where(batches.c.recorded_at < since)
    return connection.scalar(query) or 0


def outcomes(connection: Connection, after: int) -> list[tuple[str, str | None, int]]:
    """(outcome, reason, count) of the last words that the batches after this one recorded."""
    query = select(sources.c.outcome, sources.c.reason, func.count())
    query = query.where(CURRENT, _later(after)).group_by(sources.c.outcome, sources.c.reason)
    query = query.order_by(sources.c.outcome, sources.c.reason)
    return [(outcome, reason, count) for outcome, reason, count in connection.execute(query)]


def adopted(connection: Connection, after: int) -> int:
    """How many of the stored were found in the tree, with no source known."""
    query = select(func.count()).select_from(sources.join(batches, batches.c.id == sources.c.batch_fk))
    by_hand = (sources.c.detail == "adopted") & batches.c.kind.in_(
        (str(BatchKind.ADOPT), str(BatchKind.MIGRATED))
    )
    return connection.scalar(query.where(CURRENT, _later(after), by_hand)) or 0


def batch_count(connection: Connection) -> int:
    """How many batches the ledger has."""
    return connection.scalar(select(func.count()).select_from(batches)) or 0


def has_batch(connection: Connection, sha256: str) -> bool:
    """Whether a batch carries this digest."""
    return connection.scalar(select(batches.c.id).where(batches.c.sha256 == sha256).limit(1)) is not None


def oddities(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """(finding, about what, detail) for each row of the ledger, or of the instances, that must not be."""
    for kind, query, detail in _checks():
        for (what,) in connection.execute(query, execution_options={"yield_per": 500}):
            yield kind, what if isinstance(what, str) else f"ledger row {what}", detail


def _checks() -> list[tuple[str, Select[Any], str]]:
    later = sources.alias("later")
    stored = and_(CURRENT, sources.c.outcome == str(Kind.STORED))
    replaced = exists().where(later.c.replaces == sources.c.id)
    row = select(sources.c.id)
    with_instance = row.select_from(sources.outerjoin(instances, instances.c.id == sources.c.instance_fk))
    sourceless = ~exists().where(stored, sources.c.instance_fk == instances.c.id)
    return [
        (
            "unknown_outcome",
            row.where(sources.c.outcome.not_in([str(kind) for kind in Kind])),
            "its outcome is none of sorter's",
        ),
        ("no_batch", row.where(sources.c.batch_fk.is_(None)), "belongs to no batch: it was slipped in"),
        (
            "superseded",
            row.where(sources.c.superseded != replaced),
            "is set aside and nothing replaces it, or is replaced and not set aside",
        ),
        (
            "no_instance",
            with_instance.where(CURRENT, sources.c.outcome.in_(map(str, SAFE)), instances.c.id.is_(None)),
            "says archived, and the index has no such instance",
        ),
        (
            "other_digest",
            with_instance.where(stored, instances.c.sha256 != sources.c.archived_sha256),
            "was archived with another digest than its instance has now",
        ),
        (
            "no_source",
            select(instances.c.path).where(sourceless),
            "is in the index, and no row of the ledger says where it came from",
        ),
    ]


def quarantined(connection: Connection) -> Iterator[str]:
    """Paths in quarantine that the last words about sources name."""
    query = select(sources.c.path).distinct()
    query = query.where(CURRENT, sources.c.outcome.in_(_REFUSED), sources.c.path.is_not(None))
    yield from connection.scalars(query, execution_options={"yield_per": 500})


def unread(connection: Connection) -> Iterator[tuple[str, str]]:
    """(path, when) of sources that could not be read, and wait to be looked at again."""
    query = select(folders.c.path + "/" + sources.c.name, sources.c.recorded_at)
    query = query.select_from(sources.join(folders, folders.c.id == sources.c.folder_fk))
    query = query.where(CURRENT, sources.c.reason == str(Reason.UNREADABLE))
    yield from ((path, when) for path, when in connection.execute(query))


def unfinished_moves(connection: Connection) -> int:
    """Files whose relayout or withdrawal was begun and not ended."""
    query = select(func.count()).select_from(moves).where(moves.c.state.in_(("planned", "moved")))
    return connection.scalar(query) or 0


def problems(connection: Connection) -> list[tuple[str, str]]:
    """(path, problem) of archived files that verification found missing or damaged."""
    query = select(instances.c.path, instances.c.problem).where(instances.c.problem.is_not(None))
    return [(path, problem) for path, problem in connection.execute(query.order_by(instances.c.path))]


def _later(after: int) -> ColumnElement[bool]:
    return sources.c.batch_fk > after if after else true()
