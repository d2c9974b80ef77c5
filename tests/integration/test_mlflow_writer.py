"""Events arrive in a real MLflow (SQLite) store, once, whatever dies in between."""

import re
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import requests
from mlflow.tracking import MlflowClient

from raysel.mlflow_sync import worker as writer_module
from raysel.mlflow_sync.client import MlflowStore
from raysel.mlflow_sync.error_messages import explain
from raysel.mlflow_sync.exporter import MlflowExporter
from raysel.mlflow_sync.process import EVENTS_CURSOR, FILES_CURSOR
from raysel.mlflow_sync.worker import ExportLoop
from raysel.record.events import SWEEP, Kind

from .written import WrittenSweep


@pytest.fixture
def sweep(tmp_path, store_folder):
    sweep = WrittenSweep(tmp_path, store_folder)
    yield sweep
    sweep.record.close()


def test_b10_a_sweep_is_a_parent_and_a_child_for_each_trial(sweep):
    sweep.whole_trial("0000")
    sweep.start("confirm-full-s0", phase="confirm")
    sweep.epoch("confirm-full-s0", 1)
    sweep.end("confirm-full-s0", metrics={"test/error": 0.25, "val/error": 0.9})
    sweep.export_events()
    parent, trial, confirm = map(sweep.run, (SWEEP, "0000", "confirm-full-s0"))
    assert {r.data.tags.get("mlflow.parentRunId") for r in (trial, confirm)} == {parent.info.run_id}
    assert "mlflow.parentRunId" not in parent.data.tags
    names = [r.info.run_name for r in (parent, trial, confirm)]
    assert names == [sweep.id, "00 full lr=0.01", "confirm full seed 0"]
    assert trial.data.params == {"strategy": "full", "seed": "0", "training.epochs": "3"}
    assert [p[:3] for p in sweep.points("0000")] == [
        ("best/val_error", 1, 1.0),
        ("best/val_error", 2, 0.5),
        ("best/val_error", 3, 1 / 3),
        ("train/loss", 1, 2.0),
        ("train/loss", 2, 1.0),
        ("train/loss", 3, 2 / 3),
        ("val/error", 1, 1.0),
        ("val/error", 2, 0.5),
        ("val/error", 3, 1 / 3),
    ]
    assert "test/error" not in trial.data.metrics
    assert confirm.data.metrics["test/error"] == 0.25
    assert confirm.data.metrics["val/error"] == 1.0  # that of its epoch


def test_times_are_those_of_the_events(sweep):
    sweep.whole_trial("0000")
    sweep.export_events()
    events = [s.event for s in sweep.record.events() if s.event.trial == "0000"]
    run = sweep.run("0000")
    assert run.info.start_time == events[0].at * 1000
    assert run.info.end_time == events[-1].at * 1000
    assert {p[3] for p in sweep.points("0000")} == {e.at * 1000 for e in events[1:-1]}


def test_the_experiment_says_what_it_is_about(sweep):
    sweep.export_events()
    tags = sweep.client.get_experiment_by_name(sweep.id).tags
    assert tags["mlflow.experiment.primaryMetric.name"] == "val/error"
    assert tags["mlflow.experiment.primaryMetric.greaterIsBetter"] == "False"
    assert tags["mlflow.experimentKind"] == "custom_model_development"


@pytest.mark.parametrize(
    ("status", "mlflow"),
    [("COMPLETE", "FINISHED"), ("PRUNED", "FINISHED"), ("FAILED", "FAILED")],
)
def test_ended_trials_in_mlflows_words(sweep, status, mlflow):
    sweep.whole_trial("0000", status)
    sweep.export_events()
    run = sweep.run("0000")
    assert (run.info.status, run.data.tags["raysel.status"]) == (mlflow, status)


