"""Where new instances go: pure, given what is recorded of their patients, studies and series.

A patient's folder, a study's date and a series' folder are fixed by the first instance that arrives. Later
ones follow, however their own headers spell the names, so that no study and no series ever splits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sorter.keywords import PATIENT_KEYWORDS, STUDY_KEYWORDS
from sorter.model import Header, Kind, Place
from sorter.organizer.judge import Verdict
from sorter.organizer.layout import Layout, path_key, recorded_keywords, study_view

Patient = tuple[str, str]
Study = tuple[Patient, str]
Series = tuple[Patient, str, str]
_Values = Mapping[str, str | int]


class PatientFacts(Protocol):
    """What the index knows of a patient."""

    @property
    def folder(self) -> str:
        """The path component that carries the patient."""
        ...

    @property
    def values(self) -> Mapping[str, str | int]:
        """Recorded values by DICOM keyword."""
        ...


class StudyFacts(Protocol):
    """What the index knows of a study."""

    @property
    def date(self) -> str:
        """``YYYYMMDD``, or empty."""
        ...

    @property
    def values(self) -> Mapping[str, str | int]:
        """Recorded values by DICOM keyword."""
        ...


class SeriesFacts(Protocol):
    """What the index knows of a series."""

    @property
    def folder(self) -> str:
        """Its directory, relative to the archive root."""
        ...


class Facts(Protocol):
    """What the index knows of a batch's patients, studies and series."""

    @property
    def patients(self) -> Mapping[Patient, PatientFacts]:
        """By (IssuerOfPatientID, PatientID)."""
        ...

    @property
    def studies(self) -> Mapping[Study, StudyFacts]:
        """By patient and Study Instance UID."""
        ...

    @property
    def series(self) -> Mapping[Series, SeriesFacts]:
        """By patient, Study Instance UID and Series Instance UID."""
        ...


@dataclass(slots=True)
class _First:
    """What the first instances of this batch fixed."""

    folders: dict[Patient, str] = field(default_factory=dict)
    owners: dict[int, Patient] = field(default_factory=dict)
    dates: dict[Study, str] = field(default_factory=dict)
    headers: dict[Study, Header] = field(default_factory=dict)
    series: dict[Series, str] = field(default_factory=dict)


def place(
    verdicts: Sequence[Verdict],
    facts: Facts,
    layout: Layout,
    *,
    owners: Callable[[Collection[int]], Mapping[int, Patient]],
    taken: Callable[[Collection[int]], Collection[int]],
) -> dict[str, Place]:
    """A Place for each verdict that says stored, by SOP Instance UID.

    Parameters
    ----------
    owners, taken
        Ask the index, once for all: which patients own these folder keys; which of these path keys are used.
    """
    headers = [v.staged.instance.header for v in verdicts if v.kind is Kind.STORED]
    patients = {header.patient: header for header in reversed(headers)}  # the first of each speaks for it
    plain = [layout.patient_folder(header) for header in patients.values()]
    first = _First(owners=dict(owners([path_key(folder) for folder in plain if folder])))
    places = {header.text("SOPInstanceUID"): _place(header, facts, layout, first) for header in headers}
    used = set(taken([path_key(f"{one.folder}/{one.leaf}") for one in places.values()]))
    return {uid: _free(one, used) for uid, one in places.items()}


def _place(header: Header, facts: Facts, layout: Layout, first: _First) -> Place:
    patient = header.patient
    study = (patient, header.text("StudyInstanceUID"))
    series = (*study, header.text("SeriesInstanceUID"))
    patient_folder = _patient_folder(header, facts, layout, first)
    _fix_study(header, study, facts, first)
    known = facts.series.get(series)
    folder = known.folder if known else first.series.get(series)
    view = header
    if folder is None or not layout.leaf_is_its_own:  # else the view costs more than all the rest
        view = _study_view(header, study, facts, first)
    if folder is None:
        folder = first.series[series] = layout.folder(view, patient_folder)
    leaf, spare = layout.leaves(view)
    return Place(
        patient_folder=patient_folder,
        patient_folder_key=path_key(patient_folder) if patient_folder else None,
        study_date=first.dates[study],
        folder=folder,
        leaf=leaf,
        spare=spare,
    )


def _patient_folder(header: Header, facts: Facts, layout: Layout, first: _First) -> str:
    patient = header.patient
    if known := facts.patients.get(patient):
        return known.folder
    if patient in first.folders:
        return first.folders[patient]
    folder = layout.patient_folder(header)
    if folder:
        if first.owners.setdefault(path_key(folder), patient) != patient:
            folder = layout.patient_folder(header, distinct=True)
        first.owners[path_key(folder)] = patient
    first.folders[patient] = folder
    return folder


def _study_view(header: Header, study: Study, facts: Facts, first: _First) -> Header:
    """The header as its study was first seen: patient and study values of the first instance."""
    patient_values, study_values = _recorded(header, study, facts, first)
    return study_view(header, patient=patient_values, study=study_values)


def _fix_study(header: Header, study: Study, facts: Facts, first: _First) -> None:
    """The first instance of a study fixes its date, unless one is on record."""
    if study not in first.dates:
        known = facts.studies.get(study)
        first.dates[study] = known.date if known else header.study_date
        first.headers[study] = header


def _recorded(header: Header, study: Study, facts: Facts, first: _First) -> tuple[_Values, _Values]:
    """Patient and study values of the first instance, on record or in this batch."""
    _fix_study(header, study, facts, first)
    known = facts.studies.get(study)
    patient = facts.patients.get(header.patient)
    origin = first.headers[study]
    patient_values = patient.values if patient else _only(origin, PATIENT_KEYWORDS)
    study_values = dict(known.values if known else _only(origin, STUDY_KEYWORDS))
    study_values["StudyDate"] = first.dates[study]
    return patient_values, study_values


def named_by(header: Header, facts: Facts) -> tuple[Header, dict[str, str]]:
    """The header that an instance is named by, as :func:`place` does it for a batch of this one.

    Also, by keyword, whether its value is on record for the ``patient`` or the ``study`` and not its own.
    """
    study = (header.patient, header.text("StudyInstanceUID"))
    patient_values, study_values = _recorded(header, study, facts, _First())
    view = study_view(header, patient=patient_values, study=study_values)
    levels = recorded_keywords(header, patient=patient_values, study=study_values)
    known = {"patient": header.patient in facts.patients, "study": study in facts.studies}
    return view, {keyword: level for keyword, level in levels.items() if known[level]}


def _only(header: Header, keywords: tuple[str, ...]) -> dict[str, str | int]:
    return {keyword: header.values[keyword] for keyword in keywords if keyword in header.values}


def _free(one: Place, used: set[int]) -> Place:
    """The place with a leaf that no other instance has, also where names differ only in case or form."""
    key = path_key(f"{one.folder}/{one.leaf}")
    if key in used:
        one = Place(
            one.patient_folder, one.patient_folder_key, one.study_date, one.folder, one.spare, one.spare
        )
    used.add(key)
    return one
