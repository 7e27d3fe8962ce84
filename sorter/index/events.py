"""What events and receipts ask the index: what is new, and what it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, or_, select

from sorter.index.names import original, storable
from sorter.index.schema import batches, folders, instances, series, sources, studies
from sorter.model import Kind


@dataclass(frozen=True, slots=True)
class News:
    """Rows that are new: how many, the first and the last ``id``."""

    count: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """What an event says of a series; ``folder`` is relative to the archive root."""

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    folder: str


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """What an event needs of an instance; ``path`` is relative to the archive root."""

    path: str
    sop_class_uid: str
    instance_number: int | None
    acquisition_number: int | None
    number_of_frames: int | None
    stored_at: str


@dataclass(frozen=True, slots=True)
class Span:
    """Some rows of the ledger: of the files in a folder, and perhaps in its subfolders, by ``id``.

    Parameters
    ----------
    below
        Also of those in its subfolders.
    after, last
        Only rows with an ``id`` above the one and up to the other.
    """

    folder: str
    below: bool
    after: int
    last: int


def origin(connection: Connection) -> str:
    """What tells this index from one built anew: the digest of its first batch; empty where none is."""
    return connection.scalar(select(batches.c.sha256).order_by(batches.c.id).limit(1)) or ""


def newest_source(connection: Connection) -> int:
    """The ``id`` of the ledger's last row; 0 where there is none."""
    return connection.scalar(select(func.max(sources.c.id))) or 0


def arrived(connection: Connection, after: int) -> dict[int, News]:
    """The series in which instances were stored by ledger rows after this one, by the series' ``id``.

    Asked of the ledger, which only grows, and not of the instances, whose numbers are used again.
    """
    own = sources.c
    query = select(instances.c.series_fk, func.count(), func.min(own.id), func.max(own.id))
    query = query.select_from(sources.join(instances, instances.c.id == own.instance_fk))
    query = query.where(own.id > after, own.outcome == str(Kind.STORED)).group_by(instances.c.series_fk)
    return {row[0]: News(row[1], row[2], row[3]) for row in connection.execute(query)}


def stored_since(connection: Connection, series_id: int, after: int) -> News:
    """Ledger rows after this one that stored instances of a series."""
    own = sources.c
    query = select(func.count(), func.min(own.id), func.max(own.id))
    query = query.select_from(instances.join(sources, instances.c.id == own.instance_fk))
    query = query.where(instances.c.series_fk == series_id, own.id > after, own.outcome == str(Kind.STORED))
    row = connection.execute(query).one()
    return News(row[0], row[1] or after, row[2] or after)


def series_row(connection: Connection, number: int) -> SeriesRow | None:
    """A series by its ``id``; ``None`` where it is gone."""
    query = select(
        studies.c.study_instance_uid, series.c.series_instance_uid, series.c.modality, series.c.folder
    )
    row = connection.execute(query.select_from(series.join(studies)).where(series.c.id == number)).first()
    return SeriesRow(row[0], row[1], row[2] or "", row[3]) if row else None


def instance_rows(connection: Connection, series_id: int) -> list[InstanceRow]:
    """All instances of a series, in the order in which they were recorded."""
    own = instances.c
    query = select(
        own.path,
        own.sop_class_uid,
        own.instance_number,
        own.acquisition_number,
        own.number_of_frames,
        own.stored_at,
    )
    query = query.where(own.series_fk == series_id).order_by(own.id)
    return [InstanceRow(*row) for row in connection.execute(query)]


def dropped(connection: Connection, after: int) -> dict[str, News]:
    """The folders with ledger rows after this one, by their absolute path."""
    own = sources.c
    query = select(folders.c.path, func.count(), func.min(own.id), func.max(own.id))
    query = query.select_from(sources.join(folders)).where(own.id > after).group_by(folders.c.path)
    return {original(row[0]): News(row[1], row[2], row[3]) for row in connection.execute(query)}


def receipt_rows(connection: Connection, span: Span) -> Iterator[Row[Any]]:
    """Ledger rows, streamed by ``id``.

    Yields
    ------
    Row
        ``folder`` and ``name`` as the database keeps them (see :func:`sorter.index.names.original`),
        ``size``, ``sha256``, ``outcome``, ``reason``, ``detail``, ``path``, ``recorded_at``.
    """
    own = sources.c
    query = _within(
        select(
            folders.c.path.label("folder"),
            own.name,
            own.size,
            own.sha256,
            own.outcome,
            own.reason,
            own.detail,
            own.path,
            own.recorded_at,
        ),
        span,
    )
    return iter(connection.execute(query.order_by(own.id), execution_options={"yield_per": 1000}))


def receipt_totals(connection: Connection, span: Span) -> tuple[dict[str, int], str, str]:
    """(count by outcome, time of the first, time of the last) of what :func:`receipt_rows` yields."""
    own = sources.c
    query = select(own.outcome, func.count(), func.min(own.recorded_at), func.max(own.recorded_at))
    rows = connection.execute(_within(query, span).group_by(own.outcome).order_by(own.outcome)).all()
    first = min((row[2] for row in rows), default="")
    return {row[0]: row[1] for row in rows}, first, max((row[3] for row in rows), default="")


def _within(query: Select[Any], span: Span) -> Select[Any]:
    own = storable(span.folder)
    place = folders.c.path == own
    if span.below:
        # Not LIKE: in SQLite it does not tell upper from lower case.
        place = or_(place, func.substr(folders.c.path, 1, len(own) + 1) == f"{own}/")
    query = query.select_from(sources.join(folders))
    return query.where(place, sources.c.id > span.after, sources.c.id <= span.last)
