"""The journal of moves within the archive, and what a move changes in the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from sorter.index.schema import (
    batches,
    column_name,
    instances,
    moves,
    patients,
    series,
    studies,
)
from sorter.index.statements import in_chunks
from sorter.keywords import INSTANCE_KEYWORDS, PATIENT_KEYWORDS, SERIES_KEYWORDS, STUDY_KEYWORDS
from sorter.model import BatchKind, Header

FORTH, BACK = "relayout-", "relayout-undo-"  # what the names of plans begin with
PLANNED, MOVED, DONE = "planned", "moved", "done"
PAGE = 512
LEVELS = (
    (patients, PATIENT_KEYWORDS),
    (studies, STUDY_KEYWORDS),
    (series, SERIES_KEYWORDS),
    (instances, INSTANCE_KEYWORDS),
)
_KEYWORDS = {f"k_{keyword}": keyword for _, keywords in LEVELS for keyword in keywords}


class Move(NamedTuple):
    """One archived file that goes from one path to another, both relative to the archive root."""

    sop_instance_uid: str
    sha256: str
    old_path: str
    new_path: str


class Laid(NamedTuple):
    """An instance, where it lies, and all that the index knows to lay it elsewhere."""

    move: Move
    series: int
    patient: int
    patient_folder: str
    study_date: str
    header: Header


# -- the journal ------------------------------------------------------------------------------------------


def begin(connection: Connection, plan: str, wanted: Sequence[Move]) -> None:
    """Write down what is about to be moved."""
    connection.execute(insert(moves), [one._asdict() | {"plan": plan, "state": PLANNED} for one in wanted])


def settle(connection: Connection, plan: str, uids: Sequence[str], batch: int) -> None:
    """Those of the planned that have their new names belong to a batch now; the others are forgotten."""
    planned = (moves.c.plan == plan) & (moves.c.state == PLANNED)
    change = update(moves).where(planned, moves.c.sop_instance_uid == bindparam("uid"))
    if uids:
        connection.execute(change.values(state=MOVED, batch_fk=batch), [{"uid": uid} for uid in uids])
    connection.execute(delete(moves).where(planned))


def end(connection: Connection) -> None:
    """The old names of all that moved are gone."""
    connection.execute(update(moves).where(moves.c.state == MOVED).values(state=DONE))


def unsettled(connection: Connection, state: str) -> list[Move]:
    """Moves that a crash left in this state."""
    query = select(*(moves.c[name] for name in Move._fields)).where(moves.c.state == state)
    return [Move(*row) for row in connection.execute(query.order_by(moves.c.id))]


def named(connection: Connection, keys: Collection[int]) -> set[str]:
    """Paths of the instances that have one of these path keys."""
    query = select(instances.c.path)
    return {row.path for row in in_chunks(connection, query, instances.c.path_key, keys)}


def forget(connection: Connection) -> None:
    """Nothing is planned any more."""
    connection.execute(delete(moves).where(moves.c.state == PLANNED))


# -- another layout ---------------------------------------------------------------------------------------


def laid(connection: Connection) -> Iterator[list[Laid]]:
    """All instances in the order in which they came, in pages."""
    keywords = [
        table.c[column_name(keyword)].label(f"k_{keyword}") for table, names in LEVELS for keyword in names
    ]
    query = select(
        instances.c.id, instances.c.sha256, instances.c.path, instances.c.series_fk,
        patients.c.id.label("patient"), patients.c.folder, studies.c.date, *keywords,
    ).select_from(instances.join(series).join(studies).join(patients))  # fmt: skip
    last = 0
    while page := connection.execute(
        query.where(instances.c.id > last).order_by(instances.c.id).limit(PAGE)
    ).all():
        yield [_laid(row._mapping) for row in page]
        last = page[-1].id


def _laid(row: Any) -> Laid:
    values = {
        keyword: row[label]
        for label, keyword in _KEYWORDS.items()
        if row[label] is not None and row[label] != ""
    }
    move = Move(values["SOPInstanceUID"], row["sha256"], row["path"], "")
    return Laid(move, row["series_fk"], row["patient"], row["folder"], row["date"], Header(values))


def relocate(
    connection: Connection,
    moved: Sequence[Move],
    path_keys: Mapping[str, int],
    series_folders: Mapping[int, str],
    patient_folders: Mapping[int, tuple[str, int | None]],
) -> None:
    """The rows name the new paths; later instances follow their series and patients there."""
    change = update(instances).where(instances.c.sop_instance_uid == bindparam("uid"))
    connection.execute(
        change.values(path=bindparam("new"), path_key=bindparam("key")),
        [
            {"uid": one.sop_instance_uid, "new": one.new_path, "key": path_keys[one.sop_instance_uid]}
            for one in moved
        ],
    )
    for number, folder in series_folders.items():
        connection.execute(update(series).where(series.c.id == number).values(folder=folder))
    keys = [key for _, key in patient_folders.values() if key is not None]
    # Two patients may exchange their folders: who has a wanted key gives it up, and gets its own later.
    for start in range(0, len(keys), PAGE):
        owners = patients.c.folder_key.in_(keys[start : start + PAGE])
        connection.execute(update(patients).where(owners).values(folder_key=None))
    for number, (folder, key) in patient_folders.items():
        change = update(patients).where(patients.c.id == number)
        connection.execute(change.values(folder=folder, folder_key=key))


def last_plan(connection: Connection) -> str:
    """The newest relayout that moved something, other than back; empty where there was none."""
    query = select(moves.c.plan).join(batches, batches.c.id == moves.c.batch_fk)
    query = query.where(batches.c.kind == str(BatchKind.RELAYOUT), ~moves.c.plan.startswith(BACK))
    return connection.scalar(query.order_by(moves.c.id.desc()).limit(1)) or ""


def details(connection: Connection, plan: str) -> list[str]:
    """What the batches of a plan say of themselves, oldest first."""
    query = select(batches.c.detail).where(
        batches.c.id.in_(select(moves.c.batch_fk).where(moves.c.plan == plan))
    )
    return [text or "{}" for text in connection.scalars(query.order_by(batches.c.id))]


def back(connection: Connection, plan: str) -> Iterator[tuple[Move, int, int, str]]:
    """(move back, series, patient, its folder) for each instance that still lies where a plan put it."""
    own = moves.alias()
    first = select(func.min(own.c.id)).where(own.c.plan == plan).group_by(own.c.sop_instance_uid)
    final = select(func.max(own.c.id)).where(own.c.plan == plan).group_by(own.c.sop_instance_uid)
    ends = moves.alias("ends")
    query = (
        select(moves.c.sop_instance_uid, moves.c.sha256, ends.c.new_path, moves.c.old_path)
        .add_columns(instances.c.series_fk, studies.c.patient_fk, patients.c.folder)
        .select_from(
            moves.join(ends, ends.c.sop_instance_uid == moves.c.sop_instance_uid)
            .join(instances, instances.c.sop_instance_uid == moves.c.sop_instance_uid)
            .join(series, series.c.id == instances.c.series_fk)
            .join(studies, studies.c.id == series.c.study_fk)
            .join(patients, patients.c.id == studies.c.patient_fk)
        )
        .where(moves.c.id.in_(first), ends.c.id.in_(final), instances.c.path == ends.c.new_path)
    )
    for row in connection.execute(query, execution_options={"yield_per": PAGE}):
        yield Move(*row[:4]), row[4], row[5], row[6]
