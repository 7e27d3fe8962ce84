"""Taking a mistaken drop back out of the archive: its files to a folder, its rows out of the index.

Nothing is deleted. The files go to ``<archive>/.sorter/withdrawn/<when>/``, under the paths they had; beside
that folder ``<when>.rows-*.json`` say all that the index knew of them. The ledger keeps every word, and says
``withdrawn`` from now on, so that sources that still lie in a drop folder do not come in again. Moving is
done by :mod:`sorter.journal`; it may run beside a daemon. From there they can be brought to a folder
elsewhere; a crash on the way leaves each file in one of the two folders, and going on is bringing the rest.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_

from sorter.auditlog import AuditTrail
from sorter.config import Config
from sorter.errors import ConfigError
from sorter.index import Index, names, withdrawal
from sorter.index.moves import Move
from sorter.index.schema import folders, sources
from sorter.intake import Intake, check_index_is_there
from sorter.journal import carry, finish
from sorter.model import BatchKind
from sorter.organizer.mover import WITHDRAWN, Mover
from sorter.organizer.outside import Outside

BATCH = 512
PART = 32  # so many copies are made in one turn


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
            found.append(or_(*(sources.c.batch_fk.between(*run) for run in _runs(self.batches))))
        if self.under:
            path = names.storable(self.under)
            inside = path.rstrip("/") + "/"  # not LIKE: in SQLite it does not tell upper from lower case
            below = func.substr(folders.c.path, 1, len(inside)) == inside
            found.append(
                sources.c.folder_fk.in_(
                    folders.select().with_only_columns(folders.c.id).where(or_(folders.c.path == path, below))
                )
            )
        if self.since:
            found.append(sources.c.recorded_at >= self.since)
        return and_(*found)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last) of numbers that follow each other: few conditions, however many batches."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


@dataclass(slots=True)
class Report:
    """What would be taken back, or was."""

    instances: int
    stay: int  # stored by the selection, but other sources have brought them too
    withdrawn: int = 0
    kept: int = 0  # whose file is missing
    folder: str = ""  # relative to the archive root
    brought: int = 0  # files and notes that are in the other folder now
    left: int = 0  # that could not: other bytes have their names there

    def summary(self) -> dict[str, Any]:
        """The ``--json`` object."""
        return {
            "instances": self.instances,
            "stay": self.stay,
            "withdrawn": self.withdrawn,
            "kept": self.kept,
            "folder": self.folder or None,
            "brought": self.brought,
            "left": self.left,
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


def undo(config: Config, selection: Selection, *, to: Path | None = None) -> Report:
    """Take the instances back that only the selected sources brought.

    Parameters
    ----------
    to
        Where to bring them; by default they stay in the archive's ``.sorter/withdrawn``. With nothing
        selected, all that lies there is brought.

    Raises
    ------
    ConfigError
        Nothing is selected, or ``to`` lies in the archive or in a drop folder.
    SorterError
        The archive, the index or the folder cannot be used. Run it again: it goes on where it stopped.
    """
    check_index_is_there(config)
    _check_target(config, to)
    with Intake(config) as intake, AuditTrail(config, "undo"):
        intake.archive.sweep()
        report = Report(0, 0)
        if selection != Selection() or to is None:
            report = _take_back(intake, selection, to)
        if to is not None:
            only = Path(report.folder).name if selection != Selection() else ""
            _bring(intake, to, only, report)
        return report


def _check_target(config: Config, to: Path | None) -> None:
    for root in (config.archive, *config.incoming) if to else ():
        real = to.resolve() if to else root
        if root.resolve() in (real, *real.parents):
            raise ConfigError("--to lies in the archive or in a drop folder: name a folder elsewhere")


def _take_back(intake: Intake, selection: Selection, to: Path | None) -> Report:
    found, stay = _chosen(intake.index, selection)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    report = Report(len(found), stay, folder=f"{WITHDRAWN}/{stamp}")
    for number, start in enumerate(range(0, len(found), BATCH)):
        uids = [one.sop_instance_uid for one in found[start : start + BATCH]]
        _Part(intake, selection, report, number, uids, to).take_back()
    return report


def _chosen(index: Index, selection: Selection) -> tuple[list[Move], int]:
    if selection == Selection():
        raise ConfigError("nothing is selected: name batches, or a dropped folder with --under")
    with index.reading() as connection:
        return withdrawal.withdrawable(connection, selection.condition())


@dataclass(frozen=True, slots=True)
class _Part:
    """One batch of what is taken back."""

    intake: Intake
    selection: Selection
    report: Report
    number: int
    uids: list[str]
    to: Path | None

    def take_back(self) -> None:
        """Do it, and count."""
        detail = {"folder": self.report.folder} | ({"to": names.storable(str(self.to))} if self.to else {})
        moved = carry(
            self.intake.archive,
            self.intake.index,
            f"undo-{Path(self.report.folder).name}",
            self._choose,
            withdrawal.withdraw,
            kind=BatchKind.WITHDRAW,
            detail=json.dumps(detail, sort_keys=True),
        )
        self.report.withdrawn += len(moved)
        self.report.kept -= len(moved)

    def _choose(self) -> list[Move]:
        """Which still are to go: a daemon may have met another source of some since they were looked up.

        What the index knew is durable beside the files before it forgets it.
        """
        folder = self.report.folder
        with self.intake.index.reading() as connection:
            found, stay = withdrawal.withdrawable(connection, self.selection.condition(), self.uids)
            rows = withdrawal.rows_about(connection, [one.sop_instance_uid for one in found])
        if rows:
            note = json.dumps(rows, indent=1, ensure_ascii=False).encode()
            Mover(self.intake.archive).keep(f"{folder}.rows-{self.number}.json", note)
        self.report.stay += stay
        self.report.kept += len(found)
        return [one._replace(new_path=f"{folder}/{one.old_path}") for one in found]


def _bring(intake: Intake, to: Path, only: str, report: Report) -> None:
    """Bring withdrawn files to another folder: those of one withdrawal, or all."""
    origin = intake.config.archive / WITHDRAWN
    paths = _withdrawn(origin, only)
    outside = Outside(Path(os.path.abspath(to)))
    try:
        while part := list(itertools.islice(paths, PART)):
            with intake.archive.turn():
                finish(intake.archive, intake.index)  # another undo may have died meanwhile
                here = outside.bring(origin, part)
                Mover(intake.archive).remove([f"{WITHDRAWN}/{path}" for path in here])
            report.brought += len(here)
            report.left += len(part) - len(here)
    finally:
        outside.close()


def _withdrawn(origin: Path, only: str) -> Iterator[str]:
    """Paths below the folder of withdrawn files; the notes last, so that they outlive a crash."""
    notes = [path.name for path in sorted(origin.glob("*.rows-*.json")) if path.name.startswith(only)]
    for top in sorted(origin.glob(f"{only or '*'}/")):
        for folder, _, files in os.walk(top):
            yield from (os.path.relpath(os.path.join(folder, name), origin) for name in sorted(files))
    yield from notes
