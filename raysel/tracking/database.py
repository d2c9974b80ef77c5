"""The database of a record: how it is reached, and what befalls it told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from raysel.errors import Trouble

BUSY_SECONDS = 30
"""How long a statement waits while another process writes to the same SQLite file."""


class Damaged(Exception):
    """What was read is not what was written."""


class Foreign(Exception):
    """It is no record, or one of another version of raysel."""


def connect_to(url: str) -> sa.Engine:
    """An engine whose commits are durable when they return; a schema is made where it lacks."""
    if make_url(url).get_backend_name() == "sqlite":
        engine = sa.create_engine(url, **engine_options(url))
        sa.event.listen(engine, "connect", _durable_sqlite)
        return engine
    with told(url):
        engine = sa.create_engine(url, **engine_options(url))
        quoted = str(make_url(url).query.get("options", "")).split('"')
        if len(quoted) == 3:
            schema = quoted[1]
            with engine.begin() as connection:
                connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    return engine


def engine_options(url: str) -> dict[str, Any]:
    """Arguments of `sqlalchemy.create_engine`, for Optuna's storage as well."""
    if make_url(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {
        "pool_pre_ping": True,  # a server that was restarted in between is not noticed
        "connect_args": {"connect_timeout": 10},
    }


@contextmanager
def told(url: str) -> Iterator[None]:
    """Tell what befalls a database in one line.

    Raises:
        Trouble: in the place of whatever SQLAlchemy raises.
    """
    try:
        yield
    except DBAPIError as error:
        raise Trouble(_place(url), _words(str(error.orig).strip())) from error
    except Damaged as error:
        raise Trouble(_place(url), f"{error}; {_WAY_OUT}") from error
    except Foreign as error:
        raise Trouble(_place(url), f"{error}; manifest.json beside it names that one") from error


_WAY_OUT = "go on from its last copy: raysel resume NAME --from-backup"


def _words(error: str) -> str:
    first = error.splitlines()[0] if error else "does not answer"
    if "malformed" in first or "not a database" in first:
        return f"is damaged ({first}); {_WAY_OUT}"
    if "readonly" in first or "unable to open" in first or "permission" in first.lower():
        return f"cannot be written ({first}); look at the rights of the file and its folder"
    if "locked" in first:
        return f"is locked by another program for more than {BUSY_SECONDS} s; end that program"
    if "full" in first or "disk I/O error" in first:
        return f"the disk is full ({first}); make space, then: raysel resume NAME"
    return f"does not answer ({first})"


def _place(url: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return parsed.database or url
    return parsed.difference_update_query(["options"]).render_as_string(hide_password=True)


def _durable_sqlite(connection: Any, _: Any) -> None:
    """A commit is on the disk when it returns, and readers never stop the writer."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")  # first: the next may wait
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
