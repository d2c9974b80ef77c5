"""The record: what happened in a sweep, event by event, in a database.

An event is on the disk when `Record.append` returns. A record that an older raysel made is
brought up to date when it is opened for writing (`raysel.record.migrations`).

Connections are made in `raysel.record.database`; URLs in
`raysel.common.locations`.
"""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from raysel.common.locations import sqlite_file
from raysel.common.locations import sqlite_url as sqlite_url  # beside what it opens
from raysel.record.database import (
    CorruptRecord,
    NoRecord,
    SchemaMismatch,
    connect_to,
    make_private,
    retry_on_disconnect,
    translate_db_errors,
    with_tables,
)

VERSION_TABLE = "record_revision"
"""Which revision the tables are of; in Optuna's and MLflow's databases it is `alembic_version`."""

SWEEP = ""
"""The `trial` of an event that concerns the sweep as a whole."""

REVISION = "0001"
"""The newest of `raysel.record.migrations`, which the tables and payloads here follow."""

_T = TypeVar("_T")


class Kind(str, Enum):
    """The kind of an event."""

    SWEEP = "sweep"
    STARTED = "started"
    EPOCH = "epoch"
    ENDED = "ended"
    INTERRUPTED = "interrupted"
    RESUMED = "resumed"
    FINISHED = "finished"


@dataclass(frozen=True)
class Event:
    """One event of a sweep.

    Attributes:
        trial: the trial's id (`0007`, `confirm-full-s0`), or `SWEEP`.
        kind: what the event says; a `Kind`, equal to its plain string.
        epoch: the epoch (from 1) it concerns; 0 for `sweep` and `started`, the number of the
            driver's attempt (from 1) for `interrupted`, `resumed` and `finished`.
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
    sa.Column("checksum", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("trial", "kind", "epoch"),
    sqlite_autoincrement=True,  # a sequence is never used twice: cursors point at them
)

_INSERT = sa.insert(_EVENTS)  # making it anew took a quarter of an event's processor time

_CURSORS = sa.Table(
    "cursors",
    _METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("sequence", sa.Integer, nullable=False),
)


_REVISIONS = sa.Table(
    VERSION_TABLE, _METADATA, sa.Column("version_num", sa.String(32), primary_key=True)
)

_FIRST = "record_version"
"""A table of the records that were made before there were revisions."""


class Record:
    """The events of one sweep, and the cursors of their readers.

    One process appends (the driver); any number may read. Safe to use from several threads.
    """

    def __init__(self, url: str) -> None:
        """Open the record, with empty tables where there are none.

        Args:
            url: a database URL of `raysel.common.locations`.

        Raises:
            OperationalError: the database cannot be reached, read or written, or its tables are
                those of a newer version of raysel.
        """
        self.url = url
        if (file := sqlite_file(url)) is not None:
            make_private(file)
        self._engine = connect_to(url)
        with (
            translate_db_errors(url),
            with_tables(self._engine, *_METADATA.sorted_tables) as connection,
        ):
            _bring_up_to_date(connection)

    @property
    def engine(self) -> sa.Engine:
        """The connections, so that a guard can check every transaction."""
        return self._engine

    def check(self) -> None:
        """Read everything once.

        Raises:
            OperationalError: something in the record is damaged.
        """
        if self._engine.dialect.name == "sqlite":
            self._safely(self._check_file)
        self.events()

    def _check_file(self) -> None:
        with self._engine.connect() as connection:
            answer = connection.scalar(sa.text("PRAGMA integrity_check(1)"))
        if answer != "ok":
            raise CorruptRecord(f"is damaged ({' '.join(str(answer).split())})")

    def append(self, *events: Event) -> bool:
        """Commit events, all of them or none.

        Returns:
            True once they are durable; False if an event with the same trial, kind and epoch
            was there before, which stays as it was; nothing is written then.

        Raises:
            TypeError: the payload holds something that JSON does not know.
        """
        rows = [_row(event) for event in events]
        tries = itertools.count()
        return self._safely(lambda: self._insert(rows, again=next(tries) > 0))

    def _insert(self, rows: Sequence[Mapping[str, Any]], again: bool) -> bool:
        try:
            with self._engine.begin() as connection:
                if rows:
                    connection.execute(_INSERT, rows)
        except IntegrityError:
            # a server that was cut off may have committed them and could not say so any more
            return again and self._has(rows[0])
        return True

    def _has(self, row: Mapping[str, Any]) -> bool:
        """Whether this very event is there, and not another attempt's of the same key."""
        same = (_EVENTS.c[name] == row[name] for name in ("trial", "kind", "epoch", "checksum"))
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(_EVENTS.c.sequence).where(*same)) is not None

    def _safely(self, action: Callable[[], _T]) -> _T:
        """Run an idempotent action; wait for a server that was cut off."""
        with translate_db_errors(self.url):
            return retry_on_disconnect(self.url, action)

    def events(self, after: int = 0, limit: int | None = None) -> list[StoredEvent]:
        """The events whose sequence is above `after`, in order; at most `limit`."""
        query = sa.select(_EVENTS).where(_EVENTS.c.sequence > after).order_by(_EVENTS.c.sequence)

        def read() -> list[StoredEvent]:
            with self._engine.connect() as connection:
                return [_stored(row) for row in connection.execute(query.limit(limit))]

        return self._safely(read)

    def last_sequence(self) -> int:
        """The sequence of the newest event; 0 for an empty record."""
        return self._number(sa.select(sa.func.max(_EVENTS.c.sequence)))

    def cursor(self, name: str) -> int:
        """The sequence up to which the reader `name` has processed events; 0 at first."""
        return self._number(sa.select(_CURSORS.c.sequence).where(_CURSORS.c.name == name))

    def _number(self, query: sa.Select[tuple[int]]) -> int:
        def read() -> int:
            with self._engine.connect() as connection:
                return connection.scalar(query) or 0

        return self._safely(read)

    def move_cursor(self, name: str, sequence: int) -> None:
        """Record durably that the reader `name` has processed everything up to `sequence`.

        A name belongs to one process at a time.
        """
        moved = sa.update(_CURSORS).where(_CURSORS.c.name == name).values(sequence=sequence)

        def move() -> None:
            with self._engine.begin() as connection:
                if not connection.execute(moved).rowcount:
                    connection.execute(sa.insert(_CURSORS).values(name=name, sequence=sequence))

        self._safely(move)

    def rename_sweep(self, sweep_id: str, cursors: Iterable[str]) -> None:
        """Give the sweep another id, and let these readers begin anew, in one transaction."""
        first = (_EVENTS.c.trial == SWEEP, _EVENTS.c.kind == Kind.SWEEP.value)

        def rename() -> None:
            with self._engine.begin() as connection:
                row = connection.execute(sa.select(_EVENTS).where(*first)).one()._asdict()
                payload = json.loads(row["payload"]) | {"sweep_id": sweep_id}
                row["payload"] = payload_text(payload)
                new = {"payload": row["payload"], "checksum": checksum(row)}
                connection.execute(sa.update(_EVENTS).where(*first).values(new))
                named = _CURSORS.c.name.in_(list(cursors))
                connection.execute(sa.update(_CURSORS).where(named).values(sequence=0))

        self._safely(rename)

    def close(self) -> None:
        """Give the connections back; the record can be opened again."""
        self._engine.dispose()


