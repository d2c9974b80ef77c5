"""Reading a record takes nothing from who has it open."""

import os
import subprocess
import sys

import pytest
from rights_kit import refused

from raysel.common.disk_errors import refused_access
from raysel.common.errors import OperationalError
from raysel.common.locations import sqlite_url
from raysel.record.event_log import EventLog
from raysel.record.events import Record
from raysel.record.read_only import is_behind, read_events

LAST_TO_CLOSE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM events").fetchone()
connection.close()
"""


@pytest.mark.parametrize("read", [read_events, lambda url: is_behind(url, "mlflow")])
def test_the_log_stays_where_another_process_closes_it_after_a_reading_in_this_one(tmp_path, read):
    """SQLite's locks belong to a process, which loses them all when it closes any handle of the
    file: the other one then took itself for the last and removed the log of an open record."""
    file = tmp_path / "sweep.db"
    record = Record(sqlite_url(file))
    EventLog(record, 1).epoch("0000", 1, {}, None)
    log = file.with_name("sweep.db-wal")
    before = log.stat().st_ino
    read(sqlite_url(file))
    subprocess.run([sys.executable, "-c", LAST_TO_CLOSE, str(file)], check=True)
    assert log.stat().st_ino == before
    record.close()


def test_a_record_that_is_not_there_or_is_a_folder_is_named(tmp_path):
    (tmp_path / "sweep.db").mkdir()
    with pytest.raises(OperationalError, match="directory"):
        read_events(sqlite_url(tmp_path / "sweep.db"))
    with pytest.raises(OperationalError, match="is not there"):
        read_events(sqlite_url(tmp_path / "other.db"))


def test_a_file_that_may_not_be_read_is_refused_without_opening_it(tmp_path):
    file = tmp_path / "sweep.db"
    file.touch()
    assert refused_access(file, os.R_OK | os.W_OK) is None
    with refused(file):
        error = refused_access(file, os.R_OK)
    assert isinstance(error, PermissionError) and error.filename == str(file)
