"""The index: look up, record, read the ledger. SQLAlchemy Core in batches; one process writes at a time."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, select

from sorter.index import find as finding
from sorter.index.engine import WRITE, bring_up_to_date, guarded, make_engine
from sorter.index.names import signed, storable
from sorter.index.schema import column_name, folders, instances, patients, series, sources, studies
from sorter.model import (
    INSTANCE_KEYWORDS,
    PATIENT_KEYWORDS,
    SERIES_KEYWORDS,
    STUDY_KEYWORDS,
    Candidate,
    Header,
    Kind,
    Outcome,
    Place,
    Reason,
)

Patient = tuple[str, str]
# What may be otherwise at the next look, though the file's version is the same.
NOT_FINAL = (Reason.UNREADABLE, Reason.VANISHED)
_CHUNK = 500  # values in one IN list
_PATIENT_COLUMNS = {column_name(keyword): keyword for keyword in PATIENT_KEYWORDS}
_STUDY_COLUMNS = {column_name(keyword): keyword for keyword in STUDY_KEYWORDS}
# Without the device: its number changes when a network file system is mounted again.
_VERSION = (sources.c.inode, sources.c.size, sources.c.mtime_ns, sources.c.ctime_ns)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """The ledger's word about one source version."""

    kind: Kind
    reason: Reason | None
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """A recorded instance."""

    id: int
    sha256: str
    source_sha256: str
    path: str
    patient: Patient


@dataclass(frozen=True, slots=True)
class PatientRow:
    """A recorded patient; ``values`` by DICOM keyword."""

    id: int
    folder: str
    values: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A recorded study; ``values`` by DICOM keyword."""

    id: int
    date: str
    values: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A recorded series."""

    id: int
    folder: str


@dataclass(slots=True)
class Known:
    """What is recorded of a batch's instances, and of the levels above them."""

    instances: dict[str, InstanceRow] = field(default_factory=dict)
    patients: dict[Patient, PatientRow] = field(default_factory=dict)
    studies: dict[tuple[Patient, str], StudyRow] = field(default_factory=dict)
    series: dict[tuple[Patient, str, str], SeriesRow] = field(default_factory=dict)


