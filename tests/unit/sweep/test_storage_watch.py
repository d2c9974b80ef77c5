"""The driver notices that its record is not the file any more which lies under the name."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysel.common.locations import sqlite_url
from raysel.record.event_log import EventLog
from raysel.record.events import Kind, Record
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.sweep import storage_watch
from raysel.sweep.storage_watch import StorageGone, StorageWatch


class Driver:
    """A sweep's folder, its record with one epoch, and the watch over both."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self.folder = SweepFolder(path)
        self.record = Record(sqlite_url(self.folder.record))
        self.reported: list[Exception] = []
        self.write_files()
        self.folder.trials.mkdir()
        self.watch = StorageWatch(self.folder, True, self.write_files, self.reported.append)
        self.event_log = EventLog(self.record, 1, check=self.watch.check)
        self.event_log.epoch("0000", 1, {}, None)

    def write_files(self) -> None:
        self.folder.spec.write_text("name: s", encoding="utf-8")

    def close(self) -> None:
        self.watch.close()
        self.record.close()

    @property
    def epochs(self) -> int:
        return len(read_events(sqlite_url(self.folder.record)))


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    monkeypatch.setattr(storage_watch, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(storage_watch, "_AGAIN_SECONDS", 0.01)
    made = Driver(tmp_path / "runs" / "s")
    yield made
    made.close()


def _remove_logs(folder: SweepFolder) -> None:
    for log in ("-wal", "-shm"):
        folder.record.with_name(folder.record.name + log).unlink()


def _rename(folder: SweepFolder) -> None:
    folder.record.rename(folder.record.with_name("other.db"))


def _replace(folder: SweepFolder) -> None:
    shutil.copy(folder.record, folder.path / "old.db")
    (folder.path / "old.db").replace(folder.record)


ACTIONS = {
    "removed": lambda folder: folder.record.unlink(),
    "renamed": _rename,
    "replaced": _replace,
    "log removed": _remove_logs,
    "folder removed": lambda folder: shutil.rmtree(folder.path),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_the_record_is_written_anew_and_nothing_more_into_it(driver: Driver, action: str) -> None:
    ACTIONS[action](driver.folder)
    with pytest.raises(StorageGone, match="written anew") as raised:
        driver.event_log.epoch("0000", 2, {}, None)
    assert "raysel resume s" in str(raised.value)
    with pytest.raises(StorageGone):
        driver.event_log.write("0000", Kind.ENDED, 2, {})
    assert driver.epochs == 1
    driver.close()  # SQLite tidies up its logs then, by their names
    assert driver.epochs == 1
    assert driver.folder.spec.is_file()
    again = Record(sqlite_url(driver.folder.record))
    again.check()
    again.close()


def test_a_file_that_was_put_in_the_records_place_is_kept(driver: Driver) -> None:
    _replace(driver.folder)
    driver.watch.gone()
    assert [*driver.folder.path.glob("sweep.db.replaced-*")]


def test_what_was_made_under_the_old_name_of_a_renamed_folder_goes(driver: Driver) -> None:
    """A worker's trial brought the folder back, and the exporter its database of the study."""
    driver.folder.path.rename(driver.folder.path.with_name("elsewhere"))
    with pytest.raises(StorageGone):
        driver.event_log.epoch("0000", 2, {}, None)
    (driver.folder.trials / "0001").mkdir(parents=True)
    for name in ("optuna.db", "optuna.db-journal", "mlflow.json"):
        (driver.folder.path / name).touch()
    driver.watch.close()
    assert not driver.folder.path.exists()


def test_a_renamed_folder_is_named_and_nothing_is_made_beside_it(driver: Driver) -> None:
    there = driver.folder.path.with_name("elsewhere")
    driver.folder.path.rename(there)
    with pytest.raises(StorageGone, match="was renamed to") as raised:
        driver.event_log.epoch("0000", 2, {}, None)
    assert f"raysel resume elsewhere --storage {there.parent}" in str(raised.value)
    (driver.folder.path / "trials" / "0000").mkdir(parents=True)  # by a worker, a moment before
    driver.close()
    assert [path.name for path in there.parent.iterdir()] == ["elsewhere"]
    assert len(read_events(sqlite_url(there / "sweep.db"))) == 1


def test_a_removed_folder_that_a_worker_made_again_gets_its_record_back(driver: Driver) -> None:
    shutil.rmtree(driver.folder.path)
    (driver.folder.trials / "0001").mkdir(parents=True)  # before the watch has looked
    with pytest.raises(StorageGone, match="the record was written anew"):
        driver.event_log.epoch("0000", 2, {}, None)
    assert driver.epochs >= 1


def test_it_is_reported_without_an_event_too(driver: Driver) -> None:
    driver.folder.record.unlink()
    deadline = time.monotonic() + 10
    while not driver.reported:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert isinstance(driver.reported[0], StorageGone)


def test_who_asks_at_the_end_hears_of_it(driver: Driver) -> None:
    driver.watch._ended.set()  # the thread has not looked yet
    driver.watch._thread.join()
    driver.folder.record.unlink()
    driver.close()
    assert driver.watch.gone() is not None
    assert driver.epochs == 1


def test_a_quiet_sweep_is_left_alone(driver: Driver) -> None:
    for epoch in range(2, 200):
        driver.event_log.epoch("0000", epoch, {"a": 1.0}, None)
    driver.event_log.record.engine.dispose()  # all but the watch's own connection
    assert driver.epochs == 199
    time.sleep(0.2)
    assert driver.reported == []
    assert driver.watch.gone() is None


def test_moved_trials_are_named_where_they_lie(driver: Driver) -> None:
    trials = driver.folder.trials
    driver.event_log.epoch("0000", 2, {}, None)
    there = trials.rename(driver.folder.path.parents[1] / "elsewhere")
    trials.mkdir()  # by the worker of the next trial
    with pytest.raises(StorageGone, match="was moved to") as raised:
        driver.event_log.epoch("0000", 3, {}, None)
    assert str(there) in str(raised.value)
    assert "move it back" in str(raised.value)
    assert "raysel resume s" in str(raised.value)
    assert driver.epochs == 2


def test_removed_trials_are_reported(driver: Driver) -> None:
    driver.event_log.epoch("0000", 2, {}, None)
    driver.folder.trials.rmdir()
    with pytest.raises(StorageGone, match="checkpoints and traces are lost"):
        driver.event_log.epoch("0000", 3, {}, None)
    assert driver.epochs == 2
