"""The record: what happened in a sweep, event by event, in a database.

An event is on the disk when `Record.append` returns. Optuna's study may lie in the same
database: its tables have other names (`studies`, `trials`, …). MLflow's may not: both MLflow
and Optuna keep a table named `alembic_version`.

Any database that SQLAlchemy reaches will do; what is special to SQLite stands in
`_durable_sqlite`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError

SWEEP = ""
"""The `trial` of an event that concerns the sweep as a whole."""

BUSY_SECONDS = 30
"""How long a statement waits while another process writes to the same SQLite file."""


class Kind(str, Enum):
    """What an event says."""

    SWEEP = "sweep"
    STARTED = "started"
    EPOCH = "epoch"
    ENDED = "ended"
    INTERRUPTED = "interrupted"
    RESUMED = "resumed"
    FINISHED = "finished"


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        trial: the trial's id (`0007`, `confirm-full-s0`), or `SWEEP`.
        kind: what the event says; a `Kind`, equal to its plain string.
        epoch: the epoch (from 1) it concerns; 0 for `sweep` and `started`, the number of the
            driver's life (from 1) for `interrupted`, `resumed` and `finished`.
        at: unix time, seconds.
        payload: JSON values. A float that is not finite has no JSON: it is kept as null,
            and reads back as None.
    """

    trial: str
    kind: str
    epoch: int
    at: float
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredEvent:
    """An event and its place in the record; sequences grow, with gaps."""

    sequence: int
    event: Event


_METADATA = sa.MetaData()

_EVENTS = sa.Table(
    "events",
    _METADATA,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("trial", sa.String(128), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("at", sa.Float(53), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.UniqueConstraint("trial", "kind", "epoch"),
    sqlite_autoincrement=True,  # a sequence is never used twice: cursors point at them
)

_CURSORS = sa.Table(
    "cursors",
    _METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("sequence", sa.Integer, nullable=False),
)


def sqlite_url(path: Path) -> str:
    """The database URL of a SQLite file; the path is made absolute."""
    return str(URL.create("sqlite", database=str(path.absolute())))


class Record:
    """The events of one sweep, and how far their readers have come.

    One process appends (the driver); any number may read. Safe to use from several threads.
    """

    def __init__(self, url: str) -> None:
        """Open the record, with empty tables where there are none.

        Args:
            url: a database URL. A SQLite file must lie on a local disk, in a folder that
                exists: its write-ahead log does not work over a network file system.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database cannot be reached or written.
        """
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _durable_sqlite)
        _METADATA.create_all(self._engine)

    def append(self, event: Event) -> bool:
        """Commit an event.

        Returns:
            True once it is durable; False if an event with the same trial, kind and epoch
            was there before, which stays as it was.

        Raises:
            TypeError: the payload holds something that JSON does not know.
        """
        row = {
            "trial": event.trial,
            "kind": Kind(event.kind).value,
            "epoch": event.epoch,
            "at": event.at,
            "payload": json.dumps(_finite(event.payload), allow_nan=False, ensure_ascii=False),
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(_EVENTS).values(row))
        except IntegrityError:
            return False
        return True

    def events(self, after: int = 0, limit: int | None = None) -> list[StoredEvent]:
        """The events whose sequence is above `after`, in order; at most `limit`."""
        query = sa.select(_EVENTS).where(_EVENTS.c.sequence > after).order_by(_EVENTS.c.sequence)
        with self._engine.connect() as connection:
            return [_stored(row) for row in connection.execute(query.limit(limit))]

    def last_sequence(self) -> int:
        """The sequence of the newest event; 0 for an empty record."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.max(_EVENTS.c.sequence))) or 0

    def cursor(self, name: str) -> int:
        """The sequence up to which the reader `name` has done its work; 0 at first."""
        query = sa.select(_CURSORS.c.sequence).where(_CURSORS.c.name == name)
        with self._engine.connect() as connection:
            return connection.scalar(query) or 0

    def move_cursor(self, name: str, sequence: int) -> None:
        """Say durably that the reader `name` has done its work up to `sequence`.

        A name belongs to one process at a time.
        """
        moved = sa.update(_CURSORS).where(_CURSORS.c.name == name).values(sequence=sequence)
        with self._engine.begin() as connection:
            if not connection.execute(moved).rowcount:
                connection.execute(sa.insert(_CURSORS).values(name=name, sequence=sequence))

    def close(self) -> None:
        """Give the connections back; the record can be opened again."""
        self._engine.dispose()


def _durable_sqlite(connection: Any, _: Any) -> None:
    """A commit is on the disk when it returns, and readers never stop the writer."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")  # first: the next may wait
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _finite(value: Any) -> Any:
    """The same value with None in the place of every float that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _stored(row: sa.Row[Any]) -> StoredEvent:
    event = Event(row.trial, row.kind, row.epoch, row.at, json.loads(row.payload))
    return StoredEvent(row.sequence, event)
