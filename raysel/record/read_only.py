"""Read-only access to a record: nothing is created or written, so that a foreign,
a damaged or a read-only database stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from raysel.common.disk_errors import cannot, refused_access
from raysel.common.errors import OperationalError
from raysel.record.database import engine_options, translate_db_errors
from raysel.record.events import Event, cursor_is_behind, stored_events
from raysel.record.ownership import Holder, holder_of_lease


def read_events(url: str) -> list[Event]:
    """Every event of a record, in order.

    Args:
        url: a database URL of `raysel.common.locations`.

    Raises:
        OperationalError: the database cannot be reached or read, or is not a record of raysel's.
    """
    with _opened(url) as engine, translate_db_errors(url), engine.connect() as connection:
        return [stored.event for stored in stored_events(connection)]


def may_be_made(url: str) -> bool:
    """Whether a record's schema exists in PostgreSQL or this user may create it; it is not created.

    Raises:
        OperationalError: the database cannot be reached.
    """
    there = sa.exists().where(_SCHEMAS.c.nspname == _schema_of(url))
    may = sa.func.has_database_privilege(sa.func.current_database(), "CREATE")
    with _opened(url) as engine, translate_db_errors(url), engine.connect() as connection:
        return bool(connection.scalar(sa.select(sa.or_(may, there))))


def is_behind(url: str, reader: str) -> bool:
    """Whether a record holds events that one of its readers has not processed.

    Raises:
        OperationalError: the database cannot be reached or read.
    """
    with _opened(url) as engine, translate_db_errors(url), engine.connect() as connection:
        return cursor_is_behind(connection, reader)


def lease_holder(url: str) -> Holder | None:
    """Who renews the lease of a sweep in PostgreSQL; None for a SQLite record.

    Raises:
        OperationalError: the database cannot be reached.
    """
    if make_url(url).get_backend_name() == "sqlite":
        return None
    with _opened(url) as engine, translate_db_errors(url):
        return holder_of_lease(engine)


def drop_schema(url: str) -> None:
    """Remove a sweep's schema with all its tables from PostgreSQL.

    Raises:
        OperationalError: the database cannot be reached.
    """
    schema = _schema_of(url)
    with _opened(url) as engine, translate_db_errors(url), engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True, if_exists=True))


_SCHEMAS = sa.table("pg_namespace", sa.column("nspname"), schema="pg_catalog")


def _schema_of(url: str) -> str:
    return str(make_url(url).query.get("options", "")).split('"')[1]


@contextmanager
def _opened(url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(_read_only(url), **engine_options(url))
    try:
        yield engine
    finally:
        engine.dispose()


def _read_only(url: str) -> sa.URL:
    """The same database; a SQLite file is opened read-only."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return parsed
    file = Path(parsed.database or "")
    error = refused_access(file, os.R_OK)  # SQLite's own words do not tell reading from writing
    if isinstance(error, FileNotFoundError):
        raise OperationalError(str(file), "is not there")
    if error:
        raise OperationalError(str(file), cannot("be read", error, file))
    query = {"mode": "ro", "uri": "true"}
    if not os.access(file.parent, os.W_OK):
        query["immutable"] = "1"  # such a folder holds no live log: nobody else writes there either
    # SQLite reads a URI: a # in the path would end it
    return sa.URL.create("sqlite", database=f"file:{quote(str(file))}", query=query)