def _bring_up_to_date(connection: sa.Connection) -> None:
    found = connection.scalar(sa.select(_REVISIONS.c.version_num))
    if found is None and not sa.inspect(connection).has_table(_FIRST):
        connection.execute(sa.insert(_REVISIONS).values(version_num=REVISION))
    elif found is None or found < REVISION:
        from raysel.record.migrations import upgrade  # noqa: PLC0415

        upgrade(connection)
    elif found > REVISION:
        raise SchemaMismatch(
            f"its tables are those of a newer version of raysel (revision {found}, this one has"
            f" {REVISION})"
        )


def stored_events(connection: sa.Connection) -> list[StoredEvent]:
    """Every event that a database holds, in order, for a reader that makes no tables.

    Raises:
        NoRecord: the database is none.
        SchemaMismatch: it is one of a newer version.
    """
    tables = set(sa.inspect(connection).get_table_names())
    if _EVENTS.name not in tables:
        raise NoRecord("is not a record of raysel's")
    revision = (
        connection.scalar(sa.select(_REVISIONS.c.version_num))
        if _REVISIONS.name in tables
        else None
    )
    if revision is None and _FIRST not in tables:
        raise NoRecord("is not a record of raysel's")
    if revision is not None and revision > REVISION:
        raise SchemaMismatch("is the record of a newer version of raysel")
    query = sa.select(_EVENTS).order_by(_EVENTS.c.sequence)
    return [_stored(row) for row in connection.execute(query)]


def cursor_is_behind(connection: sa.Connection, name: str) -> bool:
    """Whether there are events after the reader's cursor."""
    cursor = connection.scalar(sa.select(_CURSORS.c.sequence).where(_CURSORS.c.name == name))
    return (connection.scalar(sa.select(sa.func.max(_EVENTS.c.sequence))) or 0) > (cursor or 0)


def finite(value: Any) -> Any:
    """The same value with None in the place of every float that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _row(event: Event) -> dict[str, Any]:
    row = {
        "trial": event.trial,
        "kind": Kind(event.kind).value,
        "epoch": event.epoch,
        "at": float(event.at),
        "payload": payload_text(event.payload),
    }
    return row | {"checksum": checksum(row)}


def payload_text(payload: Mapping[str, Any]) -> str:
    """A payload as the record keeps it."""
    return json.dumps(finite(payload), allow_nan=False, ensure_ascii=False)


def _stored(row: sa.Row[Any]) -> StoredEvent:
    if row.checksum != checksum(row._asdict()):
        raise CorruptRecord(f"event {row.sequence} is not the one that was written")
    event = Event(row.trial, row.kind, row.epoch, row.at, json.loads(row.payload))
    return StoredEvent(row.sequence, event)


def checksum(row: Mapping[str, Any]) -> int:
    """Checksum of an event's values: SQLite itself does not detect a flipped bit."""
    texts = [row["trial"], row["kind"], row["epoch"], repr(row["at"]), row["payload"]]
    return zlib.crc32("\0".join(map(str, texts)).encode(errors="replace"))