class Index:
    """An open index. Not for use by several threads at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, location: str | Path, *, read_only: bool = False) -> Index:
        """Open the index at an SQLAlchemy URL, or in an SQLite file.

        A new or older one is brought up to date, unless it is opened read only.

        Raises
        ------
        IndexUnusableError
            Not there (read only), damaged, or no index at all. It is never replaced silently.
        SchemaTooNewError
            Written by a newer sorter.
        """
        engine = make_engine(location, read_only=read_only)
        with guarded():
            bring_up_to_date(engine, read_only=read_only)
        return cls(engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # -- the ledger -------------------------------------------------------------------------------------

    def seen(self, candidates: Sequence[Candidate]) -> dict[Candidate, SourceRow]:
        """The final word about those of these very source versions that have one."""
        with guarded(), self._engine.connect() as connection:
            seen = _seen(connection, candidates)
        return {one: row for one, row in seen.items() if row.reason not in NOT_FINAL}

    # -- look-ups for one batch -------------------------------------------------------------------------

    def lookup(self, headers: Sequence[Header]) -> Known:
        """What is recorded under the UIDs and patients of these headers."""
        known = Known()
        if headers:
            with guarded(), self._engine.connect() as connection:
                _lookup_instances(connection, headers, known)
                _lookup_levels(connection, headers, known)
        return known

    def taken(self, keys: Collection[int]) -> set[int]:
        """Those of these path keys that an instance has."""
        with guarded(), self._engine.connect() as connection:
            found = _in_chunks(connection, select(instances.c.path_key), instances.c.path_key, keys)
            return {row.path_key for row in found}

    def folder_owners(self, keys: Collection[int]) -> dict[int, Patient]:
        """The patients that own these folder keys."""
        query = select(patients.c.folder_key, patients.c.issuer_of_patient_id, patients.c.patient_id)
        with guarded(), self._engine.connect() as connection:
            found = _in_chunks(connection, query, patients.c.folder_key, keys)
            return {row.folder_key: (row.issuer_of_patient_id, row.patient_id) for row in found}

    def paths_under(self, folder: str) -> set[str]:
        """Paths of all recorded instances that lie directly in a folder of the archive."""
        query = select(instances.c.path).join(series).where(series.c.folder == folder)
        with guarded(), self._engine.connect() as connection:
            return set(connection.scalars(query))

    # -- recording --------------------------------------------------------------------------------------

    def record(
        self,
        outcomes: Sequence[Outcome],
        places: Mapping[str, Place],
        path_keys: Mapping[str, int],
        *,
        ledger: bool = True,
    ) -> None:
        """Write a batch in one transaction: rows for what was stored, and the ledger.

        Parameters
        ----------
        places, path_keys
            By SOP Instance UID, for the outcomes that say stored.
        ledger
            False for adopted files, which no source is known of.

        Raises
        ------
        IndexUnusableError, ArchiveFullError
            Nothing of the batch is recorded.
        """
        stored = [one for one in outcomes if one.kind is Kind.STORED and one.instance]
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with (
            guarded(),
            self._engine.connect().execution_options(**{WRITE: True}) as connection,
            connection.begin(),
        ):
            if stored:
                _record_instances(connection, stored, places, path_keys, now)
            if ledger:
                _record_sources(connection, [one for one in outcomes if one.kind is not Kind.DEFERRED], now)

    # -- for people -------------------------------------------------------------------------------------

    def counts(self) -> dict[str, Any]:
        """Rows by level, bytes stored, and sources by outcome and reason."""
        with guarded(), self._engine.connect() as connection:
            found: dict[str, Any] = {
                table.name: connection.scalar(select(func.count()).select_from(table))
                for table in (patients, studies, series, instances)
            }
            found["bytes"] = int(connection.scalar(select(func.sum(instances.c.size))) or 0)
            query = select(sources.c.outcome, sources.c.reason, func.count()).group_by(
                sources.c.outcome, sources.c.reason
            )
            outcomes: dict[str, int] = defaultdict(int)
            reasons: dict[str, dict[str, int]] = defaultdict(dict)
            for outcome, reason, count in connection.execute(
                query.order_by(sources.c.outcome, sources.c.reason)
            ):
                outcomes[outcome] += count
                if reason:
                    reasons[outcome][reason] = count
        return found | {"outcomes": dict(outcomes), "reasons": dict(reasons)}

    def find(
        self, criteria: Mapping[str, str], *, level: str, limit: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows of one level that fulfil all criteria; see :func:`sorter.index.find.query`."""
        query = finding.query(criteria, level=level, limit=limit)
        with guarded(), self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=500).execute(query):
                yield dict(row._mapping)


def _in_chunks(
    connection: Connection, query: Select[Any], column: Any, values: Iterable[Any]
) -> Iterator[Row[Any]]:
    wanted = list(dict.fromkeys(values))
    for start in range(0, len(wanted), _CHUNK):
        yield from connection.execute(query.where(column.in_(wanted[start : start + _CHUNK])))


def _seen(connection: Connection, candidates: Sequence[Candidate]) -> dict[Candidate, SourceRow]:
    by_folder: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for one in candidates:
        by_folder[storable(one.folder)][storable(one.name)].append(one)
    seen: dict[Candidate, SourceRow] = {}
    columns = (
        sources.c.name,
        sources.c.outcome,
        sources.c.reason,
        sources.c.path,
        sources.c.sha256,
        *_VERSION,
    )
    for folder, named in by_folder.items():
        number = connection.scalar(select(folders.c.id).where(folders.c.path == folder))
        if number is None:
            continue
        query = select(*columns).where(sources.c.folder_fk == number)
        for row in _in_chunks(connection, query, sources.c.name, named):
            version = tuple(row)[5:]
            for one in named[row.name]:
                if _version(one) == version:
                    reason = Reason(row.reason) if row.reason else None
                    seen[one] = SourceRow(Kind(row.outcome), reason, row.path or "", row.sha256 or "")
    return seen


