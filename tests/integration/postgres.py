"""A PostgreSQL of the tests' own: on loopback, in a folder of its own, gone afterwards."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

_PATIENCE_SECONDS = 30.0
_names = itertools.count(1)


def why_not() -> str | None:
    """Why no server can be started here; None where one can."""
    if not _binaries():
        return "PostgreSQL's server is not installed (Debian's package `postgresql`)"
    if os.geteuid() == 0 and _account() is None:
        return "PostgreSQL refuses to run as root, and there is no account `postgres` or `nobody`"
    return None


class Postgres:
    """A server that can be stopped and started again; every database in it is a test's own.

    Everybody on this machine may connect to it, without a password.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="raysel-postgres-"))
        self._data, self._log = self._folder / "data", self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            os.chown(self._folder, *_account())
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", self._data)
        self.port = _free_port()

    def start(self) -> None:
        """Start it, and wait until it answers. Its port is the same in every life."""
        assert self._process is None
        # a crash of the server alone loses nothing without fsync; a crash of the machine would
        options = ["-F", "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_binaries() / "postgres", "-D", self._data, "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **_not_root(),
            )
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self.takes_connections():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL did not start:\n" + self._log.read_text()[-2000:])
            time.sleep(0.05)

    def stop(self, at_once: bool = False) -> None:
        """Stop it: its clients are thrown out. `at_once` is as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(_PATIENCE_SECONDS)
            self._process = None

    def restart(self, at_once: bool = False) -> None:
        """Stop it and start it again."""
        self.stop(at_once)
        self.start()

    def takes_connections(self) -> bool:
        """Whether it takes a connection."""
        try:
            self._connected("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def new_database(self) -> str:
        """The URL of a fresh and empty database."""
        name = f"test_{next(_names)}"
        with self._connected("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop(at_once=True)
        shutil.rmtree(self._folder)

    def _connected(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def _run(self, name: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [_binaries() / name, *arguments],
            capture_output=True,
            text=True,
            cwd=self._folder,
            **_not_root(),
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def _binaries() -> Path | None:
    """Where the server lies: Debian keeps it out of PATH, one folder a version."""
    debians = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[4])
    )
    found = shutil.which("postgres") or (debians[-1] if debians else None)
    folder = Path(found).resolve().parent if found else None
    return folder if folder and (folder / "initdb").exists() else None


def _account() -> tuple[int, int] | None:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    return None


def _not_root() -> dict[str, object]:
    """For `subprocess`: root starts it as somebody else."""
    if os.geteuid() != 0:
        return {}
    user, group = _account()
    return {"user": user, "group": group, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
