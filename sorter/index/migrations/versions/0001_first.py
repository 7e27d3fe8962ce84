"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

VIEWS = (
    """
    CREATE VIEW instance_view AS SELECT patients.patient_id, patients.issuer_of_patient_id,
    patients.patient_name, patients.patient_birth_date, patients.patient_sex,
    studies.study_instance_uid, studies.study_date, studies.study_time, studies.study_id,
    studies.study_description, studies.accession_number, studies.referring_physician_name,
    studies.institution_name, series.series_instance_uid, series.modality, series.series_number,
    series.series_date, series.series_time, series.series_description, series.protocol_name,
    series.body_part_examined, series.laterality, series.manufacturer,
    series.manufacturer_model_name, series.station_name, series.frame_of_reference_uid,
    instances.sop_instance_uid, instances.sop_class_uid, instances.instance_number,
    instances.acquisition_number, instances.acquisition_date, instances.content_date,
    instances.image_type, instances.number_of_frames, instances.rows, instances.columns,
    instances.bits_allocated, instances.bits_stored, instances.samples_per_pixel,
    instances.photometric_interpretation, instances.path, instances.transfer_syntax_uid,
    instances.source_transfer_syntax_uid, instances.sha256, instances.source_sha256,
    instances.pixel_sha256, instances.size, instances.pixels, instances.note, instances.stored_at
    FROM instances JOIN series ON series.id = instances.series_fk JOIN studies ON studies.id =
    series.study_fk JOIN patients ON patients.id = studies.patient_fk
    """,
    """
    CREATE VIEW source_view AS SELECT folders.path || '/' || sources.name AS source, sources.size,
    sources.sha256, sources.outcome, sources.reason, sources.detail, sources.path,
    sources.recorded_at FROM sources JOIN folders ON folders.id = sources.folder_fk
    """,
)


def upgrade() -> None:
    """The first schema."""
    op.create_table(
        "folders",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_folders")),
        sa.UniqueConstraint("path", name=op.f("uq_folders_path")),
    )
    op.create_table(
        "patients",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=True),
        sa.Column("patient_birth_date", sa.Text(), nullable=True),
        sa.Column("patient_sex", sa.Text(), nullable=True),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("folder_key", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patients")),
        sa.UniqueConstraint("folder_key", name=op.f("uq_patients_folder_key")),
        sa.UniqueConstraint(
            "patient_id", "issuer_of_patient_id", name=op.f("uq_patients_patient_id_issuer_of_patient_id")
        ),
    )
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_fk", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("study_date", sa.Text(), nullable=True),
        sa.Column("study_time", sa.Text(), nullable=True),
        sa.Column("study_id", sa.Text(), nullable=True),
        sa.Column("study_description", sa.Text(), nullable=True),
        sa.Column("accession_number", sa.Text(), nullable=True),
        sa.Column("referring_physician_name", sa.Text(), nullable=True),
        sa.Column("institution_name", sa.Text(), nullable=True),
        sa.Column("date", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["patient_fk"], ["patients.id"], name=op.f("fk_studies_patient_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint(
            "study_instance_uid", "patient_fk", name=op.f("uq_studies_study_instance_uid_patient_fk")
        ),
    )
    op.create_index(op.f("ix_studies_patient_fk"), "studies", ["patient_fk"], unique=False)
    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_fk", sa.Integer(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=True),
        sa.Column("series_number", sa.BigInteger(), nullable=True),
        sa.Column("series_date", sa.Text(), nullable=True),
        sa.Column("series_time", sa.Text(), nullable=True),
        sa.Column("series_description", sa.Text(), nullable=True),
        sa.Column("protocol_name", sa.Text(), nullable=True),
        sa.Column("body_part_examined", sa.Text(), nullable=True),
        sa.Column("laterality", sa.Text(), nullable=True),
        sa.Column("manufacturer", sa.Text(), nullable=True),
        sa.Column("manufacturer_model_name", sa.Text(), nullable=True),
        sa.Column("station_name", sa.Text(), nullable=True),
        sa.Column("frame_of_reference_uid", sa.Text(), nullable=True),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_fk"], ["studies.id"], name=op.f("fk_series_study_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint(
            "series_instance_uid", "study_fk", name=op.f("uq_series_series_instance_uid_study_fk")
        ),
    )
    op.create_index(op.f("ix_series_folder"), "series", ["folder"], unique=False)
    op.create_index(op.f("ix_series_study_fk"), "series", ["study_fk"], unique=False)
    op.create_table(
        "instances",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series_fk", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=True),
        sa.Column("instance_number", sa.BigInteger(), nullable=True),
        sa.Column("acquisition_number", sa.BigInteger(), nullable=True),
        sa.Column("acquisition_date", sa.Text(), nullable=True),
        sa.Column("content_date", sa.Text(), nullable=True),
        sa.Column("image_type", sa.Text(), nullable=True),
        sa.Column("number_of_frames", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("columns", sa.BigInteger(), nullable=True),
        sa.Column("bits_allocated", sa.BigInteger(), nullable=True),
        sa.Column("bits_stored", sa.BigInteger(), nullable=True),
        sa.Column("samples_per_pixel", sa.BigInteger(), nullable=True),
        sa.Column("photometric_interpretation", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("path_key", sa.BigInteger(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(), nullable=False),
        sa.Column("source_transfer_syntax_uid", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("source_sha256", sa.Text(), nullable=False),
        sa.Column("pixel_sha256", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("pixels", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("stored_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["series_fk"], ["series.id"], name=op.f("fk_instances_series_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_instances_sop_instance_uid")),
    )
    op.create_index(op.f("ix_instances_path_key"), "instances", ["path_key"], unique=False)
    op.create_index(op.f("ix_instances_series_fk"), "instances", ["series_fk"], unique=False)
    op.create_table(
        "sources",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("folder_fk", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("device", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("ctime_ns", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("instance_fk", sa.Integer(), nullable=True),
        sa.Column("recorded_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["folder_fk"], ["folders.id"], name=op.f("fk_sources_folder_fk")),
        sa.ForeignKeyConstraint(["instance_fk"], ["instances.id"], name=op.f("fk_sources_instance_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
    )
    op.create_index(op.f("ix_sources_instance_fk"), "sources", ["instance_fk"], unique=False)
    op.create_index(
        "uq_sources_version",
        "sources",
        ["folder_fk", "name", "inode", "size", "mtime_ns", "ctime_ns"],
        unique=True,
    )
    for view in VIEWS:
        op.execute(view)
