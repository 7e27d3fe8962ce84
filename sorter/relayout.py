"""Another layout for an archive that is there: where each instance goes, and going there.

The plan is made by :mod:`sorter.replan`; moving is done by :mod:`sorter.journal`, in batches. After a crash
the same command goes on: it plans anew what is left.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from sorter.auditlog import AuditTrail
from sorter.config import Config
from sorter.index import moves
from sorter.index.moves import Move
from sorter.intake import Intake, check_index_is_there
from sorter.journal import carry
from sorter.model import BatchKind
from sorter.organizer.layout import path_key
from sorter.organizer.lease import META, DaemonLease, RunsLease
from sorter.replan import TABLE, Progress, plan_all, plan_back

BATCH = 512
SHOWN = 20

# Whose new name is free: not the present name of one that is still to go.
_FREE = """SELECT * FROM plan AS mine WHERE done = 0 AND old <> new AND NOT EXISTS
(SELECT 1 FROM plan WHERE plan.old = mine.new AND plan.done = 0) ORDER BY id LIMIT ?"""
_CIRCLE = "SELECT * FROM plan WHERE done = 0 AND old <> new ORDER BY id LIMIT 1"


@dataclass(slots=True)
class Report:
    """What a relayout would do, or did."""

    instances: int = 0
    moves: int = 0
    moved: int = 0
    kept: int = 0  # whose new name is taken by a file that is none of ours
    examples: list[tuple[str, str]] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """The ``--json`` object."""
        return {
            "instances": self.instances,
            "stay": self.instances - self.moves,
            "moves": self.moves,
            "moved": self.moved,
            "kept": self.kept,
            "examples": [{"from": old, "to": new} for old, new in self.examples],
        }


def relayout(
    config: Config, *, apply: bool = False, undo: bool = False, progress: Progress = lambda _done, _all: None
) -> Report:
    """Plan, and if asked make, the moves to the configured template; or back from the last ones.

    Raises
    ------
    AlreadyRunningError
        A daemon or a rescan runs on this archive; a plan alone may be made all the same.
    ConfigError
        There is nothing to undo.
    SorterError
        The archive or the index cannot be used. Run it again: it goes on where it stopped.
    """
    check_index_is_there(config)
    with _alone(config, apply or undo) as intake, _scratch() as database:
        if undo:
            plan_back(intake, database)
        else:
            plan_all(intake, database, progress)
        report = _report(database)
        if apply or undo:
            detail = {"undo": True} if undo else {"template": intake.layout.template}
            with AuditTrail(config, "relayout"):
                _Run(intake, database, detail, report, progress).run()
        return report


@contextlib.contextmanager
def _scratch() -> Iterator[sqlite3.Connection]:
    """An empty plan in a temporary file."""
    with tempfile.TemporaryDirectory(prefix="sorter-relayout-") as folder:
        database = sqlite3.connect(Path(folder) / "plan", isolation_level=None)
        with contextlib.closing(database):
            database.executescript(f"PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; {TABLE}")
            yield database


@contextlib.contextmanager
def _alone(config: Config, moving: bool) -> Iterator[Intake]:
    """An Intake; where files are moved, with nothing else at work in the archive."""
    if not moving:
        with Intake(config) as intake:
            yield intake
        return
    daemon = DaemonLease(config.archive)
    try:
        with RunsLease(config.archive, alone=True) as lease, Intake(config, lease) as intake:
            intake.archive.sweep()
            yield intake
    finally:
        daemon.release()


def _report(database: sqlite3.Connection) -> Report:
    (every,) = database.execute("SELECT count(*) FROM plan").fetchone()
    (moving,) = database.execute("SELECT count(*) FROM plan WHERE old <> new").fetchone()
    examples = database.execute("SELECT old, new FROM plan WHERE old <> new ORDER BY id LIMIT ?", (SHOWN,))
    return Report(every, moving, examples=examples.fetchall())


# -- moving -----------------------------------------------------------------------------------------------


class _Run:
    """One relayout under way."""

    def __init__(
        self,
        intake: Intake,
        plan: sqlite3.Connection,
        detail: dict[str, Any],
        report: Report,
        progress: Progress,
    ) -> None:
        self._intake, self._plan, self._detail = intake, plan, detail
        self._report, self._progress = report, progress
        self._plan.row_factory = sqlite3.Row
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
        self._name = f"{moves.BACK if 'undo' in detail else moves.FORTH}{stamp}"

    def run(self) -> None:
        """Move what can move; in a circle one makes room by way of ``.sorter/relayout``."""
        self._plan.execute("UPDATE plan SET done = 1 WHERE old = new")
        while True:
            if rows := self._plan.execute(_FREE, (BATCH,)).fetchall():
                self._move(rows)
            elif circle := self._plan.execute(_CIRCLE).fetchall():
                self._step_aside(circle[0])
            else:
                return

    def _move(self, rows: Sequence[sqlite3.Row]) -> None:
        wanted = [Move(row["uid"], row["sha256"], row["old"], row["new"]) for row in rows]
        by_uid = {row["uid"]: row for row in rows}
        patients = {str(row["patient"]): row["was"] for row in rows}
        detail = json.dumps(self._detail | {"patients": patients}, sort_keys=True)

        def commit(connection: Connection, moved: Sequence[Move], _batch: int, _now: str) -> None:
            mine = [by_uid[one.sop_instance_uid] for one in moved]
            moves.relocate(
                connection,
                moved,
                {row["uid"]: row["key"] for row in mine},
                {row["series"]: row["folder"] for row in mine},
                {row["patient"]: (row["patient_folder"], row["patient_key"]) for row in mine},
            )

        moved = self._carry(wanted, commit, detail)
        self._report.moved += len(moved)
        self._report.kept += len(wanted) - len(moved)
        self._plan.executemany("UPDATE plan SET done = 1 WHERE uid = ?", [(row["uid"],) for row in rows])
        self._progress(self._report.moved, self._report.moves)

    def _step_aside(self, row: sqlite3.Row) -> None:
        # Not under its UID, which is whatever its maker wrote.
        aside = f"{META}/relayout/{hashlib.sha256(row['uid'].encode()).hexdigest()[:32]}.dcm"
        wanted = [Move(row["uid"], row["sha256"], row["old"], aside)]

        def commit(connection: Connection, moved: Sequence[Move], _batch: int, _now: str) -> None:
            moves.relocate(connection, moved, {row["uid"]: path_key(aside)}, {}, {})

        if self._carry(wanted, commit, json.dumps(self._detail, sort_keys=True)):
            self._plan.execute("UPDATE plan SET old = ? WHERE uid = ?", (aside, row["uid"]))
        else:
            self._plan.execute("UPDATE plan SET done = 1 WHERE uid = ?", (row["uid"],))
            self._report.kept += 1

    def _carry(self, wanted: Sequence[Move], commit: Any, detail: str) -> list[Move]:
        return carry(
            self._intake.archive,
            self._intake.index,
            self._name,
            lambda: wanted,
            commit,
            kind=BatchKind.RELAYOUT,
            detail=detail,
        )
