"""Run by Alembic: migrates on the connection that the journal hands over, in its one transaction."""

from __future__ import annotations

from alembic import context

from recoverd.journal.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's DDL is transactional too: a migration that is killed leaves nothing
)
context.run_migrations()