def _version(candidate: Candidate) -> tuple[int, ...]:
    return tuple(map(signed, candidate.version[1:]))


def _lookup_instances(connection: Connection, headers: Sequence[Header], known: Known) -> None:
    own = instances.c
    columns = (own.id, own.sop_instance_uid, own.sha256, own.source_sha256, own.path)
    query = select(*columns, patients.c.issuer_of_patient_id, patients.c.patient_id).select_from(
        instances.join(series).join(studies).join(patients)
    )
    uids = (header.text("SOPInstanceUID") for header in headers)
    for row in _in_chunks(connection, query, instances.c.sop_instance_uid, uids):
        patient = (row.issuer_of_patient_id, row.patient_id)
        known.instances[row.sop_instance_uid] = InstanceRow(
            row.id, row.sha256, row.source_sha256, row.path, patient
        )


def _lookup_levels(connection: Connection, headers: Sequence[Header], known: Known) -> None:
    ids = {header.text("PatientID") for header in headers}
    for row in _in_chunks(connection, select(patients), patients.c.patient_id, ids):
        patient = (row.issuer_of_patient_id, row.patient_id)
        known.patients[patient] = PatientRow(row.id, row.folder, _values(row, _PATIENT_COLUMNS))
    keys = (patients.c.issuer_of_patient_id, patients.c.patient_id)
    uids = {header.text("StudyInstanceUID") for header in headers}
    query = select(studies, *keys).select_from(studies.join(patients))
    for row in _in_chunks(connection, query, studies.c.study_instance_uid, uids):
        patient = (row.issuer_of_patient_id, row.patient_id)
        values = _values(row, _STUDY_COLUMNS)
        known.studies[patient, row.study_instance_uid] = StudyRow(row.id, row.date, values)
    uids = {header.text("SeriesInstanceUID") for header in headers}
    columns = (
        series.c.id,
        series.c.folder,
        series.c.series_instance_uid,
        studies.c.study_instance_uid,
        *keys,
    )
    query = select(*columns).select_from(series.join(studies).join(patients))
    for row in _in_chunks(connection, query, series.c.series_instance_uid, uids):
        patient = (row.issuer_of_patient_id, row.patient_id)
        known.series[patient, row.study_instance_uid, row.series_instance_uid] = SeriesRow(row.id, row.folder)


def _values(row: Row[Any], columns: Mapping[str, str]) -> dict[str, str | int]:
    found = row._mapping
    return {keyword: found[column] for column, keyword in columns.items() if found[column] not in (None, "")}


def _record_instances(
    connection: Connection,
    stored: Sequence[Outcome],
    places: Mapping[str, Place],
    path_keys: Mapping[str, int],
    now: str,
) -> None:
    headers = [one.instance.header for one in stored if one.instance]
    known = Known()
    _lookup_levels(connection, headers, known)
    _record_levels(connection, headers, places, known)
    rows = []
    for one in stored:
        assert one.instance is not None
        header, instance = one.instance.header, one.instance
        uid = header.text("SOPInstanceUID")
        key = (header.patient, header.text("StudyInstanceUID"), header.text("SeriesInstanceUID"))
        rows.append(
            _keywords(header, INSTANCE_KEYWORDS)
            | {
                "series_fk": known.series[key].id,
                "path": one.path,
                "path_key": path_keys[uid],
                "transfer_syntax_uid": instance.transfer_syntax_uid,
                "source_transfer_syntax_uid": instance.source_transfer_syntax_uid,
                "sha256": instance.sha256,
                "source_sha256": instance.source_sha256,
                "pixel_sha256": instance.pixel_sha256,
                "size": instance.size,
                "pixels": str(instance.pixels),
                "note": instance.note or None,
                "stored_at": now,
            }
        )
    connection.execute(insert(instances), rows)


