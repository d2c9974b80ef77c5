"""The database of a record: how it is reached, and its errors in one line."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError

from raysel.common.disk_errors import cannot, is_absent, refused_access
from raysel.common.errors import OperationalError
from raysel.common.locations import continue_command, secret_keys, storage_of, way_back

BUSY_SECONDS = 30
"""How long a statement waits while another process writes to the same SQLite file."""

PATIENCE_SECONDS = 60.0
"""How long to wait for a database server that is being restarted."""

_VANISHED = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}
"""A host that vanished sends nothing: without these a statement waits for it for a quarter of an
hour or for ever. The last exists on Linux only and is ignored elsewhere."""

_T = TypeVar("_T")


class CorruptRecord(Exception):
    """The content of the record is damaged."""


class NoRecord(Exception):
    """The database is not a record of raysel's."""


class SchemaMismatch(Exception):
    """The database is the record of another version of raysel."""


def connect_to(url: str) -> sa.Engine:
    """An engine whose commits are durable when they return."""
    engine = sa.create_engine(url, **engine_options(url))
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _durable_sqlite)
    return engine


def make_private(file: Path) -> None:
    """Make an empty database that only its user may read, unless a file is there.

    It holds every configuration, the command and paths of this machine. SQLite gives its logs the
    same rights; a file whose rights a person has changed keeps them.
    """
    with suppress(OSError):  # SQLite says in its own words what is wrong with the folder
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def engine_options(url: str) -> dict[str, Any]:
    """Arguments of `sqlalchemy.create_engine`, for Optuna's storage as well."""
    if make_url(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {
        "pool_pre_ping": True,  # a server that was restarted in between is not noticed
        "connect_args": {"connect_timeout": 10, **_VANISHED},
    }


@contextmanager
def with_tables(engine: sa.Engine, *tables: sa.Table) -> Iterator[sa.Connection]:
    """A transaction in which the tables exist; missing ones are made.

    One process at a time makes them, and in PostgreSQL the URL's schema: two that look and
    then make would otherwise collide.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            there = sa.inspect(connection)
            if not all(there.has_table(table.name) for table in tables):
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # a reader of a whole one waits not
        if engine.dialect.name == "postgresql":
            schema = _schema(str(engine.url.query.get("options", "")))
            key = zlib.crc32(f"raysel {schema}".encode())
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
            if schema:
                connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
        for table in tables:
            table.create(connection, checkfirst=True)
        yield connection


def _schema(options: str) -> str:
    """PostgreSQL's schema in the options of `raysel.common.locations.sweep_url`."""
    quoted = options.split('"')
    return quoted[1] if len(quoted) == 3 else ""


@contextmanager
def translate_db_errors(url: str) -> Iterator[None]:
    """Translate errors of the database into one-line errors.

    Raises:
        OperationalError: in the place of whatever SQLAlchemy raises, be it inside Optuna's own.
    """
    try:
        yield
    except (CorruptRecord, NoRecord) as error:
        raise OperationalError(_place(url), f"{error}; {_way_out(url)}") from error
    except SchemaMismatch as error:
        raise OperationalError(
            _place(url), f"{error}; manifest.json beside it names that one"
        ) from error
    except Exception as error:
        db_error = _of_the_database(error)
        if db_error is None:
            raise
        raise OperationalError(_place(url), _words(str(db_error.orig).strip(), url)) from error


def retry_on_disconnect(url: str, action: Callable[[], _T]) -> _T:
    """Run an idempotent action, and retry it while the server restarts."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    served = make_url(url).get_backend_name() != "sqlite"
    while True:
        try:
            return action()
        except Exception as error:
            if not (served and is_disconnect(error)) or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def is_disconnect(error: Exception) -> bool:
    """Whether the server cut the connection, so that it may be tried again."""
    db_error = _of_the_database(error)
    if db_error is None:
        return False
    return (
        isinstance(db_error, exc.OperationalError | InterfaceError)
        or db_error.connection_invalidated
    )


def _of_the_database(error: BaseException | None) -> DBAPIError | None:
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    return error


def _way_out(url: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return "bring it back from a backup of the server's"
    folder = _folder(url)
    return way_back(folder, str(storage_of(folder)))


def _folder(url: str) -> Path:
    """The sweep's, whose record lies in a folder of its name."""
    return Path(make_url(url).database or url).parent


def _words(error: str, url: str) -> str:
    first = error.splitlines()[0] if error else "does not answer"
    if any(sign in first for sign in ("malformed", "not a database", "decode to UTF-8")):
        return f"is damaged ({first}); {_way_out(url)}"
    if "readonly" in first or "unable to open" in first:
        return _refused(first, Path(make_url(url).database or url))
    if "permission" in first.lower():
        return f"cannot be used ({first}); look at the rights of this user there"
    if "locked" in first:
        return f"is locked by another program for more than {BUSY_SECONDS} s; end that program"
    if "full" in first or "disk I/O error" in first:
        folder = _folder(url)
        again = continue_command(folder, str(storage_of(folder)))
        return f"the disk is full ({first}); make space, then go on: {again}"
    return f"does not answer ({first})"


def _refused(first: str, file: Path) -> str:
    """Whether a SQLite file may not be read or not be written, and by whom it may."""
    for what, mode in (("be read", os.R_OK), ("be written", os.R_OK | os.W_OK)):
        error = refused_access(file, mode)
        if error and not is_absent(error):
            return cannot(what, error, file)
    try:
        with tempfile.TemporaryFile(dir=file.parent):  # its log lies beside it
            pass
    except OSError as error:
        if not is_absent(error):
            return cannot("be written", error, file.parent)
    return f"cannot be written ({first}); look at the rights of the file and its folder"


def _place(url: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return parsed.database or url
    shown = parsed.difference_update_query(["options", *secret_keys(parsed)])
    return shown.render_as_string(hide_password=True)


def _durable_sqlite(connection: Any, _: Any) -> None:
    """A commit is on the disk when it returns, and readers never stop the writer."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")  # first: the next may wait
    _to_write_ahead(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _to_write_ahead(cursor: Any) -> None:
    """Switch to write-ahead logging; the busy timeout does not cover two concurrent switches."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
