"""Ownership: two drivers never write to one sweep.

Beside a SQLite record the owner holds a lock of the operating system, which dies with its
process. In PostgreSQL it holds a lease: a row with a fencing token that grows with every owner and
a heartbeat by the server's clock. Every transaction of the owner first asks, in itself,
whether the number is still its own, so that a driver which was frozen past its lease and
comes back cannot write any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import psutil
import sqlalchemy as sa

from raysel.common.disk_errors import cannot
from raysel.common.errors import OperationalError
from raysel.common.locations import storage_of, sweep_command
from raysel.common.user_files import irregular
from raysel.record.database import translate_db_errors, with_tables

RELEASE_SECONDS = 10.0
"""How long a sweep that ends waits for its last heartbeat."""

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
    """Who owns a sweep: a process, and since when (unix time, seconds).

    Attributes:
        place: where its pid means this process: one boot of a machine and one namespace of pids;
            machines and containers may share a host's name. Empty if a record does not have it.
        process_start: when the process began; distinguishes it from a later one of the same pid.
    """

    host: str
    pid: int
    since: float
    place: str = ""
    born: str | None = None

    @classmethod
    def this_process(cls) -> Holder:
        """This process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, time.time(), _place(), process_start(pid))

    @property
    def is_here(self) -> bool:
        """Whether the pid is one that this process can ask about, and signal."""
        return self.place == _place()

    @property
    def is_gone(self) -> bool:
        """It ran on this machine and has ended; unknown for another machine."""
        if not self.is_here:
            return False
        return not psutil.pid_exists(self.pid) or process_start(self.pid) not in (None, self.born)

    def __str__(self) -> str:
        since = time.strftime("%H:%M", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"


def _place() -> str:
    """Scope in which a pid is unique: boot id and pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux: no containers either
        return socket.gethostname()


def process_start(pid: int) -> str | None:
    """When a process began; None if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # in ticks since the boot: psutil's time moves when the machine's clock is set
        return stat.rpartition(")")[2].split()[19]
    except OSError:
        pass
    with suppress(psutil.Error):
        return str(psutil.Process(pid).create_time())
    return None


class OwnedElsewhere(OperationalError):
    """Another process owns the sweep."""

    def __init__(self, sweep: str, holder: Holder | None, storage: str) -> None:
        self.holder = holder
        who = str(holder) if holder else "another process"
        way_on = f"stop it with: {sweep_command('stop', sweep, storage)}"
        super().__init__(sweep, f"is run by {who}; {way_on}")


class OwnershipLost(OperationalError):
    """This process is no longer the owner."""

    def __init__(self, sweep: str) -> None:
        super().__init__(sweep, "was taken over by another process; this one writes nothing more")


class Owner(Protocol):
    """An owned sweep."""

    @property
    def fence(self) -> int | None:
        """The fencing token, which grows with every owner; None for a lock file."""
        ...

    def guard(self, engine: sa.Engine) -> None:
        """Make every transaction of this engine fail once the sweep is lost."""
        ...

    def release(self) -> None:
        """Give the sweep up."""
        ...


# --- a file's lock -----------------------------------------------------------------------------


class FileOwner:
    """Holds the lock file beside a SQLite record."""

    fence = None

    def __init__(self, path: Path, sweep: str) -> None:
        """Take the lock.

        Raises:
            OwnedElsewhere: another process has it.
            OperationalError: the file cannot be written.
        """
        try:
            _refuse_irregular(path)
            stream = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise OperationalError(str(path), cannot("be written", error, path)) from error
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(stream)
            stream.close()
            raise OwnedElsewhere(sweep, holder, str(storage_of(path.parent))) from None
        stream.truncate(0)
        with suppress(OSError):  # the lock holds without words too: rm works on a full disk
            os.write(stream.fileno(), json.dumps(asdict(Holder.this_process())).encode())
        self._stream = stream

    def guard(self, engine: sa.Engine) -> None:
        """Nothing: a lock is not lost."""

    def release(self) -> None:
        """Unlock; the file stays, for a waiting process may have it open."""
        self._stream.truncate(0)
        self._stream.close()


def holder_of_file(path: Path) -> Holder | None:
    """Who holds the lock file, None if nobody does.

    Raises:
        OperationalError: it is no file, or cannot be read.
    """
    _refuse_irregular(path)
    try:
        with path.open("r", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(stream) or Holder("?", 0, path.stat().st_mtime)
    except FileNotFoundError:
        pass
    except OSError as error:  # who holds it cannot be known
        raise OperationalError(str(path), cannot("be read", error, path)) from error
    return None


def _refuse_irregular(path: Path) -> None:
    """Raise `OperationalError` where something else lies in the lock's place: opening a pipe would
    wait for ever."""
    kind = None
    with suppress(OSError):  # none yet, or its reader reports why
        kind = irregular(path)
    if kind:
        raise OperationalError(str(path), f"is {kind} and no lock; nobody holds it, so remove it")


def _read(stream: IO[str]) -> Holder | None:
    stream.seek(0)
    try:
        return Holder(**json.loads(stream.read()))
    except (ValueError, TypeError):
        return None


# --- a lease in the database --------------------------------------------------------------------


def fence_off(engine: sa.Engine, sweep: str, fence: int) -> None:
    """Make every transaction of this engine fail once the sweep has another owner.

    Each asks at its beginning, and keeps the row as it is until it ends; it raises `OwnershipLost`.
    """
    mine = sa.select(_OWNERS.c.id).where(_ROW, _OWNERS.c.fence == fence)
    held = mine.with_for_update(read=True, key_share=True)  # a heartbeat need not wait for it

    def check(connection: sa.Connection) -> None:
        if connection.scalar(held) is None:
            raise OwnershipLost(sweep)

    sa.event.listen(engine, "begin", check)


class LeaseOwner:
    """Holds the lease of a sweep whose record lies in PostgreSQL.

    Attributes:
        fence: the owner's fencing token.
    """

    def __init__(
        self,
        engine: sa.Engine,
        sweep: str,
        storage: str,
        stop: Callable[[], None],
        lost: Callable[[OwnershipLost], None],
    ) -> None:
        """Take the lease; wait until one that nobody renews expires.

        Args:
            engine: of the sweep's record.
            storage: where its files lie.
            stop: is called when `raysel stop` asks from elsewhere.
            lost: is called when another process has taken the lease.

        Raises:
            OwnedElsewhere: another process renews it.
        """
        self._engine, self._sweep, self._storage = engine, sweep, storage
        self._stop, self._lost = stop, lost
        with translate_db_errors(str(engine.url)):
            with with_tables(engine, _OWNERS) as connection:
                if connection.scalar(sa.select(_OWNERS.c.id)) is None:
                    connection.execute(sa.insert(_OWNERS).values(_NOBODY))
            self.fence = self._take()
        self.guard(engine)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def guard(self, engine: sa.Engine) -> None:
        """Make the engine's transactions check the lease."""
        fence_off(engine, self._sweep, self.fence)

    def release(self) -> None:
        """Free the lease; a lost one, or one on an unreachable server, stays."""
        self._ended.set()
        self._thread.join(RELEASE_SECONDS)
        if self._thread.is_alive():
            return  # it waits for a server that is away
        with suppress(OwnershipLost, sa.exc.DBAPIError), self._engine.begin() as connection:
            connection.execute(sa.update(_OWNERS).where(_ROW).values(beat=None))

    def _take(self) -> int:
        deadline = time.monotonic() + LEASE_SECONDS + 5
        seen: object = None
        while True:
            with self._engine.connect() as connection:
                row = _read_row(connection)
            if _is_free(row) and (fence := self._enter()) is not None:
                return fence
            if seen not in (None, row.beat) or time.monotonic() > deadline:
                raise OwnedElsewhere(self._sweep, _holder(row), self._storage)
            seen = row.beat
            time.sleep(1.0)

    def _enter(self) -> int | None:
        """Take a lease that was just free; open transactions of its last owner end first."""
        with self._engine.begin() as connection:
            connection.execute(sa.select(_OWNERS.c.id).where(_ROW).with_for_update())
            row = _read_row(connection)
            if not _is_free(row):
                return None
            fence = row.fence + 1
            holder = json.dumps(asdict(Holder.this_process()))
            heartbeat = sa.func.clock_timestamp()
            taken = sa.update(_OWNERS).where(_ROW)
            connection.execute(taken.values(fence=fence, holder=holder, beat=heartbeat, stop=False))
        return int(fence)

    def _renew(self) -> None:
        heartbeat = (
            sa.update(_OWNERS)
            .where(_ROW, _OWNERS.c.fence == self.fence)
            .values(beat=sa.func.clock_timestamp())
            .returning(_OWNERS.c.stop)
        )
        passed_on = False
        while not self._ended.wait(LEASE_SECONDS / 6):
            try:
                with self._engine.begin() as connection:
                    asked = connection.scalar(heartbeat)
            except OwnershipLost as lost:
                self._lost(lost)
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
        row = _read_row(connection)
    return None if _is_free(row) else _holder(row)


def ask_to_stop(engine: sa.Engine) -> None:
    """Ask the lease's holder, wherever it runs, to end its sweep in order."""
    with engine.begin() as connection:
        connection.execute(sa.update(_OWNERS).where(_ROW).values(stop=True))


_Row = sa.Row[tuple[Any, ...]]
_NOBODY = {"id": 1, "fence": 0, "holder": "", "beat": None, "stop": False}


def _read_row(connection: sa.Connection) -> _Row:
    """The lease, and the seconds since its last heartbeat by the server's clock."""
    age = sa.func.extract("epoch", sa.func.clock_timestamp() - _OWNERS.c.beat).label("age")
    return connection.execute(sa.select(_OWNERS, age).where(_ROW)).one()


def _holder(row: _Row) -> Holder:
    return Holder(**json.loads(row.holder))


def _is_free(row: _Row) -> bool:
    return row.beat is None or row.age > LEASE_SECONDS or _holder(row).is_gone
