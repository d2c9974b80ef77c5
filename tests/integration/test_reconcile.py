"""`raysel reconcile`: each difference is reported, left by a dry run, and repaired."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from few_kit import few
from mlflow import MlflowClient
from mlflow.entities import Run

from raysel.cli.main import main
from raysel.record.events import Kind, sqlite_url
from raysel.record.ownership import FileOwner
from raysel.record.read_only import read_events
from raysel.spec.reader import load, parse
from raysel.spec.sweep import TrackingSpec
from raysel.sweep.start import resume, start

from .conftest import ONE_AT_A_TIME, SMALL
from .helpers import Silent, publish_nothing, states, study_of
from .mlflow_oracle import mlflow_differences
from .test_endings import At, signalled

NAME = "apart"
SWEEP_ID, TRIAL_ID = "raysel.sweep_id", "raysel.trial_id"
LEFT = "0002"


@pytest.fixture(scope="module")
def template(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory, storage: Path) -> Path:
    """The storage of a sweep that was stopped in its third trial; its three records agree."""
    where = tmp_path_factory.mktemp("template")
    shutil.copytree(storage / ".cache", where / ".cache") if (storage / ".cache").exists() else None
    overrides = [f"storage={where}", f"name={NAME}", "pruner.kind=none", *ONE_AT_A_TIME]
    reporter = At(Kind.EPOCH, 8, signalled(signal.SIGINT))
    start(parse(SMALL, overrides), reporter, publish_nothing)
    found = {name: trial.status for name, trial in states(where / NAME).items()}
    assert found == {"0000": "COMPLETE", "0001": "COMPLETE", LEFT: "INTERRUPTED"}
    return where


class Copy:
    """The template's sweep in a storage of its own, and its three records."""

    def __init__(self, storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.storage, self._capsys = storage, capsys
        self.folder = storage / NAME

    def reconcile(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit code, and what it says with `--json`."""
        self._capsys.readouterr()
        code = main(["reconcile", NAME, "--storage", str(self.storage), "--json", *options])
        return code, json.loads(self._capsys.readouterr().out)

    def words(self, *options: str) -> list[str]:
        """What it says without."""
        self._capsys.readouterr()
        main(["reconcile", NAME, "--storage", str(self.storage), *options])
        return self._capsys.readouterr().out.splitlines()

    def sql(self, script: str, file: str = f"{NAME}/sweep.db") -> None:
        with sqlite3.connect(self.storage / file) as connection:
            connection.executescript(script)
            assert connection.total_changes, script

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.storage}/mlflow.db")

    @property
    def experiment(self) -> str:
        found = self.client.get_experiment_by_name(NAME)
        assert found is not None
        return str(found.experiment_id)

    def runs(self) -> dict[str, Run]:
        """Every run by its trial; "" is the sweep's."""
        found = self.client.search_runs([self.experiment])
        by_trial = {run.data.tags.get(TRIAL_ID, ""): run for run in found}
        assert len(by_trial) == len(found)
        return by_trial

    def differences(self) -> list[str]:
        """What the tests' own comparison finds in MLflow."""
        events = read_events(sqlite_url(self.folder / "sweep.db"))
        return mlflow_differences(f"sqlite:///{self.storage}/mlflow.db", NAME, events)

    def everything(self) -> list[str]:
        """All that lies in the sweep's database and in MLflow's, and the folder's files."""
        files = sorted(
            str(path)
            for path in self.storage.rglob("*")
            if not path.name.endswith(("-wal", "-shm"))  # of a reader
        )
        dumps = []
        for name in (f"{NAME}/sweep.db", "mlflow.db"):
            with sqlite3.connect(self.storage / name) as connection:
                dumps += [line for line in connection.iterdump() if "sqlite_" not in line]
        return files + dumps


@pytest.fixture
def copy(template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Copy:
    shutil.copytree(template / NAME, tmp_path / NAME)
    with (
        sqlite3.connect(template / "mlflow.db") as origin,
        sqlite3.connect(tmp_path / "mlflow.db") as target,
    ):
        origin.backup(target)
        moved = (str(template), str(tmp_path))
        target.execute(
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)", moved
        )
        target.execute("UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", moved)
        target.execute("UPDATE tags SET value = replace(value, ?, ?)", moved)  # raysel.report
    shutil.copytree(template / "mlartifacts", tmp_path / "mlartifacts")
    return Copy(tmp_path, capsys)


# --- what is planted: in which of the three, and what is reported of it -------------------------


def run_deleted(copy: Copy) -> None:
    copy.client.delete_run(copy.runs()["0001"].info.run_id)


def parent_deleted(copy: Copy) -> None:
    copy.client.delete_run(copy.runs()[""].info.run_id)


def second_run(copy: Copy) -> None:
    run = copy.runs()["0001"]
    copy.client.create_run(copy.experiment, tags=dict(run.data.tags))


def unknown_trial(copy: Copy) -> None:
    tags = {**copy.runs()["0001"].data.tags, TRIAL_ID: "0099"}
    copy.client.create_run(copy.experiment, tags=tags)


def wrong_status(copy: Copy) -> None:
    copy.client.update_run(copy.runs()["0000"].info.run_id, status="RUNNING")


def wrong_tag(copy: Copy) -> None:
    copy.client.set_tag(copy.runs()["0000"].info.run_id, "raysel.status", "PRUNED")


def wrong_parameter(copy: Copy) -> None:
    run_id = copy.runs()["0000"].info.run_id
    script = f"UPDATE params SET value = '7' WHERE run_uuid = '{run_id}' AND key = 'seed'"
    copy.sql(script, "mlflow.db")


def missing_point(copy: Copy) -> None:
    run_id = copy.runs()["0000"].info.run_id
    script = f"DELETE FROM metrics WHERE run_uuid = '{run_id}' AND key = 'val/error' AND step = 2"
    copy.sql(script, "mlflow.db")


def extra_point(copy: Copy) -> None:
    run_id = copy.runs()["0000"].info.run_id
    copy.client.log_metric(run_id, "val/error", 0.5, timestamp=int(time.time() * 1000), step=2)


def unknown_metric(copy: Copy) -> None:
    copy.client.log_metric(copy.runs()["0000"].info.run_id, "mine/own", 0.5, step=1)


def experiment_deleted(copy: Copy) -> None:
    copy.client.delete_experiment(copy.experiment)


def files_not_sent(copy: Copy) -> None:
    copy.sql("UPDATE cursors SET sequence = 3 WHERE name = 'mlflow-files'")


def nobody_runs_it(copy: Copy) -> None:
    """As a driver leaves it that is killed."""
    copy.sql("DELETE FROM events WHERE kind IN ('interrupted', 'finished')")


PLANTED: dict[str, tuple[Callable[[Copy], None], str, list[str]]] = {
    "run deleted": (run_deleted, "mlflow", ["0001: MLflow does not have it"]),
    "parent deleted": (
        parent_deleted,
        "mlflow",
        [
            "the sweep's run: MLflow does not have it",
            *(
                f"{n}: MLflow's tag mlflow.parentRunId is not the record's"
                for n in ("0000", "0001")
            ),
            f"{LEFT}: MLflow's tag mlflow.parentRunId is not the record's",
        ],
    ),
    "second run": (second_run, "mlflow", ["0001: 2 runs in MLflow"]),
    "unknown trial": (unknown_trial, "mlflow", ["0099: unknown to the record"]),
    "wrong status": (wrong_status, "mlflow", ["0000: RUNNING in MLflow, should be FINISHED"]),
    "wrong tag": (wrong_tag, "mlflow", ["0000: MLflow's tag raysel.status is not the record's"]),
    "wrong parameter": (
        wrong_parameter,
        "mlflow",
        ["0000: MLflow's parameter seed is not the record's"],
    ),
    "missing point": (missing_point, "mlflow", ["0000: MLflow lacks 1 points"]),
    "extra point": (
        extra_point,
        "mlflow",
        ["0000: MLflow has 1 points that the record does not know"],
    ),
    "unknown metric": (
        unknown_metric,
        "mlflow",
        ["0000: MLflow has 1 points that the record does not know"],
    ),
    "experiment deleted": (
        experiment_deleted,
        "mlflow",
        [
            "the sweep's run: MLflow does not have it",
            *(f"{n}: MLflow does not have it" for n in ("0000", "0001", LEFT)),
        ],
    ),
    "files not sent": (files_not_sent, "mlflow", ["some files are not sent yet"]),
}


def test_what_agrees_is_said_to_agree_and_left_alone(copy: Copy) -> None:
    before = copy.everything()
    for options in ((), ("--dry-run",)):
        code, reported = copy.reconcile(*options)
        assert (code, reported["agree"]) == (0, True)
        assert reported["record"] == reported["mlflow"] == reported["left"] == []
    assert copy.words() == [f"{NAME}: record and MLflow agree"]
    assert copy.everything() == before


QUICK = {"run deleted"}
"""The others are slow, for each sends what lacks from a process of its own."""


@pytest.mark.parametrize(
    "kind",
    [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in PLANTED],
)
def test_a_planted_difference(copy: Copy, kind: str) -> None:
    plant, place, words = PLANTED[kind]
    assert copy.differences() == []
    plant(copy)
    assert bool(copy.differences()) == (kind != "files not sent")
    before = copy.everything()
    code, reported = copy.reconcile("--dry-run")
    assert (code, reported["agree"], reported["mended"]) == (1, False, False)
    assert len(reported[place]) == len(words)
    assert all(t.startswith(w) for t, w in zip(reported[place], words, strict=True)), reported
    assert reported["record"] == []
    assert copy.everything() == before
    code, reported = copy.reconcile()
    assert (code, reported["agree"], reported["mended"], reported["left"]) == (0, True, True, [])
    assert len(reported[place]) == len(words)
    assert copy.differences() == []
    assert copy.reconcile()[1] | {"mended": None} == {
        "sweep": NAME, "record": [], "mlflow": [], "left": [],
        "mended": None, "mlflow_away": None, "agree": True,
    }  # fmt: skip
    runs = copy.runs()
    assert set(runs) == {"", "0000", "0001", LEFT}
    parent = runs.pop("").info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent}


@pytest.mark.slow
def test_a_person_reads_a_line_a_difference(copy: Copy) -> None:
    wrong_status(copy)
    line = "mlflow  0000: RUNNING in MLflow, should be FINISHED"
    assert copy.words("--dry-run") == [line]
    mended = f"{NAME}: mended; record and MLflow agree"
    assert copy.words() == [line, mended]


def test_what_a_killed_driver_left_is_interrupted_in_all_three(copy: Copy) -> None:
    nobody_runs_it(copy)
    before = copy.everything()
    code, reported = copy.reconcile("--dry-run")
    found = [f"{LEFT}: RUNNING, but nobody runs it", "the sweep: RUNNING, but nobody runs it"]
    assert (code, reported["record"]) == (1, found)
    assert copy.everything() == before
    code, reported = copy.reconcile()
    assert (code, reported["record"]) == (0, found)
    trial = states(copy.folder)[LEFT]
    assert (trial.status, trial.cause) == ("INTERRUPTED", "its driver is gone")
    runs = copy.runs()
    for name in ("", LEFT):
        assert runs[name].info.status == "KILLED"
        assert runs[name].data.tags["raysel.status"] == "INTERRUPTED"
        assert runs[name].data.tags["raysel.cause"] == "its driver is gone"
    assert study_of(copy.folder, NAME).trials[2].state.name == "RUNNING"
    assert copy.reconcile()[0] == 0


@pytest.mark.parametrize("killed", few(True, False))
def test_b06_close_ends_what_was_left_in_all_three(copy: Copy, killed: bool) -> None:
    if killed:
        nobody_runs_it(copy)
    before = copy.everything()
    assert copy.reconcile("--dry-run", "--close")[0] == 1
    assert copy.everything() == before
    code, reported = copy.reconcile("--close")
    assert (code, reported["agree"], reported["left"]) == (0, True, [])
    trial = states(copy.folder)[LEFT]
    assert (trial.status, trial.cause) == ("FAILED", "closed by raysel reconcile")
    assert study_of(copy.folder, NAME).trials[2].state.name == "FAIL"
    run = copy.runs()[LEFT]
    assert (run.info.status, run.data.tags["raysel.status"]) == ("FAILED", "FAILED")
    assert copy.reconcile("--close")[1]["agree"] and copy.reconcile()[0] == 0


def test_an_mlflow_that_is_away_is_reported_and_the_rest_is_mended(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # under one MLflow the fixture's sweep would be a copy of the template's
    monkeypatch.setattr("raysel.sweep.reconcile.refuse_copy", lambda *_: None)
    file = copy.folder / "spec.yaml"
    away = TrackingSpec(uri="http://127.0.0.1:9")
    file.write_text(load(file).model_copy(update={"tracking": away}).to_yaml())
    nobody_runs_it(copy)
    for options in (("--dry-run",), ()):
        code, reported = copy.reconcile(*options)
        assert (code, reported["agree"]) == (1, False)
        assert reported["mlflow_away"] == "http://127.0.0.1:9: does not answer"
        assert f"{LEFT}: RUNNING, but nobody runs it" in reported["record"]
    assert copy.words() == [
        f"mlflow  http://127.0.0.1:9: does not answer; again later: raysel reconcile {NAME}"
        f" --storage {copy.folder.parent}"
    ]


def test_a_sweep_that_runs_is_left_alone(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    owner = FileOwner(copy.folder / "owner.lock", NAME)
    try:
        for options in ((), ("--dry-run",)):
            assert main(["reconcile", NAME, "--storage", str(copy.storage), *options]) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"error  {NAME}: is run by process ")
    finally:
        owner.release()


def test_a_record_that_is_gone_is_reported_and_not_made_anew(
    copy: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in copy.folder.glob("sweep.db*"):
        path.unlink()
    where = ("--storage", str(copy.storage))
    for command in (("reconcile",), ("reconcile", "--dry-run"), ("resume",)):
        assert main([command[0], NAME, *where, *command[1:]]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error  {copy.folder}/sweep.db: is not there")
    assert not (copy.folder / "sweep.db").exists()


@pytest.mark.slow
def test_after_reconcile_the_sweep_goes_on_as_if_nothing_had_been(
    copy: Copy, template: Path, tmp_path: Path
) -> None:
    nobody_runs_it(copy)
    assert copy.reconcile()[0] == 0
    resume(str(copy.storage), NAME, Silent(), publish_nothing, ["confirm.seeds=1"])
    trials = states(copy.folder)
    assert {trial.status for trial in trials.values()} <= {"COMPLETE", "PRUNED"}
    assert sum(trial.phase == "search" for trial in trials.values()) == 8
    assert copy.reconcile("--dry-run")[0] == 0
