"""Alembic's entry: runs the migrations on the connection that it is handed, within its transaction."""

from __future__ import annotations

from alembic import context

from sorter.index.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
