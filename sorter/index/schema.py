"""Tables and views of the index. Columns are the snake_case of DICOM keywords; docs/index.md explains each.

Foreign keys end in ``_fk``, since ``patient_id`` and ``study_id`` are DICOM attributes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from sorter.keywords import (
    INSTANCE_KEYWORDS,
    INTEGER_KEYWORDS,
    PATIENT_KEYWORDS,
    SERIES_KEYWORDS,
    STUDY_KEYWORDS,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


@functools.cache
def column_name(keyword: str) -> str:
    """The column of a DICOM keyword: ``SOPInstanceUID`` -> ``sop_instance_uid``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", keyword).lower()


def _columns(keywords: Sequence[str], required: Sequence[str]) -> list[Column[object]]:
    return [
        Column(
            column_name(keyword),
            BigInteger if keyword in INTEGER_KEYWORDS else Text,
            nullable=keyword not in required,
        )
        for keyword in keywords
    ]


def _reference(name: str, table: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Integer, ForeignKey(f"{table}.id"), nullable=nullable, index=True)


patients = Table(
    "patients",
    metadata,
    Column("id", Integer, primary_key=True),
    *_columns(PATIENT_KEYWORDS, ("PatientID", "IssuerOfPatientID")),
    Column("folder", Text, nullable=False),
    Column("folder_key", BigInteger, unique=True),
    UniqueConstraint("patient_id", "issuer_of_patient_id"),
)
studies = Table(
    "studies",
    metadata,
    Column("id", Integer, primary_key=True),
    _reference("patient_fk", "patients"),
    *_columns(STUDY_KEYWORDS, ("StudyInstanceUID",)),
    Column("date", Text, nullable=False),
    UniqueConstraint("study_instance_uid", "patient_fk"),
)
series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    _reference("study_fk", "studies"),
    *_columns(SERIES_KEYWORDS, ("SeriesInstanceUID",)),
    Column("folder", Text, nullable=False, index=True),
    UniqueConstraint("series_instance_uid", "study_fk"),
)
instances = Table(
    "instances",
    metadata,
    Column("id", Integer, primary_key=True),
    _reference("series_fk", "series"),
    *_columns(INSTANCE_KEYWORDS, ("SOPInstanceUID",)),
    Column("path", Text, nullable=False),
    # Not unique: two hostile UIDs may differ in case only. No name is ever given twice all the same: link().
    Column("path_key", BigInteger, nullable=False, index=True),
    Column("transfer_syntax_uid", Text, nullable=False),
    Column("source_transfer_syntax_uid", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("source_sha256", Text, nullable=False),
    Column("pixel_sha256", Text),
    Column("size", BigInteger, nullable=False),
    Column("pixels", Text, nullable=False),
    Column("note", Text),
    Column("stored_at", Text, nullable=False),
    Column("verified_at", Text, index=True),
    Column("problem", Text),
    UniqueConstraint("sop_instance_uid"),
)
folders = Table(
    "folders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False, unique=True),
)
batches = Table(
    "batches",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("sources", Integer, nullable=False),
    Column("detail", Text),
    Column("recorded_at", Text, nullable=False),
    Column("previous_sha256", Text, nullable=False),
    Column("sha256", Text, nullable=False),
)
# The last words about sources. These very characters, or SQLite does not use the partial index.
CURRENT = text("NOT superseded")
_REPLACING = text("replaces IS NOT NULL")
sources = Table(
    "sources",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("folder_fk", Integer, ForeignKey("folders.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("device", BigInteger, nullable=False),
    Column("inode", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("ctime_ns", BigInteger, nullable=False),
    Column("sha256", Text),
    Column("outcome", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("path", Text),
    _reference("instance_fk", "instances", nullable=True),
    Column("recorded_at", Text, nullable=False),
    Column("archived_sha256", Text),
    _reference("batch_fk", "batches", nullable=True),
    Column("replaces", Integer, ForeignKey("sources.id")),
    Column("superseded", Boolean, nullable=False, server_default=false()),
    # Partial on PostgreSQL too, see the migrations: saying so here would load its dialect everywhere.
    Index("ix_sources_replaces", "replaces", sqlite_where=_REPLACING),
    Index(
        "uq_sources_version",
        "folder_fk",
        "name",
        "inode",
        "size",
        "mtime_ns",
        "ctime_ns",
        unique=True,
        sqlite_where=CURRENT,
    ),
)
moves = Table(
    "moves",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("plan", Text, nullable=False),
    _reference("batch_fk", "batches", nullable=True),
    Column("sop_instance_uid", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("old_path", Text, nullable=False),
    Column("new_path", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
)
