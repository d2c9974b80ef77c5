"""The process that carries a sweep into MLflow: alone, killed, left behind, with no server."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raysel.mlflow_sync.process import EVENTS_CURSOR, FILES_CURSOR, WriterProcess
from raysel.mlflow_sync.worker import only_one
from raysel.record.events import SWEEP, Kind

from .written import WrittenSweep


@pytest.fixture
def sweep(tmp_path, store_folder):
    sweep = WrittenSweep(tmp_path, store_folder)
    yield sweep
    sweep.record.close()


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def test_the_process_sends_all_ends_by_itself_and_is_silent(sweep, capfd):
    sweep.trace("0000", epochs=3)
    sweep.whole_trial("0000")
    writer = sweep.process()
    writer.start()
    assert os.getsid(writer._process.pid) != os.getsid(0)  # a Ctrl-C does not reach it
    assert os.getpriority(os.PRIO_PROCESS, writer._process.pid) >= os.getpriority(
        os.PRIO_PROCESS, 0
    )
    assert writer.drain(60)
    assert writer.lag() == 0
    assert sweep.artifacts("0000", "selection") != []
    assert writer.alive
    sweep.write(SWEEP, Kind.FINISHED, 1, status="COMPLETE", verdict="x")
    assert writer.drain(60)
    wait_until(lambda: not writer.alive)
    assert writer._process.returncode == 0
    writer.stop()
    assert capfd.readouterr() == ("", "")
    assert sweep.log.read_text() == ""


@pytest.mark.slow
def test_b02_a_writer_killed_between_two_batches_leaves_no_second_run(sweep):
    sweep.start("0000")
    sweep.epoch("0000", 1)
    writer = sweep.process()
    writer.start()
    assert writer.drain(60)
    os.kill(writer._process.pid, signal.SIGKILL)
    wait_until(lambda: not writer.alive)
    # as if it had died after MLflow took the batch and before the cursor moved
    sweep.record.move_cursor(EVENTS_CURSOR, sweep.record.last_sequence() - 1)
    sweep.epoch("0000", 2)
    assert writer.drain(60)  # it starts another one
    writer.stop()
    assert len(sweep.runs()) == 2
    assert [p[:2] for p in sweep.points("0000")] == [
        ("best/val_error", 1),
        ("best/val_error", 2),
        ("train/loss", 1),
        ("train/loss", 2),
        ("val/error", 1),
        ("val/error", 2),
    ]


DRIVER = """
import sys, time
from pathlib import Path
from raysel.mlflow_sync.process import WriterProcess
writer = WriterProcess(*sys.argv[1:5], Path(sys.argv[5]))
writer.start()
print(writer._process.pid, flush=True)
time.sleep(600)
"""


def test_the_writer_of_a_killed_driver_sends_what_is_left_and_ends(sweep):
    sweep.whole_trial("0000")
    art = str(sweep.store_folder / "art")
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, sweep.url, sweep.uri, sweep.id, art, str(sweep.log)],
        stdout=subprocess.PIPE,
        text=True,
    )
    writer = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    driver.stdout.close()
    wait_until(lambda: not is_running(writer))
    assert len(sweep.points("0000")) == 9
    assert sweep.record.cursor(FILES_CURSOR) == sweep.record.last_sequence()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_second_writer_waits_for_the_first(tmp_path):
    first = only_one(tmp_path / "log")
    second = threading.Thread(target=lambda: only_one(tmp_path / "log").close())
    second.start()
    second.join(0.2)
    assert second.is_alive()
    first.close()
    second.join(10)
    assert not second.is_alive()


def test_b01_a_server_that_is_not_there_holds_nobody_up(sweep):
    sweep.whole_trial("0000")
    reported = []
    writer = WriterProcess(
        sweep.url, "http://127.0.0.1:9", sweep.id, "", sweep.log, reported.append
    )
    writer.start()
    wait_until(lambda: reported)
    before = time.monotonic()
    assert not writer.drain(60)
    writer.stop()
    assert time.monotonic() - before < 4
    assert reported == [
        "http://127.0.0.1:9 does not answer; the sweep goes on, records are kept and sent later"
    ]
    sweep.export_events()
    assert len(sweep.points("0000")) == 9
