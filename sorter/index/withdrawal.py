"""What taking a drop back out of the archive asks of the index, and changes in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Select, delete, exists, false, func, select, update

from sorter.index.ledger import append
from sorter.index.moves import LEVELS, PAGE, Move
from sorter.index.schema import (
    CURRENT,
    batches,
    column_name,
    folders,
    instances,
    patients,
    series,
    sources,
    studies,
)
from sorter.index.statements import in_chunks
from sorter.model import BatchKind, Kind, Reason


def recent(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """The newest batches that brought files in: what they hold, and one of their folders."""
    stored = func.sum((sources.c.outcome == str(Kind.STORED)).cast(Integer))
    query = (
        select(
            batches.c.id, batches.c.recorded_at, batches.c.kind, batches.c.sources,
            stored.label("stored"), func.count(func.distinct(sources.c.folder_fk)).label("folders"),
            func.min(folders.c.path).label("folder"),
        )
        .select_from(batches.join(sources, sources.c.batch_fk == batches.c.id).join(folders))
        .where(batches.c.kind.in_((str(BatchKind.INGEST), str(BatchKind.RETRY), str(BatchKind.ADOPT))))
        .group_by(batches.c.id, batches.c.recorded_at, batches.c.kind, batches.c.sources)
        .order_by(batches.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    return [dict(row._mapping) for row in connection.execute(query)]


def withdrawable(
    connection: Connection, selected: ColumnElement[bool], among: Sequence[str] = ()
) -> tuple[list[Move], int]:
    """Instances that only the selected sources vouch for, and how many others stay.

    Parameters
    ----------
    selected
        A condition on ``sources`` that says which of them are taken back.
    among
        Only these SOP Instance UIDs are looked at, at most a few hundred; by default all.
    """
    mine = select(sources.c.instance_fk).where(CURRENT, selected, sources.c.outcome == str(Kind.STORED))
    about = sources.c.instance_fk == instances.c.id
    # A condition may be neither true nor false where a column is NULL: then the source is another one.
    others = exists().where(CURRENT, about, ~func.coalesce(selected, false()))
    query = select(
        instances.c.sop_instance_uid, instances.c.sha256, instances.c.path, others.label("stays")
    ).order_by(instances.c.id)
    if among:
        query = query.where(instances.c.sop_instance_uid.in_(among), mine.where(about).exists())
    else:
        query = query.where(instances.c.id.in_(mine))
    rows = connection.execute(query).all()
    return [Move(row[0], row[1], row[2], "") for row in rows if not row.stays], sum(row.stays for row in rows)


def rows_about(connection: Connection, uids: Sequence[str]) -> list[dict[str, Any]]:
    """Everything that the index says of instances and their sources, to be kept beside the files."""
    found = {}
    query: Select[Any] = select(
        *(
            table.c[column_name(keyword)].label(column_name(keyword))
            for table, names in LEVELS
            for keyword in names
        ),
        instances.c.id.label("number"),
        *(instances.c[name] for name in ("path", "sha256", "source_sha256", "size", "stored_at", "pixels")),
        *(
            instances.c[name]
            for name in ("transfer_syntax_uid", "source_transfer_syntax_uid", "pixel_sha256")
        ),
    ).select_from(instances.join(series).join(studies).join(patients))
    for row in in_chunks(connection, query, instances.c.sop_instance_uid, uids):
        values = dict(row._mapping)
        found[values.pop("number")] = values | {"sources": []}
    about: Select[Any] = select(
        sources.c.instance_fk, (folders.c.path + "/" + sources.c.name).label("source"), sources.c.size,
        sources.c.sha256, sources.c.outcome, sources.c.recorded_at, sources.c.batch_fk.label("batch"),
    ).join(folders)  # fmt: skip
    for row in in_chunks(connection, about, sources.c.instance_fk, found):
        values = dict(row._mapping)
        found[values.pop("instance_fk")]["sources"].append(values)
    return list(found.values())


def withdraw(connection: Connection, moved: Sequence[Move], batch: int, now: str) -> None:
    """The instances leave the index; the ledger says of their sources that they were withdrawn."""
    homes = {one.sop_instance_uid: one.new_path for one in moved}
    query = select(instances.c.id, instances.c.sop_instance_uid, instances.c.series_fk)
    found = list(in_chunks(connection, query, instances.c.sop_instance_uid, homes))
    paths = {row.id: homes[row.sop_instance_uid] for row in found}
    current: Select[Any] = select(sources).where(CURRENT)
    words = list(in_chunks(connection, current, sources.c.instance_fk, paths))
    append(connection, [_withdrawn(dict(row._mapping), paths, batch, now) for row in words])
    around = _around(connection, {row.folder_fk for row in words})
    append(connection, [_withdrawn(row, paths, batch, now) for row in around])
    for start in range(0, len(found), PAGE):
        ids = [row.id for row in found[start : start + PAGE]]
        connection.execute(update(sources).where(sources.c.instance_fk.in_(ids)).values(instance_fk=None))
        connection.execute(delete(instances).where(instances.c.id.in_(ids)))
    _delete_empty(connection, {row.series_fk for row in found})


def _around(connection: Connection, touched: set[int]) -> list[dict[str, Any]]:
    """The files that were expanded and had members in these folders: not all of them is archived any more."""
    names = select(folders.c.id, folders.c.path)
    parents: set[tuple[str, str]] = set()
    for row in in_chunks(connection, names, folders.c.id, touched):
        folder = row.path
        while folder:
            folder, _, name = folder.rpartition("/")
            parents.add((folder, name))
    query: Select[Any] = select(sources, folders.c.path.label("folder")).select_from(sources.join(folders))
    query = query.where(CURRENT, sources.c.outcome == str(Kind.EXPANDED))
    found = in_chunks(connection, query, sources.c.name, {name for _, name in parents})
    rows = [dict(row._mapping) for row in found if (row.folder, row.name) in parents]
    return [{key: value for key, value in row.items() if key != "folder"} for row in rows]


def _withdrawn(row: dict[str, Any], paths: Mapping[int, str], batch: int, now: str) -> dict[str, Any]:
    new = {
        "outcome": str(Kind.IGNORED),
        "reason": str(Reason.WITHDRAWN),
        "detail": f"was {row['outcome']}; taken back out of the archive",
        "path": paths.get(row["instance_fk"]),
        "instance_fk": None,
        "archived_sha256": None,
        "batch_fk": batch,
        "replaces": row["id"],
        "recorded_at": now,
    }
    return {key: value for key, value in (row | new).items() if key not in ("id", "superseded")}


def _delete_empty(connection: Connection, touched: set[int]) -> None:
    """Series, studies and patients that hold nothing any more."""
    for table, child, column, parent in (
        (series, instances, instances.c.series_fk, "study_fk"),
        (studies, series, series.c.study_fk, "patient_fk"),
        (patients, studies, studies.c.patient_fk, "id"),
    ):
        empty = ~select(child.c.id).where(column == table.c.id).exists()
        query: Select[Any] = select(table.c.id, table.c[parent]).where(empty)
        gone = list(in_chunks(connection, query, table.c.id, touched))
        for row in gone:
            connection.execute(delete(table).where(table.c.id == row.id))
        touched = {row._mapping[parent] for row in gone}
