"""Where the instances of an archive go under another template, found as for new ones.

The very code that places new files (:mod:`sorter.organizer.place`) is asked, as if all came anew in the order
in which they came. The plan lies in a temporary database, since an archive may hold millions.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sorter.errors import ConfigError
from sorter.index import moves
from sorter.index.moves import Laid
from sorter.index.rows import PatientRow, SeriesRow, StudyRow
from sorter.intake import Intake
from sorter.keywords import INDEXED_KEYWORDS, PATIENT_KEYWORDS, STUDY_KEYWORDS
from sorter.model import Candidate, Header, Instance, Kind, Pixels, Staged
from sorter.organizer.judge import Verdict
from sorter.organizer.layout import path_key
from sorter.organizer.place import place

Patient = tuple[str, str]
Progress = Callable[[int, int], None]

TABLE = """
CREATE TABLE plan (id INTEGER PRIMARY KEY, uid TEXT, sha256 TEXT, old TEXT UNIQUE, new TEXT, key INTEGER,
series INTEGER, folder TEXT, patient INTEGER, patient_folder TEXT, patient_key INTEGER, was TEXT,
done INTEGER DEFAULT 0);
CREATE INDEX plan_key ON plan (key); CREATE INDEX plan_left ON plan (done, id);
CREATE UNIQUE INDEX plan_uid ON plan (uid);
"""
_STORE = """INSERT INTO plan
(uid, sha256, old, new, key, series, folder, patient, patient_folder, patient_key, was)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


@dataclass(slots=True)
class _Facts:
    """What was placed so far, as the index would know it had all come anew."""

    instances: dict[str, Any] = field(default_factory=dict)
    patients: dict[Patient, PatientRow] = field(default_factory=dict)
    studies: dict[tuple[Patient, str], StudyRow] = field(default_factory=dict)
    series: dict[tuple[Patient, str, str], SeriesRow] = field(default_factory=dict)
    owners: dict[int, Patient] = field(default_factory=dict)

    def owned(self, keys: Collection[int]) -> Mapping[int, Patient]:
        """Whose folders these are."""
        return {key: self.owners[key] for key in keys if key in self.owners}


def plan_all(intake: Intake, database: sqlite3.Connection, progress: Progress) -> None:
    """Where the template of an Intake puts each instance of its archive."""
    facts, done = _Facts(), 0
    with intake.index.reading() as connection:
        for page in moves.laid(connection):
            headers = _headers(intake, page)
            placed = _place(intake, database, facts, page, headers)
            database.executemany(_STORE, placed)
            done += len(page)
            progress(done, 0)


def _headers(intake: Intake, page: Sequence[Laid]) -> list[Header]:
    """What the template reads; from the archived files where the index does not have it."""
    if intake.layout.keywords <= set(INDEXED_KEYWORDS):
        return [one.header for one in page]
    paths = [intake.archive.locate(one.move.old_path) for one in page]
    found = intake.workers.examine(paths, intake.layout.keywords)
    return [
        Header({**file.header.values, **one.header.values}) if file else one.header
        for one, file in zip(page, found, strict=True)
    ]


def _place(
    intake: Intake,
    database: sqlite3.Connection,
    facts: _Facts,
    page: Sequence[Laid],
    headers: Sequence[Header],
) -> Iterator[tuple[Any, ...]]:
    for one, header in zip(page, headers, strict=True):
        study = (header.patient, header.text("StudyInstanceUID"))
        facts.studies[study] = StudyRow(0, one.study_date, _only(one.header, STUDY_KEYWORDS))

    def taken(keys: Collection[int]) -> set[int]:
        return {
            key for key in keys if database.execute("SELECT 1 FROM plan WHERE key = ?", (key,)).fetchone()
        }

    verdicts = [_verdict(one, header) for one, header in zip(page, headers, strict=True)]
    places = place(verdicts, facts, intake.layout, owners=facts.owned, taken=taken)
    for one, header in zip(page, headers, strict=True):
        where = places[one.move.sop_instance_uid]
        key = (header.patient, header.text("StudyInstanceUID"), header.text("SeriesInstanceUID"))
        values = _only(one.header, PATIENT_KEYWORDS)
        facts.patients.setdefault(header.patient, PatientRow(0, where.patient_folder, values))
        facts.series.setdefault(key, SeriesRow(0, where.folder))
        if where.patient_folder_key is not None:
            facts.owners.setdefault(where.patient_folder_key, header.patient)
        new = f"{where.folder}/{where.leaf}" if where.folder else where.leaf
        yield (
            *one.move[:3], new, path_key(new), one.series, where.folder,
            one.patient, where.patient_folder, where.patient_folder_key, one.patient_folder,
        )  # fmt: skip


def _only(header: Header, keywords: tuple[str, ...]) -> dict[str, str | int]:
    return {keyword: header.values[keyword] for keyword in keywords if keyword in header.values}


def _verdict(one: Laid, header: Header) -> Verdict:
    """The instance as the placing code wants it: as one that is to be stored."""
    instance = Instance(header, "", one.move.sha256, 0, "", "", Pixels.NATIVE)
    return Verdict(Staged(Candidate("", "", 0, 0, 0, 0, 0), instance, "", ""), Kind.STORED)


def plan_back(intake: Intake, database: sqlite3.Connection) -> None:
    """Where each instance lay that the last relayout moved.

    Raises
    ------
    ConfigError
        There was none.
    """
    with intake.index.reading() as connection:
        plan = moves.last_plan(connection)
        if not plan:
            raise ConfigError("there is no relayout to undo")
        was: dict[str, str] = {}
        for detail in moves.details(connection, plan):
            was = {**json.loads(detail).get("patients", {}), **was}  # the oldest word counts
        for move, series, patient, now in moves.back(connection, plan):
            folder = move.new_path.rpartition("/")[0]
            patient_folder = was.get(str(patient), "")
            key = path_key(patient_folder) if patient_folder else None
            database.execute(
                _STORE,
                (*move, path_key(move.new_path), series, folder, patient, patient_folder, key, now),
            )
