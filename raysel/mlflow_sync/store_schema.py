"""The tables of a store that is opened without a server: MLflow's own version, or another's.

MLflow itself would bring older tables up to date unasked, where one of today's is missing: a
server of the older version, beside it on the same database, could then no longer start.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import mlflow
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import make_url

from raysel.common.locations import sqlite_file
from raysel.mlflow_sync.artifact_root import SERVERS

_CONNECT_SECONDS = 10


class OtherSchema(Exception):
    """A store has the tables of another version of MLflow; the words follow its address."""


def check_schema(uri: str) -> None:
    """Look at a store before MLflow does; nothing is written.

    Args:
        uri: a tracking URI; that of a server is not looked at.

    Raises:
        OtherSchema: its tables are those of an older or a newer version.
        sqlalchemy.exc.DBAPIError: it does not answer.
    """
    file = sqlite_file(uri)
    if uri.startswith(SERVERS) or (file is not None and not file.is_file()):
        return
    found = _revision(uri)
    if found is None:
        return
    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if found == scripts.get_current_head():
        return
    ours = f"MLflow {mlflow.__version__}"
    try:
        known = bool(found) and scripts.get_revision(found) is not None
    except CommandError:
        known = False
    if known or not found:
        raise OtherSchema(
            f"has the tables of an MLflow older than {ours} (schema {found or 'unknown'}); "
            f"take a copy, then: {shlex.join(['mlflow', 'db', 'upgrade', uri])}"
        )
    raise OtherSchema(
        f"has the tables of an MLflow newer than {ours} (schema {found}); install that one here"
    )


def _revision(uri: str) -> str | None:
    """The store's revision; "" where it has tables without one, None where it has no tables."""
    url = make_url(uri)
    patience = {"connect_timeout": _CONNECT_SECONDS} if url.get_backend_name() != "sqlite" else {}
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=patience)
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        if "experiments" not in tables:
            return None
        if "alembic_version" not in tables:
            return ""
        return connection.scalar(sa.text("SELECT version_num FROM alembic_version")) or ""