def test_b03_a_trial_that_is_left_is_not_running_and_ends_as_the_same_run(sweep):
    def now():
        sweep.export_events()  # each time a new exporter, as in a new attempt
        run = sweep.run("0000")
        return run.info.status, run.data.tags["raysel.status"], run.data.tags.get("raysel.cause")

    sweep.start("0000")
    sweep.epoch("0000", 1)
    assert now() == ("RUNNING", "RUNNING", None)
    first = sweep.run("0000").info.run_id
    sweep.write("0000", Kind.INTERRUPTED, 1, cause="stopped by the user")
    sweep.write(SWEEP, Kind.FINISHED, 1, status="INTERRUPTED", cause="stopped by the user")
    assert now() == ("KILLED", "INTERRUPTED", "stopped by the user")
    assert sweep.run(SWEEP).info.status == "KILLED"
    sweep.write(SWEEP, Kind.RESUMED, 2)
    sweep.write("0000", Kind.RESUMED, 2)
    assert now() == ("RUNNING", "RUNNING", "")
    assert sweep.run(SWEEP).info.status == "RUNNING"
    sweep.epoch("0000", 2)
    sweep.end("0000")
    sweep.write(SWEEP, Kind.FINISHED, 2, status="COMPLETE", verdict="full is better")
    assert now() == ("FINISHED", "COMPLETE", "")
    assert sweep.run("0000").info.run_id == first
    assert sweep.run(SWEEP).info.status == "FINISHED"
    assert sweep.run(SWEEP).data.tags["raysel.verdict"] == "full is better"
    assert [p[:2] for p in sweep.points("0000")] == [
        ("best/val_error", 1),
        ("best/val_error", 2),
        ("train/loss", 1),
        ("train/loss", 2),
        ("val/error", 1),
        ("val/error", 2),
    ]


def test_carrying_everything_twice_changes_nothing(sweep):
    def snapshot():
        runs = sweep.runs()
        return {
            r.info.run_id: (
                r.info.status,
                r.info.end_time,
                r.data.tags,
                r.data.params,
                sweep.points(r.data.tags.get("raysel.trial_id", SWEEP)),
            )
            for r in runs
        }

    for number, status in enumerate(["COMPLETE", "PRUNED", "FAILED"]):
        sweep.whole_trial(f"{number:04d}", status)
    sweep.export_events()
    before = snapshot()
    assert len(before) == 4
    sweep.record.move_cursor(EVENTS_CURSOR, 0)
    sweep.record.move_cursor(FILES_CURSOR, 0)
    sweep.export_events()
    assert snapshot() == before


def test_b02_a_lost_answer_makes_no_second_run(sweep, monkeypatch):
    """The server did what was asked, and the answer never came."""
    sweep.start("0000")
    made = MlflowClient.create_run

    def made_but_not_reported(self, *args, **kwargs):
        made(self, *args, **kwargs)
        monkeypatch.setattr(MlflowClient, "create_run", made)
        raise ConnectionError("timed out")

    exporter = MlflowExporter(sweep.record, sweep.connect)
    monkeypatch.setattr(MlflowClient, "create_run", made_but_not_reported)
    with pytest.raises(ConnectionError):
        exporter.export_events()
    exporter.disconnect()
    assert exporter.export_events()
    assert len(sweep.runs()) == 2


def test_the_cursor_waits_until_mlflow_took_the_batch(sweep, monkeypatch):
    exporter = MlflowExporter(sweep.record, sweep.connect)
    exporter.export_events()
    at = sweep.record.cursor(EVENTS_CURSOR)
    sweep.whole_trial("0000")
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_batch", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            exporter.export_events()
    assert sweep.record.cursor(EVENTS_CURSOR) == at
    exporter.disconnect()
    exporter.export_events()
    assert len(sweep.points("0000")) == 9
    assert sweep.run("0000").info.status == "FINISHED"


