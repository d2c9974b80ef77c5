"""A whole sweep on one small Ray: what it leaves, and that its three records agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from optuna.trial import TrialState as OptunaState

from raysel.cli.main import main
from raysel.models import timm
from raysel.spec.sweep import Spec
from raysel.sweep.start import start

from .helpers import Silent, publish_nothing, states, study_of, without_clocks

pytestmark = pytest.mark.usefixtures("ray_cluster")

OPTUNA = {
    "COMPLETE": OptunaState.COMPLETE,
    "PRUNED": OptunaState.PRUNED,
    "FAILED": OptunaState.FAIL,
}
MLFLOW = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAILED": "FAILED"}


@pytest.fixture
def finished(reference: Path) -> Path:
    """The folder of a sweep that ended."""
    return reference


def test_a_sweep_leaves_what_the_design_lists(finished: Path) -> None:
    for name in ("spec.yaml", "manifest.json", "sweep.db", "tune", "results.json"):
        assert (finished / name).exists(), name
    assert (finished / "report" / "index.html").stat().st_size > 10_000
    assert (finished / "best" / "model.safetensors").is_file()
    assert len(list((finished / "trials" / "0000" / "trace").glob("*.parquet"))) >= 1
    assert not list((finished / "trials").rglob("checkpoint.pt")), "checkpoints of ended trials"


def test_all_strategies_take_part_and_the_budget_is_exact(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert len(results["trials"]) == 8
    assert {t["strategy"] for t in results["trials"]} == {
        "full", "linear_probe", "surgical", "bvg_ls", "bvg_ls_threshold",
    }  # fmt: skip
    assert {t["status"] for t in results["trials"]} <= {"COMPLETE", "PRUNED"}


def test_the_verdict_follows_from_the_confirm_runs(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    by_validation = {
        row["strategy"]: np.mean([run["val/error"] for run in row["runs"]])
        for row in results["confirm"]
    }
    winner = results["verdict"]["winner"]
    assert by_validation[winner] == min(by_validation.values())
    tests = {r["strategy"]: [run["test/error"] for run in r["runs"]] for r in results["confirm"]}
    if winner != "full" and "full" in tests:
        expected = np.mean(np.array(tests[winner]) - np.array(tests["full"]))
        assert results["verdict"]["difference"] == pytest.approx(expected)


def test_events_study_and_mlflow_agree(finished: Path, storage: Path) -> None:
    record = states(finished)
    study = study_of(finished, "reference")
    for trial in study.trials:
        reported = record[f"{trial.number:04d}"]
        assert trial.state == OPTUNA[reported.status]
        values = {row["epoch"]: row["val/error"] for row in reported.epochs}
        assert trial.intermediate_values == values
        if reported.status == "COMPLETE":
            assert trial.value == min(values.values()) == reported.value
    client = mlflow.MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("reference")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1 and parents[0].info.status == "FINISHED"
    children = {run.data.tags["raysel.trial_id"]: run for run in runs if run not in parents}
    assert len(children) == len(runs) - 1, "two runs of one trial"
    assert set(children) == set(record)
    for name, reported in record.items():
        run = children[name]
        assert run.info.status == MLFLOW[reported.status]
        assert run.data.tags["raysel.status"] == reported.status
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        points = client.get_metric_history(run.info.run_id, "val/error")
        assert [(p.step, p.value) for p in sorted(points, key=lambda p: p.step)] == [
            (row["epoch"], row["val/error"]) for row in reported.epochs
        ]
        assert ("test/error" in run.data.metrics) == (reported.phase == "confirm")
        artifacts = {item.path for item in client.list_artifacts(run.info.run_id, "selection")}
        assert "selection/trace.parquet" in artifacts


def test_b12_weights_stay_in_the_storage_and_mlflow_says_where(
    finished: Path, storage: Path
) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("reference")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert parent.data.tags["raysel.model"] == str(finished / "best")
    assert (finished / "best" / "model.safetensors").is_file()
    kept = {path.suffix for run in runs for path in _files(client, run.info.run_id)}
    assert ".parquet" in kept and not kept & {".pt", ".pth", ".safetensors", ".bin", ".pkl"}


def _files(client: mlflow.MlflowClient, run: str, folder: str | None = None) -> Iterator[Path]:
    for item in client.list_artifacts(run, folder):
        yield from _files(client, run, item.path) if item.is_dir else [Path(item.path)]


@pytest.mark.slow
def test_the_next_sweep_begins_with_range_tests_and_what_this_one_found(
    finished: Path, storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from .conftest import SMALL

    file = tmp_path / "next.yaml"
    file.write_text(SMALL, encoding="utf-8")
    chosen = (
        *(f"storage={storage}", "name=next", "search.prior=[reference]", "search.first=range_test"),
        *("strategies={full: , surgical: {block: search}}", "search.baselines=false"),
        *("search.num_trials=6", "confirm.seeds=1"),
    )
    sets = [word for override in chosen for word in ("--set", override)]
    assert main(["run", str(file), *sets, "--quiet"]) == 0
    record = states(storage / "next")
    search = sorted((t for t in record.values() if t.phase == "search"), key=lambda t: t.number)
    for trial, arm in zip(search[:2], ("full", "surgical"), strict=True):
        suggested = record[f"range-{arm}"].end_metrics["range/suggested"]
        assert trial.strategy == arm and suggested is not None
        assert trial.config["training"]["learning_rate"] == float(f"{suggested:.2g}")
    assert [t.earlier for t in search[2:4]] == [("point", ("reference",))] * 2
    capsys.readouterr()
    assert main(["reproduce", "next", "range-full", "--storage", str(storage)]) == 0
    assert "identical: what the test found, every number" in capsys.readouterr().out


def test_the_best_model_loads_in_timm_and_scores_what_the_results_say(finished: Path) -> None:
    from raysel.spec.reader import load
    from raysel.sweep.ranking import best_run
    from raysel.sweep.results import SweepResults
    from raysel.tasks.load_task import load_task
    from raysel.training.batches import to_device

    results = SweepResults.model_validate_json((finished / "results.json").read_text())
    model = timm.create_model(f"local-dir:{finished / 'best'}", pretrained=True, in_chans=1).eval()
    task = load_task(load(finished / "spec.yaml").task)
    with task.test.opened() as test:
        batch = to_device(test, task.mean, task.std, torch.device("cpu"))
    with torch.inference_mode():
        wrong = (model(batch.images).argmax(1) != batch.labels).double().mean()
    assert results.winner is not None
    run = best_run(results.winner.runs, results.objective.metric)
    assert float(wrong) == pytest.approx(run.test_error)


def test_the_test_split_is_nowhere_before_the_confirm_phase(
    finished: Path, phases: list[tuple[str, bool]]
) -> None:
    *source, search, confirm = phases
    assert (search, confirm) == (("SearchController", False), ("ConfirmController", True))
    assert source in ([], [("SourceModels", False)])  # it may be cached


@pytest.mark.slow  # in passing: the sweep of test_chaos is the reference's too
def test_same_file_and_seed_give_the_same_sweep(small: Spec, reference: Path) -> None:
    resources = small.resources.model_copy(update={"max_concurrent_trials": 1})
    spec = small.model_copy(update={"name": "again", "resources": resources})
    again = start(spec, Silent(), publish_nothing).folder.path
    first, second = (
        sorted(map(without_clocks, states(folder).values())) for folder in (reference, again)
    )
    assert first == second


def test_a_name_that_has_a_sweep_is_refused(
    finished: Path, small_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _left(finished)
    code = main(["run", str(small_file), "--set", "name=reference"])
    assert code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        'error  a sweep named "reference" exists (8 of 8 trials done). Go on: raysel resume'
        f" reference --storage {finished.parent}. New one: --set name=reference-2"
    ]
    assert _left(finished) == before


def _left(folder: Path) -> list[Path]:
    """Every file but those that SQLite leaves beside what it reads."""
    return sorted(p for p in folder.rglob("*") if not p.name.endswith(("-wal", "-shm")))


def test_more_gpus_than_the_cluster_has_are_refused(
    small_file: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["run", str(small_file), "--set", "name=gpus", "--set", "resources.gpus=1"])
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error  resources.gpus: a trial asks for 1 GPU; the cluster has head (2 CPUs)"
    assert not (storage / "gpus").exists()


@pytest.mark.slow
def test_a_deterministic_error_is_reported_once_and_the_sweep_goes_on(small: Spec) -> None:
    from raysel.spec.sweep import StrategySpec, TrainingOverride

    # a learning rate that makes the loss infinite within an epoch
    bad = StrategySpec(training=TrainingOverride(learning_rate=1e30))
    spec = small.model_copy(
        update={"name": "failing", "strategies": small.strategies | {"full": bad}}
    )
    outcome = start(spec, Silent(), publish_nothing)
    failed = [t for t in states(outcome.folder.path).values() if t.status == "FAILED"]
    assert failed and all(t.strategy == "full" for t in failed)
    assert all(t.cause for t in failed)
    study = study_of(outcome.folder.path, "failing")
    assert {t.number for t in study.trials if t.state == OptunaState.FAIL} == {
        t.number for t in failed
    }
    assert "full" not in {row.strategy for row in outcome.results.confirm}
    assert outcome.results.verdict.outcome == "no_baseline"
