"""Look at a store that is opened without a server before MLflow opens it.

- What lies at the path may be a folder or no database: MLflow would try it for over a minute.
- Its tables may be another version's. MLflow itself would bring older ones up to date unasked,
  where one of today's is missing: a server of the older version, beside it on the same database,
  could then no longer start.
- It may be gone or emptied: MLflow would make tables in it, also for who only looks.
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
from raysel.common.user_files import irregular, reason
from raysel.mlflow_sync.artifact_root import SERVERS

_CONNECT_SECONDS = 10
_HEAD = b"SQLite format 3\0"  # of every database of SQLite's

WAY_ON = (
    "move it away (raysel reconcile SWEEP sends each sweep's runs anew), or give another"
    " tracking.uri"
)
"""What to do about a file that is no store."""


class UnusableStore(Exception):
    """No store that this MLflow can use lies at an address; the words follow the address."""


def lost_store(uri: str) -> str | None:
    """Why there is no store in the SQLite file of a tracking URI, in words: the file is gone or
    empty; None where something is there that `check_store` looks at, or the URI names no file."""
    file = sqlite_file(uri)
    if file is None:
        return None
    try:
        return None if file.stat().st_size else "is empty (0 bytes)"
    except (FileNotFoundError, NotADirectoryError):
        return None if file.is_symlink() else "is not there"
    except OSError:
        return None


def check_store(uri: str) -> None:
    """Look at a store before MLflow does; nothing is written.

    Args:
        uri: a tracking URI; that of a server is not looked at, and neither is a lost store.

    Raises:
        UnusableStore: no database lies there, or one with the tables of an older or newer version.
        sqlalchemy.exc.DBAPIError: it does not answer.
    """
    if uri.startswith(SERVERS) or lost_store(uri):
        return
    file = sqlite_file(uri)
    if file is not None and (wrong := _no_database(file)):
        raise UnusableStore(f"{wrong}; {WAY_ON}")
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
        raise UnusableStore(
            f"has the tables of an MLflow older than {ours} (schema {found or 'unknown'}); "
            f"take a copy, then: {shlex.join(['mlflow', 'db', 'upgrade', uri])}"
        )
    raise UnusableStore(
        f"has the tables of an MLflow newer than {ours} (schema {found}); install that one here"
    )


def _no_database(file: Path) -> str | None:
    """Why what lies at a path is no database of SQLite's; None where it is one by its head."""
    try:
        if file.is_symlink() and not file.exists():
            return f"is a link to {file.readlink()}, which is not there"
        if kind := irregular(file):
            return f"is {kind} and no database"
        with file.open("rb") as stream:
            return None if stream.read(len(_HEAD)) == _HEAD else "is no database of SQLite's"
    except OSError as error:
        return f"cannot be read ({reason(error)})"


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
