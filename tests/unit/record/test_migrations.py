"""A record that raysel made before it had revisions: killed between the last epoch of trial 0004
and its end, with 5 of 8 trials begun. Made by the commit 8d7baa5; paths were replaced."""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from raysel.common.errors import OperationalError
from raysel.record.event_log import EventLog
from raysel.record.events import REVISION, Record, sqlite_url
from raysel.record.read_only import read_events
from raysel.record.state import fold
from raysel.search.space import Space
from raysel.spec.reader import load_resolved
from raysel.sweep.search_controller import SearchController

LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
NEXT = {"strategy": "full", "full.learning_rate": 0.00945240582902815}
"""What the older raysel, not interrupted, suggested for trial 0005."""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    with tarfile.open(Path(__file__).parents[2] / "records" / "older_record.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / "older"


def tables(file: Path) -> set[str]:
    with sqlite3.connect(file) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def test_the_newest_revision_is_the_records():
    config = Config()
    config.set_main_option("script_location", "raysel.record:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_it_is_read_as_it_lies(older):
    before = (older / "sweep.db").read_bytes()
    trials = fold(read_events(sqlite_url(older / "sweep.db")))
    assert [t.status for t in trials.values()] == [*["COMPLETE"] * 3, "PRUNED", "RUNNING"]
    assert (older / "sweep.db").read_bytes() == before


def test_the_search_goes_on_as_the_older_raysel_would_have(older):
    record = Record(sqlite_url(older / "sweep.db"))
    events = len(record.events())
    controller = SearchController(
        load_resolved(older / "spec.yaml"),
        Space(load_resolved(older / "spec.yaml"), LAYERS),
        EventLog(record, 2),
    )
    study = controller.study.get_trials(deepcopy=False)
    assert [t.system_attrs.get("completed_rung_0") for t in study[:5]] == [
        t.intermediate_values[1] for t in study[:5]
    ]
    assignment = controller.next_trial()
    assert assignment is not None and assignment.trial == "0005"
    trials = fold(stored.event for stored in record.events())
    assert (trials["0004"].status, trials["0004"].value) == ("COMPLETE", 0.31666666666666665)
    assert dict(trials["0005"].suggested) == NEXT
    assert len(record.events()) == events + 2
    record.check()
    assert tables(older / "sweep.db") & {"trials", "studies", "record_version"} == set()
    assert "record_revision" in tables(older / "sweep.db")
    record.close()


def test_it_is_migrated_once(older):
    for _ in range(2):
        record = Record(sqlite_url(older / "sweep.db"))
        trials = fold(stored.event for stored in record.events())
        record.close()
        assert set(trials["0003"].distributions) == {"strategy", "linear_probe.learning_rate"}


def test_one_whose_study_is_damaged_is_reported_and_stays_as_it_is(older):
    events = read_events(sqlite_url(older / "sweep.db"))
    with sqlite3.connect(older / "sweep.db") as connection:
        connection.execute("DELETE FROM trials WHERE number = 2")
    connection.close()
    for _ in range(2):
        with pytest.raises(OperationalError, match="Optuna's study lacks trial 0002"):
            Record(sqlite_url(older / "sweep.db"))
    assert read_events(sqlite_url(older / "sweep.db")) == events
