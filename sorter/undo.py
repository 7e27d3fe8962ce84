"""Taking a mistaken drop back out of the archive: its files to a folder, its rows out of the index.

Nothing is deleted. The files go to ``<archive>/.sorter/withdrawn/<when>/``, under the paths they had, with
``rows-*.json``, which say all that the index knew of them. The ledger keeps every word, and says
``withdrawn`` from now on, so that sources that still lie in a drop folder do not come in again. Moving is
done by :mod:`sorter.journal`; it may run beside a daemon.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_

from sorter.auditlog import AuditTrail
from sorter.config import Config
from sorter.errors import ConfigError
from sorter.index import Index, names, withdrawal
from sorter.index.moves import Move
from sorter.index.schema import folders, sources
from sorter.intake import Intake, check_index_is_there
from sorter.journal import carry
from sorter.model import BatchKind
from sorter.organizer.lease import META
from sorter.organizer.mover import Mover

BATCH = 512


@dataclass(frozen=True, slots=True)
class Selection:
    """Which sources are taken back: of these batches, below this folder, recorded since then."""

    batches: tuple[int, ...] = ()
    under: str = ""
    since: str = ""

    def condition(self) -> ColumnElement[bool]:
        """The same, on ``sources``."""
        found: list[ColumnElement[bool]] = []
        if self.batches:
            found.append(sources.c.batch_fk.in_(self.batches))
        if self.under:
            path = names.storable(self.under)
            below = folders.c.path.startswith(path.rstrip("/") + "/", autoescape=True)
            found.append(
                sources.c.folder_fk.in_(
                    folders.select().with_only_columns(folders.c.id).where(or_(folders.c.path == path, below))
                )
            )
        if self.since:
            found.append(sources.c.recorded_at >= self.since)
        return and_(*found)


@dataclass(slots=True)
class Report:
    """What would be taken back, or was."""

    instances: int
    stay: int  # stored by the selection, but other sources have brought them too
    withdrawn: int = 0
    kept: int = 0  # whose file is missing or damaged
    folder: str = ""

    def summary(self) -> dict[str, Any]:
        """The ``--json`` object."""
        return {
            "instances": self.instances,
            "stay": self.stay,
            "withdrawn": self.withdrawn,
            "kept": self.kept,
            "folder": self.folder or None,
        }


def recent(config: Config, limit: int = 30) -> list[dict[str, Any]]:
    """The newest batches that brought files in, for people to choose from."""
    index = Index.open(config.index_location, read_only=True)
    try:
        with index.reading() as connection:
            return withdrawal.recent(connection, limit)
    finally:
        index.close()


def look_up(config: Config, selection: Selection) -> Report:
    """What :func:`undo` would take back; changes nothing.

    Raises
    ------
    ConfigError
        Nothing is selected.
    """
    index = Index.open(config.index_location, read_only=True)
    try:
        found, stay = _chosen(index, selection)
    finally:
        index.close()
    return Report(len(found), stay)


def undo(config: Config, selection: Selection) -> Report:
    """Take the instances back that only the selected sources brought.

    Raises
    ------
    ConfigError
        Nothing is selected.
    SorterError
        The archive or the index cannot be used. Run it again: it goes on where it stopped.
    """
    check_index_is_there(config)
    with Intake(config) as intake, AuditTrail(config, "undo"):
        intake.archive.sweep()
        found, stay = _chosen(intake.index, selection)
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
        report = Report(len(found), stay, folder=f"{META}/withdrawn/{stamp}")
        for start in range(0, len(found), BATCH):
            moved = _withdraw(intake, found[start : start + BATCH], report.folder, start // BATCH)
            report.withdrawn += moved
        report.kept = report.instances - report.withdrawn
        return report


def _chosen(index: Index, selection: Selection) -> tuple[list[Move], int]:
    if selection == Selection():
        raise ConfigError("nothing is selected: name batches, or a dropped folder with --under")
    with index.reading() as connection:
        return withdrawal.withdrawable(connection, selection.condition())


def _withdraw(intake: Intake, found: Sequence[Move], folder: str, number: int) -> int:
    """One batch. What the index knew is durable beside the files before it forgets it."""
    wanted = [one._replace(new_path=f"{folder}/{one.old_path}") for one in found]
    with intake.index.reading() as connection:
        rows = withdrawal.rows_about(connection, [one.sop_instance_uid for one in wanted])
    note = json.dumps(rows, indent=1, ensure_ascii=False).encode()
    with intake.archive.turn():
        Mover(intake.archive).keep(f"{folder}/rows-{number}.json", note)

    def commit(connection: Connection, moved: Sequence[Move], batch: int, now: str) -> None:
        withdrawal.withdraw(connection, moved, batch, now)

    detail = json.dumps({"folder": folder, "instances": len(wanted)}, sort_keys=True)
    plan = f"undo-{Path(folder).name}"
    return len(
        carry(intake.archive, intake.index, plan, wanted, commit, kind=BatchKind.WITHDRAW, detail=detail)
    )
