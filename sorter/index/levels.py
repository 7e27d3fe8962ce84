"""Patients, studies, series and instances: looking them up and recording them, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from sorter.index.rows import InstanceRow, Known, PatientRow, SeriesRow, StudyRow
from sorter.index.schema import column_name, instances, patients, series, studies
from sorter.index.statements import in_chunks, insert_one, insert_rows
from sorter.keywords import (
    INDEXED_KEYWORDS,
    INSTANCE_KEYWORDS,
    PATIENT_KEYWORDS,
    SERIES_KEYWORDS,
    STUDY_KEYWORDS,
)
from sorter.model import Header, Outcome, Place

_COLUMNS = {keyword: column_name(keyword) for keyword in INDEXED_KEYWORDS}
_PATIENT_COLUMNS = {column_name(keyword): keyword for keyword in PATIENT_KEYWORDS}
_STUDY_COLUMNS = {column_name(keyword): keyword for keyword in STUDY_KEYWORDS}


def lookup_instances(connection: Connection, headers: Sequence[Header], known: Known) -> None:
    """Add the recorded instances with these SOP Instance UIDs."""
    own = instances.c
    columns = (own.id, own.sop_instance_uid, own.sha256, own.source_sha256, own.path)
    query = select(*columns, patients.c.issuer_of_patient_id, patients.c.patient_id).select_from(
        instances.join(series).join(studies).join(patients)
    )
    uids = (header.text("SOPInstanceUID") for header in headers)
    for row in in_chunks(connection, query, instances.c.sop_instance_uid, uids):
        patient = (row.issuer_of_patient_id, row.patient_id)
        known.instances[row.sop_instance_uid] = InstanceRow(
            row.id, row.sha256, row.source_sha256, row.path, patient
        )


def lookup_levels(connection: Connection, headers: Sequence[Header], known: Known) -> None:
    """Add the recorded patients, studies and series of these headers."""
    ids = {header.text("PatientID") for header in headers}
    for row in in_chunks(connection, select(patients), patients.c.patient_id, ids):
        patient = (row.issuer_of_patient_id, row.patient_id)
        known.patients[patient] = PatientRow(row.id, row.folder, _values(row, _PATIENT_COLUMNS))
    keys = (patients.c.issuer_of_patient_id, patients.c.patient_id)
    uids = {header.text("StudyInstanceUID") for header in headers}
    query = select(studies, *keys).select_from(studies.join(patients))
    for row in in_chunks(connection, query, studies.c.study_instance_uid, uids):
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
    for row in in_chunks(connection, query, series.c.series_instance_uid, uids):
        patient = (row.issuer_of_patient_id, row.patient_id)
        known.series[patient, row.study_instance_uid, row.series_instance_uid] = SeriesRow(row.id, row.folder)


def _values(row: Row[Any], columns: Mapping[str, str]) -> dict[str, str | int]:
    found = row._mapping
    return {keyword: found[column] for column, keyword in columns.items() if found[column] not in (None, "")}


def record_instances(
    connection: Connection,
    stored: Sequence[Outcome],
    places: Mapping[str, Place],
    path_keys: Mapping[str, int],
    now: str,
) -> dict[str, int]:
    """Rows for stored instances, and for the levels above them that are new.

    Returns
    -------
    dict
        SOP Instance UID to the number of its row. They are not left to the database, which would have to be
        asked for them: one process writes at a time.
    """
    headers = [one.instance.header for one in stored if one.instance]
    known = Known()
    lookup_levels(connection, headers, known)
    _record_levels(connection, headers, places, known)
    rows, ids = [], {}
    first = (connection.scalar(select(func.max(instances.c.id))) or 0) + 1
    for number, one in enumerate(stored, first):
        assert one.instance is not None
        header, instance = one.instance.header, one.instance
        uid = header.text("SOPInstanceUID")
        key = (header.patient, header.text("StudyInstanceUID"), header.text("SeriesInstanceUID"))
        ids[uid] = number
        rows.append(
            _keywords(header, INSTANCE_KEYWORDS)
            | {
                "id": number,
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
    insert_rows(connection, instances, rows)
    return ids


def instance_ids(connection: Connection, uids: Iterable[str]) -> dict[str, int]:
    """SOP Instance UID to the number of its row, of those that are recorded."""
    query = select(instances.c.id, instances.c.sop_instance_uid)
    found = in_chunks(connection, query, instances.c.sop_instance_uid, uids)
    return {row.sop_instance_uid: row.id for row in found}


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
            known.patients[patient] = PatientRow(
                insert_one(connection, patients, row), place.patient_folder, {}
            )
        study = (patient, header.text("StudyInstanceUID"))
        if study not in known.studies:
            row = _keywords(header, STUDY_KEYWORDS)
            row |= {"patient_fk": known.patients[patient].id, "date": place.study_date}
            known.studies[study] = StudyRow(insert_one(connection, studies, row), place.study_date, {})
        one = (*study, header.text("SeriesInstanceUID"))
        if one not in known.series:
            row = _keywords(header, SERIES_KEYWORDS)
            row |= {"study_fk": known.studies[study].id, "folder": place.folder}
            known.series[one] = SeriesRow(insert_one(connection, series, row), place.folder)


def _keywords(header: Header, keywords: Sequence[str]) -> dict[str, Any]:
    value = header.values.get
    return {_COLUMNS[keyword]: value(keyword) for keyword in keywords}
