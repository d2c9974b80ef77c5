"""The server that other tests rely on, and a whole sweep whose record lies there, without Ray."""

from pathlib import Path

import pytest
import session_kit
import sqlalchemy as sa

from raysel.common.locations import sweep_url
from raysel.record.events import Record
from raysel.record.layout import SweepFolder
from raysel.record.read_only import may_be_made, read_events
from raysel.record.state import fold
from raysel.sweep.export_process import study_view
from raysel.sweep.views import read_results

from .helpers import study_of
from .study_oracle import study_differences


def test_a_sweep_whose_record_lies_there_leaves_none_in_its_folder(
    tmp_path: Path, record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_kit.without_ray(monkeypatch)
    trials = run(tmp_path, record)
    assert run(tmp_path, record) == trials  # the lease is free again
    view, stored = read_results(str(tmp_path), "toy")
    assert (view.holder, view.sweep.status) == (None, "COMPLETE")
    assert [trial.id for trial in stored.trials] == trials
    folder, url = SweepFolder.of(str(tmp_path), "toy"), sweep_url(record, Path(), "toy")
    opened = Record(url)
    export = study_view(opened, folder.path)
    while export():
        pass
    opened.close()
    study = study_of(folder.path, "toy", url)
    assert study_differences(study, fold(read_events(url)), "val/error") == []
    assert not list(folder.path.glob("sweep*.db"))


def run(storage: Path, record: str) -> list[str]:
    """The trials of the search, in a session of this process."""
    outcome = session_kit.run(storage, None, lambda done: done, f"database_url={record}")
    assert outcome.complete
    return [trial.id for trial in outcome.results.trials]


def count(url):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS kept (n int)"))
        connection.execute(sa.text("INSERT INTO kept VALUES (1)"))
        found = connection.scalar(sa.text("SELECT count(*) FROM kept"))
    engine.dispose()
    return found


def test_databases_are_apart_and_outlive_a_restart_and_a_crash(postgres):
    first, second = postgres.new_database(), postgres.new_database()
    assert count(first) == count(second) == 1
    postgres.restart()
    assert count(first) == 2
    postgres.stop(at_once=True)
    assert not postgres.takes_connections()
    postgres.start()
    assert count(first) == 3


def test_the_doctor_asks_whether_a_record_may_be_made_there_and_makes_none(postgres):
    owner = postgres.new_database()
    url = sweep_url(owner, Path(), "digits")
    assert may_be_made(url)
    engine = sa.create_engine(owner)
    with engine.begin() as connection:
        assert "raysel_digits" not in sa.inspect(connection).get_schema_names()
        connection.execute(sa.text("CREATE ROLE reader LOGIN"))
    engine.dispose()
    theirs = str(sa.make_url(url).set(username="reader"))
    assert not may_be_made(theirs)
    Record(url).close()
    assert may_be_made(theirs)  # it is there
