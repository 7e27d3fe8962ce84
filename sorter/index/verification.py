"""What verification asks and tells the index: instances in slices, what was found of them, their sources."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, func, select

from sorter.index.names import original
from sorter.index.schema import CURRENT, folders, instances, series, sources
from sorter.index.statements import in_chunks
from sorter.model import Kind, Problem

RESTORED = "restored"  # the detail of a duplicate whose archived file was missing and was put back


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the index says of one archived file; ``folder`` is that of its series."""

    id: int
    sop_instance_uid: str
    path: str
    path_key: int
    folder: str
    size: int
    sha256: str
    source_sha256: str
    pixels: str
    stored_at: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Word:
    """What looking at an archived file gave; not ``read``: it is there, and its bytes were not read."""

    id: int
    path: str
    sha256: str
    problem: Problem | None
    read: bool


def _recorded() -> Select[Any]:
    own = instances.c
    return select(
        own.id,
        own.sop_instance_uid,
        own.path,
        own.path_key,
        series.c.folder,
        own.size,
        own.sha256,
        own.source_sha256,
        own.pixels,
        own.stored_at,
        own.problem,
    ).select_from(instances.join(series))


def _wanted(since: str, unread_since: str) -> list[ColumnElement[bool]]:
    found = []
    if since:
        found.append(instances.c.stored_at >= since)
    if unread_since:
        found.append(instances.c.verified_at.is_(None) | (instances.c.verified_at < unread_since))
    return found


def _rows(found: Sequence[Row[Any]]) -> list[Recorded]:
    return [Recorded(**row._mapping) for row in found]


def slice_of(
    connection: Connection, after: int, upto: int, limit: int, *, since: str = "", unread_since: str = ""
) -> list[Recorded]:
    """The next instances in the order of their rows.

    Parameters
    ----------
    since, unread_since
        ISO 8601 in UTC: only those stored since then, or not read since then.
    """
    query = _recorded().where(instances.c.id > after, instances.c.id <= upto, *_wanted(since, unread_since))
    return _rows(connection.execute(query.order_by(instances.c.id).limit(limit)).all())


def with_problem(connection: Connection, upto: int) -> list[int]:
    """Ids, up to one, of the instances that were found missing or damaged."""
    query = select(instances.c.id).where(instances.c.problem.is_not(None), instances.c.id <= upto)
    return list(connection.scalars(query.order_by(instances.c.id)))


def row(connection: Connection, number: int) -> Recorded | None:
    """One instance."""
    found = connection.execute(_recorded().where(instances.c.id == number)).one_or_none()
    return None if found is None else Recorded(**found._mapping)


def extent(
    connection: Connection, after: int = 0, *, since: str = "", unread_since: str = ""
) -> tuple[int, int, int]:
    """(the last id, how many instances follow ``after``, their bytes)."""
    query = select(func.max(instances.c.id), func.count(), func.sum(instances.c.size))
    query = query.where(instances.c.id > after, *_wanted(since, unread_since))
    last, count, size = connection.execute(query).one()
    return last or after, count, int(size or 0)


def due(connection: Connection, *, stored_before: str, read_before: str, limit: int) -> list[Recorded]:
    """Instances that are to be read again: first those that never were, then the longest unread."""
    never = _recorded().where(instances.c.verified_at.is_(None), instances.c.stored_at < stored_before)
    found = _rows(connection.execute(never.order_by(instances.c.id).limit(limit)).all())
    if len(found) < limit:
        again = _recorded().where(instances.c.verified_at < read_before)
        again = again.order_by(instances.c.verified_at, instances.c.id).limit(limit - len(found))
        found += _rows(connection.execute(again).all())
    return found


def problems(connection: Connection) -> int:
    """How many instances are missing or damaged."""
    query = select(func.count()).select_from(instances).where(instances.c.problem.is_not(None))
    return connection.scalar(query) or 0


def longest_unread(connection: Connection) -> str | None:
    """When the instance that was not read for longest was read, or stored."""
    read = connection.scalar(select(func.min(instances.c.verified_at)))
    # The first row, not the earliest time: the index on verified_at has it at hand.
    never = select(instances.c.stored_at).where(instances.c.verified_at.is_(None))
    stored = connection.scalar(never.order_by(instances.c.id).limit(1))
    return min((one for one in (read, stored) if one is not None), default=None)