def _record_levels(
    connection: Connection, headers: Sequence[Header], places: Mapping[str, Place], known: Known
) -> None:
    """Rows for patients, studies and series that are new; the first instance of each speaks for it."""
    for header in headers:
        place = places[header.text("SOPInstanceUID")]
        patient = header.patient
        if patient not in known.patients:
            row = _keywords(header, PATIENT_KEYWORDS)
            row |= {"issuer_of_patient_id": patient[0], "patient_id": patient[1]}
            row |= {"folder": place.patient_folder, "folder_key": place.patient_folder_key}
            known.patients[patient] = PatientRow(_insert(connection, patients, row), place.patient_folder, {})
        study = (patient, header.text("StudyInstanceUID"))
        if study not in known.studies:
            row = _keywords(header, STUDY_KEYWORDS)
            row |= {"patient_fk": known.patients[patient].id, "date": place.study_date}
            known.studies[study] = StudyRow(_insert(connection, studies, row), place.study_date, {})
        one = (*study, header.text("SeriesInstanceUID"))
        if one not in known.series:
            row = _keywords(header, SERIES_KEYWORDS)
            row |= {"study_fk": known.studies[study].id, "folder": place.folder}
            known.series[one] = SeriesRow(_insert(connection, series, row), place.folder)


def _insert(connection: Connection, table: Any, row: Mapping[str, Any]) -> int:
    key = connection.execute(insert(table), row).inserted_primary_key
    assert key is not None
    return int(key[0])


def _keywords(header: Header, keywords: Sequence[str]) -> dict[str, Any]:
    return {column_name(keyword): header.values.get(keyword) for keyword in keywords}


def _record_sources(connection: Connection, outcomes: Sequence[Outcome], now: str) -> None:
    """Ledger rows. The first final word about a version stays; what was not final gives way."""
    before = _seen(connection, [one.candidate for one in outcomes])
    numbers = _folder_numbers(connection, {storable(one.candidate.folder) for one in outcomes})
    uids = (one.instance.header.text("SOPInstanceUID") for one in outcomes if one.instance)
    query = select(instances.c.id, instances.c.sop_instance_uid)
    ids = {
        row.sop_instance_uid: row.id
        for row in _in_chunks(connection, query, instances.c.sop_instance_uid, uids)
    }
    rows = {}
    for one in outcomes:
        old = before.get(one.candidate)
        number = numbers[storable(one.candidate.folder)]
        row = _source_row(one, number, now)
        if old is not None and old.reason not in NOT_FINAL:
            continue
        if old is not None:
            _forget(connection, row)
        if one.instance and one.kind in (Kind.STORED, Kind.DUPLICATE, Kind.EQUIVALENT):
            row["instance_fk"] = ids.get(one.instance.header.text("SOPInstanceUID"))
        rows[one.candidate] = row
    if rows:
        connection.execute(insert(sources), list(rows.values()))


def _source_row(one: Outcome, folder: int, now: str) -> dict[str, Any]:
    candidate = one.candidate
    version = zip(_VERSION, _version(candidate), strict=True)
    return {column.name: value for column, value in version} | {
        "folder_fk": folder,
        "device": signed(candidate.device),
        "name": storable(candidate.name),
        "sha256": one.source_sha256 or None,
        "outcome": str(one.kind),
        "reason": str(one.reason) if one.reason else None,
        "detail": one.detail or None,
        "path": one.path or None,
        "instance_fk": None,
        "recorded_at": now,
    }


def _forget(connection: Connection, row: Mapping[str, Any]) -> None:
    query = delete(sources).where(sources.c.folder_fk == row["folder_fk"], sources.c.name == row["name"])
    connection.execute(query.where(*(column == row[column.name] for column in _VERSION)))


def _folder_numbers(connection: Connection, paths: set[str]) -> dict[str, int]:
    query = select(folders.c.id, folders.c.path)
    numbers = {row.path: row.id for row in _in_chunks(connection, query, folders.c.path, paths)}
    for path in paths - numbers.keys():
        numbers[path] = _insert(connection, folders, {"path": path})
    return numbers
