"""One owner: two drivers never write to one sweep.

Beside a SQLite record the owner holds a lock of the operating system, which dies with its
process. In PostgreSQL it holds a lease: a row with a number that grows with every owner and
a heartbeat by the server's clock. Every transaction of the owner first asks, in itself,
whether the number is still its own, so that a driver which was frozen past its lease and
comes back can write nothing more.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Protocol

import psutil
import sqlalchemy as sa

from raysel.errors import Trouble
from raysel.tracking.database import told

LEASE_SECONDS = 30.0
"""After so long without a heartbeat a sweep may be taken over."""

_OWNERS = sa.Table(
    "owner",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("beat", sa.DateTime(timezone=True)),
    sa.Column("stop", sa.Boolean, nullable=False),
)
_ROW = _OWNERS.c.id == 1


@dataclass(frozen=True)
class Holder:
    """Who owns a sweep: a process, and since when (unix time, seconds)."""

    host: str
    pid: int
    since: float

    @classmethod
    def this_process(cls) -> Holder:
        """The process that asks."""
        return cls(socket.gethostname(), os.getpid(), time.time())

    @property
    def is_gone(self) -> bool:
        """It ran on this machine and does so no more; of another machine nothing is known."""
        return self.host == socket.gethostname() and not psutil.pid_exists(self.pid)

    def __str__(self) -> str:
        since = time.strftime("%H:%M", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"


class Held(Trouble):
    """Somebody else owns the sweep."""

    def __init__(self, sweep: str, holder: Holder | None) -> None:
        self.holder = holder
        who = str(holder) if holder else "another process"
        super().__init__(sweep, f"is run by {who}; stop it with: raysel stop {sweep}")


class Lost(Trouble):
    """This process was the owner and is it no more."""

    def __init__(self, sweep: str) -> None:
        super().__init__(sweep, "was taken over by another process; this one writes nothing more")


class Owner(Protocol):
    """An owned sweep."""

    def guard(self, engine: sa.Engine) -> None:
        """Let no transaction of this engine through once the sweep is lost."""
        ...

    def release(self) -> None:
        """Give the sweep up."""
        ...


# --- a file's lock -----------------------------------------------------------------------------


class FileOwner:
    """Holds the lock file beside a SQLite record."""

    def __init__(self, path: Path, sweep: str) -> None:
        """Take the lock.

        Raises:
            Held: another process has it.
        """
        stream = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(stream)
            stream.close()
            raise Held(sweep, holder) from None
        stream.truncate(0)
        stream.write(json.dumps(asdict(Holder.this_process())))
        stream.flush()
        self._stream = stream

    def guard(self, engine: sa.Engine) -> None:
        """Nothing: a lock is not lost."""

    def release(self) -> None:
        """Unlock; the file stays, for a waiting process may have it open."""
        self._stream.truncate(0)
        self._stream.close()


def holder_of_file(path: Path) -> Holder | None:
    """Who holds the lock file, None if nobody does."""
    try:
        with path.open("r", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(stream) or Holder("?", 0, path.stat().st_mtime)
    except FileNotFoundError:
        pass
    return None


def _read(stream: IO[str]) -> Holder | None:
    stream.seek(0)
    try:
        return Holder(**json.loads(stream.read()))
    except (ValueError, TypeError):
        return None


# --- a lease in the database --------------------------------------------------------------------


class LeaseOwner:
    """Holds the lease of a sweep whose record lies in PostgreSQL."""

    def __init__(self, engine: sa.Engine, sweep: str, stop: Callable[[], None]) -> None:
        """Take the lease; one that nobody renews is waited out.

        Args:
            engine: of the sweep's record.
            stop: is called when `raysel stop` asks from elsewhere, and when the lease is lost.

        Raises:
            Held: somebody else renews it.
        """
        self._engine, self._sweep, self._stop = engine, sweep, stop
        place = engine.url.render_as_string(hide_password=False)
        with told(place):
            _OWNERS.create(engine, checkfirst=True)
            self._fence = self._take()
        self.lost = False
        self.guard(engine)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def guard(self, engine: sa.Engine) -> None:
        """Ask in each transaction, and keep the row as it is until the transaction ends."""
        mine = sa.select(_OWNERS.c.id).where(_ROW, _OWNERS.c.fence == self._fence)

        def check(connection: sa.Connection) -> None:
            if connection.scalar(mine.with_for_update(read=True)) is None:
                raise Lost(self._sweep)

        sa.event.listen(engine, "begin", check)

    def release(self) -> None:
        """Let the next owner in at once."""
        self._ended.set()
        self._thread.join()
        if not self.lost:
            with self._engine.begin() as connection:
                connection.execute(sa.update(_OWNERS).where(_ROW).values(beat=None))

    def _take(self) -> int:
        deadline = time.monotonic() + LEASE_SECONDS + 5
        seen: object = None
        while True:
            with self._engine.begin() as connection:
                row = connection.execute(
                    sa.select(_OWNERS, _age()).where(_ROW).with_for_update()
                ).first()
                if row is None or _is_free(row):
                    return self._enter(connection, row)
            if seen not in (None, row.beat) or time.monotonic() > deadline:
                raise Held(self._sweep, Holder(**json.loads(row.holder)))
            seen = row.beat
            time.sleep(1.0)

    def _enter(self, connection: sa.Connection, row: sa.Row[tuple[object, ...]] | None) -> int:
        fence = 1 if row is None else row.fence + 1
        values = {
            "fence": fence,
            "holder": json.dumps(asdict(Holder.this_process())),
            "beat": sa.func.clock_timestamp(),
            "stop": False,
        }
        if row is None:
            connection.execute(sa.insert(_OWNERS).values(id=1, **values))
        else:
            connection.execute(sa.update(_OWNERS).where(_ROW).values(**values))
        return int(fence)

    def _renew(self) -> None:
        beat = (
            sa.update(_OWNERS)
            .where(_ROW, _OWNERS.c.fence == self._fence)
            .values(beat=sa.func.clock_timestamp())
            .returning(_OWNERS.c.stop)
        )
        passed_on = False
        while not self._ended.wait(LEASE_SECONDS / 6):
            try:
                with self._engine.begin() as connection:
                    asked = connection.scalar(beat)
            except Lost:
                self.lost = True
                self._stop()
                return
            except sa.exc.DBAPIError:
                continue  # the server is away; what is written waits for it too
            if asked and not passed_on:
                passed_on = True  # the lease is kept until the sweep has ended
                self._stop()


def holder_of_lease(engine: sa.Engine) -> Holder | None:
    """Who renews the lease, None if nobody does."""
    if not sa.inspect(engine).has_table(_OWNERS.name):
        return None
    with engine.connect() as connection:
        row = connection.execute(sa.select(_OWNERS, _age()).where(_ROW)).first()
    return None if row is None or _is_free(row) else Holder(**json.loads(row.holder))


def ask_to_stop(engine: sa.Engine) -> None:
    """Ask the lease's holder, wherever it runs, to end its sweep in order."""
    with engine.begin() as connection:
        connection.execute(sa.update(_OWNERS).where(_ROW).values(stop=True))


def _age() -> sa.Label[int]:
    """Seconds since the last heartbeat, by the server's clock."""
    age = sa.func.clock_timestamp() - _OWNERS.c.beat
    return sa.func.extract("epoch", age).label("age")


def _is_free(row: sa.Row[tuple[object, ...]]) -> bool:
    if row.beat is None or row.age > LEASE_SECONDS:
        return True
    return Holder(**json.loads(row.holder)).is_gone