def test_a_store_that_was_thrown_away_is_filled_again(sweep):
    sweep.whole_trial("0000")
    sweep.export_events()
    for run in sweep.runs():
        sweep.client.delete_run(run.info.run_id)
    sweep.start("0001")
    sweep.export_events()
    assert Counter(r.data.tags.get("raysel.trial_id", SWEEP) for r in sweep.runs()) == {
        SWEEP: 1,
        "0000": 1,
        "0001": 1,
    }
    assert len(sweep.points("0000")) == 9


def test_a_run_that_the_user_deleted_does_not_stop_the_others(sweep):
    sweep.start("0000")
    sweep.start("0001")
    exporter = MlflowExporter(sweep.record, sweep.connect)
    exporter.export_events()
    sweep.client.delete_run(sweep.run("0000").info.run_id)
    for trial in ("0000", "0001"):
        sweep.epoch(trial, 1)
        sweep.end(trial)
    while exporter.export_events() or exporter.export_artifacts():
        pass
    assert sweep.run("0001").info.status == "FINISHED"
    assert sweep.record.cursor(FILES_CURSOR) == sweep.record.last_sequence()


def test_b11_a_parameter_that_mlflow_has_otherwise_does_not_cost_the_metrics(sweep):
    """As an earlier version of raysel may have written it: MLflow forbids to change it."""
    sweep.start("0000")
    sweep.export_events()
    run_id = sweep.run("0000").info.run_id
    with sqlite3.connect(sweep.store_folder / "mlflow.db") as connection:
        connection.execute(
            "UPDATE params SET value = 'three' WHERE run_uuid = ? AND key = 'training.epochs'",
            [run_id],
        )
    sweep.epoch("0000", 1)
    sweep.export_events()
    assert len(sweep.points("0000")) == 3
    assert sweep.run("0000").data.params["training.epochs"] == "three"


def test_a_deleted_experiment_is_taken_out_of_the_bin(sweep):
    sweep.export_events()
    experiment = sweep.client.get_experiment_by_name(sweep.id)
    sweep.client.delete_experiment(experiment.experiment_id)
    sweep.start("0000")
    sweep.export_events()
    assert sweep.run("0000").info.status == "RUNNING"


@pytest.mark.slow
def test_more_metrics_than_mlflow_takes_at_once_all_arrive(sweep):
    sweep.start("0000")
    metrics = {f"select/layer{number:04d}": 1.0 for number in range(1700)}
    sweep.write("0000", Kind.EPOCH, 1, metrics=metrics)
    sweep.export_events()
    assert len(sweep.points("0000")) == 1700


def test_traces_pictures_and_the_report_are_artifacts(sweep):
    sweep.trace("0000", epochs=3)
    sweep.whole_trial("0000")
    (sweep.folder / "report").mkdir()
    (sweep.folder / "report" / "index.html").write_text("<html>")
    (sweep.folder / "results.json").write_text("{}")
    sweep.write(SWEEP, Kind.FINISHED, 1, status="COMPLETE", verdict="x")
    sweep.export_events()
    assert sweep.artifacts("0000", "selection") == [
        "selection/heatmap.png",
        "selection/trace.parquet",
    ]
    run_id = sweep.run("0000").info.run_id
    local = sweep.client.download_artifacts(run_id, "selection/trace.parquet")
    assert pq.read_table(local)["epoch"].to_pylist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert sweep.artifacts(SWEEP) == ["report", "results.json", "spec.yaml"]


def test_an_extended_sweep_shows_its_new_file(sweep):
    sweep.export_events()
    sweep.write(SWEEP, Kind.RESUMED, 2, spec="search: {num_trials: 60}")
    sweep.export_events()
    local = sweep.client.download_artifacts(sweep.run(SWEEP).info.run_id, "spec.yaml")
    assert Path(local).read_text() == "search: {num_trials: 60}"


