"""Run by alembic: the connection is that of `raysel.record.migrations.upgrade`."""

from __future__ import annotations

from alembic import context

from raysel.record.events import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
