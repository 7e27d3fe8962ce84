"""What the index answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sorter.model import Kind, Reason

Patient = tuple[str, str]


class SourceRow(NamedTuple):
    """The ledger's word about one source version."""

    id: int
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