def test_a_torn_trace_costs_its_picture_and_nothing_else(sweep, caplog):
    sweep.trace("0000", epochs=1)
    (sweep.folder / "trials" / "0000" / "trace" / "epoch-0002.parquet").write_bytes(b"torn")
    sweep.whole_trial("0000")
    sweep.trace("0001", epochs=1)
    sweep.whole_trial("0001")
    sweep.export_events()
    assert "trace of 0000" in caplog.text
    assert sweep.artifacts("0000") == []
    assert sweep.artifacts("0001") == ["selection"]


class Unwatched:
    """A parent watch that never sleeps."""

    cut = True

    def wait(self, seconds):
        return False


class Listener(list):
    """Exports a sweep; keeps the messages that a user would read."""

    def run(self, sweep, connect):
        return ExportLoop(
            sweep.record,
            MlflowExporter(sweep.record, connect),
            Unwatched(),
            lambda error, of_files: explain(error, sweep.uri, sweep.id, of_files),
            lambda word: word.text and self.append(word.text),
        ).run()


def failing(sweep, *failures):
    """Opens MLflow after it failed to."""
    left = iter(failures)

    def connect(state):
        for error in left:
            raise error
        return sweep.connect(state)

    return connect


def test_an_outage_is_waited_out_and_reported_once_with_its_end(sweep):
    sweep.whole_trial("0000")
    reported = Listener()
    errors = ConnectionError("down"), OSError("down"), OSError("down")
    assert reported.run(sweep, failing(sweep, *errors))
    assert len(sweep.points("0000")) == 9
    assert reported[0] == f"{sweep.uri} does not answer"
    assert re.fullmatch(r"back after \d s; 6 records sent", reported[1]) and len(reported) == 2


def test_a_single_lost_connection_is_nobodys_business(sweep):
    sweep.whole_trial("0000")
    reported = Listener()
    assert reported.run(sweep, failing(sweep, ConnectionError("reset")))
    assert len(sweep.points("0000")) == 9
    assert reported == []


def test_it_gives_up_when_nobody_waits_and_keeps_the_rest(sweep, monkeypatch):
    monkeypatch.setattr(writer_module, "DRAIN_SECONDS", 0.05)
    sweep.whole_trial("0000")

    def connect(state):
        time.sleep(0.01)
        raise ConnectionError("down")

    assert not Listener().run(sweep, connect)
    assert sweep.record.cursor(EVENTS_CURSOR) == 0


def test_a_place_for_files_that_is_full_holds_up_no_metric(sweep, monkeypatch):
    monkeypatch.setattr(writer_module, "DRAIN_SECONDS", 0.05)
    sweep.trace("0000", epochs=1)
    sweep.whole_trial("0000")
    reported = Listener()
    with monkeypatch.context() as full:
        error = OSError(28, "No space left on device")
        full.setattr(MlflowStore, "upload", lambda *_, **__: (_ for _ in ()).throw(error))
        assert not reported.run(sweep, sweep.connect)
    assert sweep.run("0000").info.status == "FINISHED"
    assert reported == [f"{sweep.uri} takes no files now ([Errno 28] No space left on device)"]
    assert reported.run(sweep, sweep.connect)
    assert sweep.artifacts("0000") == ["selection"]


def test_files_wait_while_the_tracker_is_away_and_come_after_it(sweep, monkeypatch):
    sweep.trace("0000", epochs=1)
    sweep.whole_trial("0000")
    upload = MlflowStore.upload
    failures = iter([requests.exceptions.ConnectionError("down")] * 2)

    def away(self, *args, **kwargs):
        for error in failures:
            raise error
        return upload(self, *args, **kwargs)

    monkeypatch.setattr(MlflowStore, "upload", away)
    reported = Listener()
    assert reported.run(sweep, sweep.connect)
    assert reported[0] == f"{sweep.uri} does not answer"
    assert re.fullmatch(r"back after \d s", reported[1]) and len(reported) == 2
    assert sweep.artifacts("0000") == ["selection"]
