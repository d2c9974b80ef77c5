"""Migrations of older records to this version: alembic's revisions, in `versions/`.

A new revision gets a file there, and its id becomes `raysel.record.events.REVISION`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def upgrade(connection: sa.Connection) -> None:
    """Apply the missing revisions to an older record, in the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", "raysel.record:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