def tell(connection: Connection, words: Sequence[Word], now: str) -> None:
    """Record what was found; nothing about an instance that has another path or digest by now.

    A file that was not read is there, and that is all: of problems, only that it was missing is settled.
    """
    same = (
        instances.c.id == bindparam("number"),
        instances.c.path == bindparam("place"),
        instances.c.sha256 == bindparam("digest"),
    )
    change = instances.update().where(*same)
    rows: list[dict[str, Any]] = [
        {"number": one.id, "place": one.path, "digest": one.sha256, "found": one.problem and str(one.problem)}
        for one in words
        if one.read
    ]
    if rows:
        connection.execute(change.values(verified_at=now, problem=bindparam("found")), rows)
    there: list[dict[str, Any]] = [
        {"number": one.id, "place": one.path, "digest": one.sha256} for one in words if not one.read
    ]
    if there:
        change = change.where(instances.c.problem == str(Problem.MISSING))
        connection.execute(change.values(problem=None), there)


def is_fine_again(connection: Connection, sop_instance_uids: Collection[str]) -> None:
    """These were missing and were put back."""
    change = instances.update().where(instances.c.sop_instance_uid == bindparam("uid"))
    change = change.where(instances.c.problem == str(Problem.MISSING))
    connection.execute(change.values(problem=None), [{"uid": uid} for uid in sop_instance_uids])


def date(connection: Connection, stored_at: Mapping[str, str]) -> None:
    """Set when instances came, by SOP Instance UID: for a new index, which learns it from the files."""
    change = instances.update().where(instances.c.sop_instance_uid == bindparam("uid"))
    rows = [{"uid": uid, "came": came} for uid, came in stored_at.items()]
    connection.execute(change.values(stored_at=bindparam("came")), rows)


def paths_with_keys(connection: Connection, keys: Collection[int]) -> set[str]:
    """Paths of the instances that have one of these path keys."""
    return (
        {row.path for row in in_chunks(connection, select(instances.c.path), instances.c.path_key, keys)}
        if keys
        else set()
    )


def shared_paths(connection: Connection) -> list[str]:
    """Paths that more than one row names."""
    again = select(instances.c.path_key).group_by(instances.c.path_key).having(func.count() > 1)
    query = select(instances.c.path).where(instances.c.path_key.in_(again))
    return list(connection.scalars(query.group_by(instances.c.path).having(func.count() > 1)))


def paths_of(connection: Connection, digests: Collection[str]) -> dict[str, str]:
    """By SHA-256 of the archived file: a path that it has. Looks at every row."""
    query = select(instances.c.sha256, instances.c.path)
    return {row.sha256: row.path for row in in_chunks(connection, query, instances.c.sha256, digests)}


def sources_of(connection: Connection, number: int) -> list[str]:
    """Absolute paths that an instance came from, the likeliest to hold its very bytes first."""
    same = (str(Kind.STORED), str(Kind.DUPLICATE), str(Kind.EQUIVALENT))
    query = select(folders.c.path, sources.c.name, sources.c.outcome)
    query = query.select_from(sources.join(folders, folders.c.id == sources.c.folder_fk))
    query = query.where(CURRENT, sources.c.instance_fk == number, sources.c.outcome.in_(same))
    rows = sorted(connection.execute(query.limit(100)).all(), key=lambda row: same.index(row.outcome))
    return [f"{original(row.path)}/{original(row.name)}" for row in rows]


def is_quarantined(connection: Connection, path: str) -> bool:
    """Whether the last word about some source names this path in quarantine."""
    query = select(sources.c.id).where(CURRENT, sources.c.path == path, sources.c.instance_fk.is_(None))
    return connection.scalar(query.limit(1)) is not None


def quick_check(connection: Connection) -> list[str]:
    """What SQLite finds wrong with its own file, and rows whose parent row is gone; empty: nothing.

    Another database looks after itself.
    """
    if connection.dialect.name != "sqlite":
        return []
    found = [row[0] for row in connection.exec_driver_sql("PRAGMA quick_check(20)")]
    orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(20)
    told = [f"a row of {row[0]} names a row of {row[2]} that is not there" for row in orphans]
    return [line for line in found if line != "ok"] + told
