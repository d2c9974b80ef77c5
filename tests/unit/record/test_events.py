import math
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from raysel.record.events import SWEEP, Event, Kind, Record, sqlite_url


@pytest.fixture
def record(tmp_path):
    record = Record(sqlite_url(tmp_path / "sweep.db"))
    yield record
    record.close()


def epoch(number, **metrics):
    return Event("0001", Kind.EPOCH, number, 1000.25 + number, {"metrics": metrics})


def test_events_come_back_in_order_as_they_were(record):
    written = [Event(SWEEP, Kind.SWEEP, 0, 999.5, {"name": "é"}), epoch(1, a=0.1), epoch(2, a=0.2)]
    assert [record.append(event) for event in written] == [True, True, True]
    stored = record.events()
    assert [s.event for s in stored] == written
    assert [s.sequence for s in stored] == sorted({s.sequence for s in stored})


def test_events_after_a_sequence_and_at_most_so_many(record):
    for number in range(1, 6):
        record.append(epoch(number))
    stored = record.events()
    assert record.events(after=stored[1].sequence, limit=2) == stored[2:4]
    assert record.events(after=record.last_sequence()) == []


def test_the_same_key_is_refused_and_the_first_event_stays(record):
    assert record.append(epoch(1, a=0.1))
    assert not record.append(replace(epoch(1, a=0.9), at=5.0))
    assert [s.event for s in record.events()] == [epoch(1, a=0.1)]


@pytest.mark.parametrize(
    "other", [{"trial": "0002"}, {"kind": Kind.ENDED}, {"epoch": 2}], ids=lambda o: next(iter(o))
)
def test_each_part_of_the_key_counts(record, other):
    assert record.append(epoch(1))
    assert record.append(replace(epoch(1), **other))


def test_a_float_that_is_not_finite_is_kept_as_null(record):
    record.append(epoch(1, nan=math.nan, up=math.inf, list_=[1.0, -math.inf], good=1.5))
    metrics = record.events()[0].event.payload["metrics"]
    assert metrics == {"nan": None, "up": None, "list_": [1.0, None], "good": 1.5}


def test_what_json_does_not_know_and_unknown_kinds_raise(record):
    with pytest.raises(TypeError):
        record.append(epoch(1, a=object()))
    with pytest.raises(ValueError, match="epok"):
        record.append(Event("0001", "epok", 1, 0.0))
    assert record.last_sequence() == 0


def test_an_event_survives_the_death_of_its_process(tmp_path):
    url = sqlite_url(tmp_path / "sweep.db")
    code = (
        "import os, sys; from raysel.record.events import *;"
        "Record(sys.argv[1]).append(Event('0001', 'epoch', 3, 1.0, {}));"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, url]).returncode == -9
    assert [s.event.epoch for s in Record(url).events()] == [3]


def test_sqlite_writes_through_and_lets_readers_in(record, tmp_path):
    with record._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    assert sqlite3.connect(tmp_path / "sweep.db").execute("PRAGMA journal_mode").fetchone() == (
        "wal",
    )


def test_a_sequence_is_never_used_twice(record, tmp_path):
    record.append(epoch(1))
    last = record.last_sequence()
    with sqlite3.connect(tmp_path / "sweep.db") as connection:
        connection.execute("DELETE FROM events")
    record.append(epoch(2))
    assert record.last_sequence() > last


def test_cursors_start_at_0_move_and_are_apart(record, tmp_path):
    assert record.cursor("a") == 0
    record.move_cursor("a", 7)
    record.move_cursor("b", 3)
    record.move_cursor("a", 2)  # back too: everything is sent again
    assert (record.cursor("a"), record.cursor("b")) == (2, 3)
    assert Record(sqlite_url(tmp_path / "sweep.db")).cursor("a") == 2


def test_threads_may_append_at_once_and_one_wins_each_key(record):
    won = []

    def append():
        won.extend(number for number in range(20) if record.append(epoch(number)))

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(20))
    assert len(record.events()) == 20


def test_the_path_may_hold_what_a_url_cannot(tmp_path):
    folder = tmp_path / "50% of ? #1"
    folder.mkdir()
    Record(sqlite_url(folder / "sweep.db")).append(epoch(1))
    assert (folder / "sweep.db").is_file()


def test_several_processes_may_open_a_fresh_record_at_once(tmp_path):
    """Each looks whether the tables are there before any has made them."""
    for attempt in range(5):
        url = sqlite_url(tmp_path / f"{attempt}.db")
        together = threading.Barrier(4)

        def opened(url=url, together=together):
            together.wait()
            Record(url).close()

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(opened) for _ in range(4)]:
                done.result()
