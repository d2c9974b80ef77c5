import subprocess
import sys

import pytest

from raysel.mlflow_sync.process import EVENTS_CURSOR, FILES_CURSOR, WriterProcess, environment
from raysel.record.events import Event, Record, sqlite_url


@pytest.fixture
def writer(tmp_path):
    url = sqlite_url(tmp_path / "sweep.db")
    Record(url).append(Event("0001", "epoch", 1, 1.0, {}))
    writer = WriterProcess(url, "sqlite:///unused.db", "e", tmp_path / "art", tmp_path / "log")
    yield writer
    writer.stop()


def test_the_driver_never_imports_mlflow():
    code = "import sys, raysel.mlflow_sync.process; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_environment_is_quiet_and_the_users_choices_stand():
    variables = environment({"OMP_NUM_THREADS": "8", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "A": "b"})
    assert variables["OMP_NUM_THREADS"] == "1"
    assert variables["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "60"
    assert variables["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert variables["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert variables["A"] == "b"


def test_a_writer_that_does_not_run_drains_nothing_and_stops(writer):
    assert not writer.alive
    assert writer.lag() == 1
    assert not writer.drain(5)


@pytest.mark.parametrize("lag", [EVENTS_CURSOR, FILES_CURSOR])
def test_all_is_sent_when_events_and_files_are(writer, tmp_path, lag):
    record = Record(sqlite_url(tmp_path / "sweep.db"))
    for name in (EVENTS_CURSOR, FILES_CURSOR):
        record.move_cursor(name, record.last_sequence())
    assert writer.drain(0)
    record.move_cursor(lag, 0)
    assert not writer.drain(0)
