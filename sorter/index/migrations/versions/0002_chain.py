"""Batches and their chain, a ledger that only grows, verification, and the journal of moves."""

from __future__ import annotations

import datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

SOURCE_VIEW = """
    CREATE VIEW source_view AS SELECT folders.path || '/' || sources.name AS source, sources.size,
    sources.sha256, sources.outcome, sources.reason, sources.detail,
    COALESCE(instances.path, sources.path) AS path, sources.archived_sha256, sources.batch_fk AS batch,
    sources.recorded_at
    FROM sources JOIN folders ON folders.id = sources.folder_fk
    LEFT JOIN instances ON instances.id = sources.instance_fk
    WHERE NOT sources.superseded
    """
INSTANCE_VIEW = """
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
    instances.pixel_sha256, instances.size, instances.pixels, instances.note, instances.stored_at,
    instances.verified_at, instances.problem
    FROM instances JOIN series ON series.id = instances.series_fk JOIN studies ON studies.id =
    series.study_fk JOIN patients ON patients.id = studies.patient_fk
    """


def upgrade() -> None:
    """Add the tables and columns; all that was recorded so far becomes batch 1."""
    for view in ("source_view", "instance_view"):
        op.execute(f"DROP VIEW {view}")
    op.create_table(
        "batches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sources", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.Text(), nullable=False),
        sa.Column("previous_sha256", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_table(
        "moves",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("batch_fk", sa.Integer(), nullable=True),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("old_path", sa.Text(), nullable=False),
        sa.Column("new_path", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["batch_fk"], ["batches.id"], name=op.f("fk_moves_batch_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_moves")),
    )
    op.create_index(op.f("ix_moves_batch_fk"), "moves", ["batch_fk"], unique=False)
    op.create_index(op.f("ix_moves_state"), "moves", ["state"], unique=False)
    op.add_column("instances", sa.Column("verified_at", sa.Text(), nullable=True))
    op.add_column("instances", sa.Column("problem", sa.Text(), nullable=True))
    op.create_index(op.f("ix_instances_verified_at"), "instances", ["verified_at"], unique=False)
    _sources()
    _first_batch(op.get_bind())
    for view in (SOURCE_VIEW, INSTANCE_VIEW):
        op.execute(view)


def _sources() -> None:
    op.drop_index("uq_sources_version", "sources")
    sqlite = op.get_bind().dialect.name == "sqlite"
    # SQLite can add a foreign key only together with its column.
    references = {"batch_fk": "batches", "replaces": "sources"}
    op.add_column("sources", sa.Column("archived_sha256", sa.Text(), nullable=True))
    for name, table in references.items():
        if sqlite:
            constraint = f"CONSTRAINT fk_sources_{name} REFERENCES {table} (id)"
            op.execute(f"ALTER TABLE sources ADD COLUMN {name} INTEGER {constraint}")
        else:
            op.add_column("sources", sa.Column(name, sa.Integer(), nullable=True))
            op.create_foreign_key(op.f(f"fk_sources_{name}"), "sources", table, [name], ["id"])
    op.add_column("sources", sa.Column("superseded", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index(op.f("ix_sources_batch_fk"), "sources", ["batch_fk"], unique=False)
    op.create_index(
        "ix_sources_replaces",
        "sources",
        ["replaces"],
        unique=False,
        sqlite_where=sa.text("replaces IS NOT NULL"),
        postgresql_where=sa.text("replaces IS NOT NULL"),
    )
    op.create_index(
        "uq_sources_version",
        "sources",
        ["folder_fk", "name", "inode", "size", "mtime_ns", "ctime_ns"],
        unique=True,
        sqlite_where=sa.text("NOT superseded"),
        postgresql_where=sa.text("NOT superseded"),
    )


def _adopted(connection: sa.Connection) -> None:
    """From now on each instance has a row in the ledger; adopted ones had none."""
    unknown = "NOT EXISTS (SELECT 1 FROM sources WHERE instance_fk = instances.id AND outcome = 'stored')"
    if not connection.scalar(sa.text(f"SELECT count(*) FROM instances WHERE {unknown}")):  # noqa: S608 - constant
        return
    connection.execute(sa.text("INSERT INTO folders (path) VALUES ('')"))
    connection.execute(
        sa.text(
            "INSERT INTO sources (folder_fk, name, device, inode, size, mtime_ns, ctime_ns, sha256, outcome, "  # noqa: S608
            "detail, path, instance_fk, recorded_at) SELECT (SELECT id FROM folders WHERE path = ''), path, "
            "0, id, size, 0, 0, sha256, 'stored', 'adopted', path, id, stored_at FROM instances "
            f"WHERE {unknown}"
        )
    )


def _first_batch(connection: sa.Connection) -> None:
    """Seal what was recorded so far."""
    from sorter.index import chain  # noqa: PLC0415 - the digest has one definition
    from sorter.model import BatchKind  # noqa: PLC0415

    if not connection.scalar(sa.text("SELECT count(*) FROM instances")) and not connection.scalar(
        sa.text("SELECT count(*) FROM sources")
    ):
        return
    _adopted(connection)
    connection.execute(
        sa.text(
            "UPDATE sources SET archived_sha256 = (SELECT sha256 FROM instances WHERE id = instance_fk) "
            "WHERE outcome = 'stored'"
        )
    )
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    number = chain.open_batch(connection, BatchKind.MIGRATED, now)
    connection.execute(sa.text("UPDATE sources SET batch_fk = :number"), {"number": number})
    chain.seal(connection, number)
