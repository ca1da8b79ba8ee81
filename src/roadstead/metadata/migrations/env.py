"""Alembic's entry point: runs the scripts on the connection that `migrations.upgrade` opened."""

from __future__ import annotations

from alembic import context

from roadstead.metadata.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
