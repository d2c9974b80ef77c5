"""A record that is damaged, foreign or out of reach: one line with the way out, never a result."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from raysel.common.errors import OperationalError
from raysel.common.locations import BACKUP_FILE, check_record_url, sqlite_url, sweep_url
from raysel.record import database
from raysel.record.events import Event, Record


def filled(path: Path) -> Path:
    record = Record(sqlite_url(path))
    for epoch in range(1, 200):
        record.append(Event("0001", "epoch", epoch, 1.0 + epoch, {"metrics": {"val/error": 0.5}}))
    record.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copy(path, path.with_name(BACKUP_FILE))
    return path


def read(path: Path) -> None:
    record = Record(sqlite_url(path))
    try:
        record.check()
    finally:
        record.close()


def test_an_intact_record_passes(tmp_path):
    read(filled(tmp_path / "sweep.db"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_record_is_reported_with_the_way_out(tmp_path, share):
    path = filled(tmp_path / "sweep.db")
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(OperationalError, match=r"sweep\.db: is damaged.*--from-backup") as reported:
        read(path)
    assert "\n" not in str(reported.value)


def test_something_that_is_no_database_is_reported(tmp_path):
    path = tmp_path / "sweep.db"
    path.write_bytes(b"not a database at all, but long enough" * 200)
    with pytest.raises(OperationalError, match=r"is damaged \(file is not a database\)"):
        read(path)


def test_a_flipped_bit_in_a_number_is_noticed(tmp_path):
    """SQLite itself sees nothing wrong with it."""
    path = filled(tmp_path / "sweep.db")
    content = bytearray(path.read_bytes())
    place = content.rindex(b'"val/error": 0.5') + len(b'"val/error": 0.')
    content[place] ^= 1
    path.write_bytes(content)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    with pytest.raises(
        OperationalError, match=r"event \d+ is not the one that was written.*--from-backup"
    ):
        read(path)


@pytest.mark.parametrize("column", ["trial", "kind", "epoch", "at", "payload"])
def test_every_column_is_under_the_checksum(tmp_path, column):
    path = filled(tmp_path / "sweep.db")
    with sqlite3.connect(path) as connection:
        value = {"epoch": "9999", "at": "0.5", "payload": "'{}'"}.get(column, "'other'")
        connection.execute(f"UPDATE events SET {column} = {value} WHERE sequence = 7")
    connection.close()
    with pytest.raises(OperationalError, match="event 7 is not the one"):
        read(path)


def test_tables_of_a_newer_version_are_reported(tmp_path):
    path = filled(tmp_path / "sweep.db")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE record_revision SET version_num = '9999'")
    connection.close()
    with pytest.raises(
        OperationalError, match=r"newer version of raysel \(revision 9999, this one"
    ):
        read(path)


def test_a_record_that_another_program_locks_is_reported(tmp_path, monkeypatch):
    path = filled(tmp_path / "sweep.db")
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(OperationalError, match="is locked by another program"):
            Record(sqlite_url(path)).append(Event("0002", "epoch", 1, 1.0, {}))
    finally:
        other.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_record_that_may_not_be_written_is_reported(tmp_path):
    path = filled(tmp_path / "sweep.db")
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OperationalError, match="cannot be written"):
            Record(sqlite_url(path)).append(Event("0002", "epoch", 1, 1.0, {}))
    finally:
        tmp_path.chmod(0o700)


def test_a_record_in_a_read_only_place_is_reported(tmp_path):
    """As a file system that is mounted read-only: also for root."""
    filled(tmp_path / "sweep.db")
    url = f"sqlite:///file:{tmp_path / 'sweep.db'}?mode=ro&uri=true"
    with pytest.raises(OperationalError, match=r"cannot be written.*readonly"):
        Record(url).append(Event("0002", "epoch", 1, 1.0, {}))


def test_a_database_server_that_is_not_there_is_reported(tmp_path):
    url = sweep_url("postgresql://nobody@127.0.0.1:1/none", tmp_path / "sweep.db", "digits")
    with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1.*does not answer") as reported:
        Record(url)
    assert "\n" not in str(reported.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/db", "mysql is not supported; give postgresql"),
        ("no url", "is no URL"),
        ("postgresql://me:hunter2@host/db", "holds a password; put it into PGPASSWORD"),
        ("postgresql://me@host/db?password=hunter2", "holds a secret (password); put it"),
        ("postgresql://me@host/db?sslpassword=hunter2", "holds a secret (sslpassword)"),
    ],
)
def test_a_record_url_that_cannot_be_used_is_refused(url, words):
    problem = check_record_url(url, "digits")
    assert problem is not None and words in problem.message and "hunter2" not in problem.message
    assert problem.path == "database_url"


def test_a_database_host_that_vanishes_is_noticed_and_psycopg_knows_how():
    wanted = database.engine_options("postgresql+psycopg://me@host/db")["connect_args"]
    assert wanted["tcp_user_timeout"] == 30_000 and wanted["keepalives_idle"] == 10
    assert "tcp_user_timeout=30000" in make_conninfo(**wanted)  # raises for a key of no meaning


def test_a_password_in_the_query_is_not_reported():
    with pytest.raises(OperationalError) as reported:
        Record("postgresql+psycopg://nobody@127.0.0.1:1/none?password=hunter2&sslmode=disable")
    assert "hunter2" not in str(reported.value) and "sslmode=disable" in str(reported.value)


def test_a_sweep_has_a_schema_of_its_own_in_postgresql(tmp_path):
    url = sweep_url("postgresql://me@host/db", tmp_path / "sweep.db", "my-sweep.2")
    assert "raysel_my-sweep.2" in url and url.startswith("postgresql+psycopg://me@host/db")
    assert sweep_url(None, tmp_path / "sweep.db", "x") == sqlite_url(tmp_path / "sweep.db")
