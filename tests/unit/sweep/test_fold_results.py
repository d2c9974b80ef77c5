"""results.json: what the events say, added up by hand."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from controller_kit import sweep

from raysel.models.layers import Layer, Partition
from raysel.record.state import TrialState
from raysel.spec.sweep import ObjectiveSpec, Spec
from raysel.sweep import fold_results as fold_results_module
from raysel.sweep.fold_results import (
    confirm_rows,
    fold_results,
    fold_verdict,
    stored_features,
    trial_result,
)
from raysel.sweep.inputs import SweepInputs
from raysel.sweep.results import ConfirmedStrategy, SourceFacts, Spent, SweepResults
from raysel.tasks.data_summary import DataSummary
from raysel.tasks.opened_task import open_task
from raysel.training.answers import FILE, Answers, write_answers

SPEC = sweep()
PARTITION = Partition(
    (
        Layer("stem", ("a.weight", "a.bias"), (6, 2)),
        Layer("body", ("b.weight",), (40,)),
        Layer("head", ("c.weight", "c.bias"), (10, 2)),
    ),
    ("c.weight", "c.bias"),
)


def _config(strategy: str, rate: float, seed: int) -> dict[str, Any]:
    return {
        "strategy": strategy,
        "parameters": {},
        "training": {"learning_rate": rate, "epochs": 2},
        "seed": seed,
    }


def _epochs(*errors: float, select: float = 1.0) -> tuple[dict[str, float], ...]:
    return tuple(
        {
            "epoch": epoch,
            "val/error": error,
            "val/loss": 3 * error,
            "cost/seconds": 0.5 * epoch,
            "select/stem": select / epoch,
            "select/body": 0.0,
            "select/head": 1.0,
        }
        for epoch, error in enumerate(errors, start=1)
    )


def _trial(number: int, strategy: str, rate: float, *errors: float, **changes: Any) -> TrialState:
    whole = TrialState(
        f"{number:04d}",
        number=number,
        strategy=strategy,
        label=f"{strategy} lr={rate}",
        config=_config(strategy, rate, seed=0),
        searched={"learning_rate": rate},
        status="COMPLETE",
        value=min(errors, default=None),
        epochs=_epochs(*errors),
    )
    return replace(whole, **changes)


def _run(number: int, strategy: str, rate: float, index: int, test: float, epoch: int = 2):
    return TrialState(
        f"confirm-{strategy}-s{index}",
        number=number,
        phase="confirm",
        strategy=strategy,
        label=f"{strategy} lr={rate}",
        config=_config(strategy, rate, seed=100 + index),
        status="COMPLETE",
        epochs=_epochs(0.5, 0.4 + 0.1 * index, select=0.5),
        end_metrics={
            "test/error": test,
            "test/loss": 2 * test,
            "test/balanced_error": test / 2,
            "confirm/epoch": float(epoch),
            "confirm/updated_share": 0.25,
        },
    )


SEARCH = [
    _trial(0, "full", 0.1, 0.6, 0.3),
    _trial(1, "bvg_ls", 0.2, 0.5, 0.2),
    _trial(2, "bvg_ls", 0.3, 0.7, status="PRUNED", cause="pruned at epoch 1", value=0.7),
    _trial(3, "full", 0.4, status="FAILED", cause="diverged: no", value=None),
    _trial(4, "surgical", 0.5, 0.4, status="INTERRUPTED", cause="stopped", value=None),
]
CONFIRM = [
    *(_run(2 * i, "full", 0.1, i, test) for i, test in enumerate((0.40, 0.50, 0.45))),
    *(_run(2 * i + 1, "bvg_ls", 0.2, i, test, 1) for i, test in enumerate((0.30, 0.44, 0.31))),
]


def _results(
    trials: list[TrialState],
    spec: Spec = SPEC,
    complete: bool = True,
    data: DataSummary | None = None,
) -> dict[str, Any]:
    task: Any = SimpleNamespace(summary=data, draws=(), rest=0, record={})
    config: Any = None
    source = SourceFacts(validation_accuracy=0.98, seconds=9.0)
    inputs = SweepInputs(spec, (), task, PARTITION, config, source=source)
    spent = Spent(seconds=12.5)
    return fold_results(inputs, "toy-1", trials, spent, {"raysel": "0"}, complete).to_dict()


def test_the_head_of_the_file_says_what_the_sweep_was():
    outcome = _results([*CONFIRM, *SEARCH])
    assert outcome["name"] == "toy" and outcome["sweep_id"] == "toy-1"
    assert outcome["status"] == "complete"
    assert outcome["objective"] == {"metric": "val/error", "mode": "min"}
    assert outcome["layers"] == ["stem", "body", "head"]
    assert outcome["layer_sizes"] == [8, 40, 12]
    assert outcome["source"] == {"validation_accuracy": 0.98, "seconds": 9.0}
    assert outcome["versions"] == {"raysel": "0"}
    assert outcome["spent"] == {
        "seconds": 12.5,
        "planned": None,
        "trials": 5,
        "runs": 6,
        "epochs": 2 + 2 + 1 + 1 + 6 * 2,
        "features": None,
    }
    assert _results(SEARCH, complete=False)["status"] == "interrupted"


def test_it_is_plain_json_and_read_again_as_it_was():
    outcome = _results([*SEARCH, *CONFIRM])
    assert json.loads(json.dumps(outcome, allow_nan=False)) == outcome
    again = SweepResults.model_validate(outcome).to_dict()
    assert json.dumps(again) == json.dumps(outcome)
    first = json.dumps(outcome["trials"][0]["epochs"])
    assert first == json.dumps([dict(row) for row in SEARCH[0].epochs])  # 1 is no 1.0


def test_every_trial_of_the_search_is_reported_as_it_ended():
    rows = _results([*CONFIRM, *reversed(SEARCH)])["trials"]
    assert [row["id"] for row in rows] == ["0000", "0001", "0002", "0003", "0004"]
    assert [row["status"] for row in rows] == [
        *("COMPLETE", "COMPLETE", "PRUNED", "FAILED", "INTERRUPTED")
    ]
    assert [row["value"] for row in rows] == [0.3, 0.2, 0.7, None, None]
    assert [row["best_epoch"] for row in rows] == [2, 2, 1, None, 1]
    assert [row["cause"] for row in rows][2:] == ["pruned at epoch 1", "diverged: no", "stopped"]
    assert rows[0]["seconds"] == 0.5 + 1.0
    assert rows[0]["searched"] == {"learning_rate": 0.1}
    assert rows[0]["epochs"] == [dict(row) for row in SEARCH[0].epochs]
    assert rows[0]["config"] == SEARCH[0].config and rows[0]["strategy"] == "full"


def test_the_best_epoch_is_the_first_of_equals_and_skips_what_was_not_finite():
    trial = _trial(0, "full", 0.1, 0.5, 0.4, 0.4)
    assert trial_result(trial, "val/error").best_epoch == 2
    unknown = replace(trial, epochs=({**trial.epochs[0], "val/error": None}, *trial.epochs[1:]))
    assert trial_result(unknown, "val/error").best_epoch == 2


def test_a_confirmed_strategy_is_the_mean_over_its_seeds():
    rows = {row["strategy"]: row for row in _results([*SEARCH, *CONFIRM])["confirm"]}
    full = rows["full"]
    assert full["trial"] == "0000" and full["label"] == "full lr=0.1"
    assert full["validation"] == pytest.approx((0.4 + 0.5 + 0.6) / 3)  # at epoch 2
    assert full["seconds"] == 1.5
    assert full["moved"] == pytest.approx({"stem": 0.5 * (1 + 0.5) / 2, "body": 0.0, "head": 1.0})
    assert full["updated_share"] == 0.25
    tests = [0.40, 0.50, 0.45]
    half = 4.302652729911275 * statistics.stdev(tests) / 3**0.5  # Student's t, 2 degrees
    mean = statistics.mean(tests)
    assert full["test_error"] == pytest.approx(
        {"mean": mean, "low": mean - half, "high": mean + half, "n": 3}
    )
    bvg = rows["bvg_ls"]
    assert bvg["trial"] == "0001"
    assert bvg["validation"] == pytest.approx(0.5)  # its chosen epoch is 1


def test_each_run_is_reported_at_its_chosen_epoch():
    rows = {row["strategy"]: row for row in _results([*CONFIRM, *SEARCH])["confirm"]}
    run = rows["full"]["runs"][1]
    assert run == {
        "id": "confirm-full-s1",
        "seed": 101,
        "split": 0,
        "source_seed": 0,
        "epoch": 2,
        "val/error": 0.5,
        "val/loss": 1.5,
        "test/error": 0.5,
        "test/loss": 1.0,
        "test/balanced_error": 0.25,
        "test/top5_error": None,
        "seconds": 1.5,
        "moved": {"stem": 0.375, "body": 0.0, "head": 1.0},
        "updated_share": 0.25,
        "source_error_before": None,
        "source_error": None,
        "distance": {},
        "peak_memory_bytes": None,
    }
    assert [r["epoch"] for r in rows["bvg_ls"]["runs"]] == [1, 1, 1]
    assert [r["val/error"] for r in rows["bvg_ls"]["runs"]] == [0.5, 0.5, 0.5]


def test_what_was_forgotten_is_the_mean_over_runs_that_all_measured_it():
    """Source errors .1 before and .2, .3, .4 after; each run's memory stands in its last epoch."""
    runs = []
    for index, run in enumerate(CONFIRM[:3]):
        measured = {"source_error_before": 0.1, "source_error": 0.2 + 0.1 * index}
        ends = {f"confirm/{name}": value for name, value in measured.items()}
        ends["confirm/distance/stem"] = float(index)
        last = {**run.epochs[-1], "cost/peak_memory_bytes": 100.0 * (1 + index)}
        epochs = (*run.epochs[:-1], last)
        runs.append(replace(run, epochs=epochs, end_metrics={**run.end_metrics, **ends}))
    (full, *_) = _results([*SEARCH, *runs])["confirm"]
    half = 4.302652729911275 * 0.1 / 3**0.5
    wanted = {"mean": 0.2, "low": 0.2 - half, "high": 0.2 + half, "n": 3}
    assert full["forgetting"] == pytest.approx(wanted)
    assert full["distance"] == {"stem": 1.0} and full["peak_memory_bytes"] == 200.0
    assert full["runs"][1]["source_error"] == pytest.approx(0.3)
    older = [*runs[:2], CONFIRM[2]]
    (full, *_) = _results([*SEARCH, *older])["confirm"]
    assert full["forgetting"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert full["distance"] == {} and full["peak_memory_bytes"] is None


def test_a_runs_test_curve_is_reported_where_it_was_measured():
    rows = tuple(
        {**row, "test_curve/error": 0.1 * row["epoch"], "test_curve/loss": 2.0}
        for row in CONFIRM[0].epochs
    )
    runs = [replace(CONFIRM[0], epochs=rows), *CONFIRM[1:]]
    reported = {r["id"]: r for row in _results([*SEARCH, *runs])["confirm"] for r in row["runs"]}
    assert reported["confirm-full-s0"]["test_curve"] == [
        {"epoch": 1, "error": 0.1, "loss": 2.0},
        {"epoch": 2, "error": 0.2, "loss": 2.0},
    ]
    assert "test_curve" not in reported["confirm-full-s1"]


def test_a_runs_errors_by_group_are_reported_where_it_has_groups():
    measured = {"worst_group_error": 0.5, "group_error/land": 0.5, "group_error/water": 0.1}
    ends = {**CONFIRM[0].end_metrics, **{f"test/{name}": v for name, v in measured.items()}}
    runs = [replace(CONFIRM[0], end_metrics=ends), *CONFIRM[1:]]
    reported = {r["id"]: r for row in _results([*SEARCH, *runs])["confirm"] for r in row["runs"]}
    run = reported["confirm-full-s0"]
    assert run["test/worst_group_error"] == 0.5
    assert run["group_errors"] == {"land": 0.5, "water": 0.1}
    assert not {"test/worst_group_error", "group_errors"} & set(reported["confirm-full-s1"])


def test_strategies_stand_in_the_order_of_their_validation_error_and_the_verdict_follows():
    better = [
        replace(run, epochs=_epochs(0.2, 0.1)) if run.strategy == "bvg_ls" else run
        for run in CONFIRM
    ]
    outcome = _results([*SEARCH, *better])
    assert [row["strategy"] for row in outcome["confirm"]] == ["bvg_ls", "full"]
    verdict = outcome["verdict"]
    assert verdict["winner"] == "bvg_ls" and verdict["against"] == "full" and verdict["n"] == 3
    assert verdict["difference"] == pytest.approx((0.30 - 0.40 + 0.44 - 0.50 + 0.31 - 0.45) / 3)
    assert verdict["sentence"]


def test_the_order_is_by_the_objective_of_the_sweep_and_the_winner_the_searchs():
    """By loss the order is turned around: the fewer mistakes, the more loss."""

    def turned(run):
        rows = _epochs(0.2, 0.1) if run.strategy == "bvg_ls" else run.epochs
        rows = tuple({**row, "val/loss": 1 - row["val/error"]} for row in rows)
        return replace(run, epochs=rows)

    spec = SPEC.model_copy(update={"objective": ObjectiveSpec(metric="val/loss")})
    outcome = _results([*SEARCH, *map(turned, CONFIRM)], spec=spec)
    assert [row["strategy"] for row in outcome["confirm"]] == ["full", "bvg_ls"]
    assert outcome["verdict"]["winner"] == "bvg_ls"  # its trial has the lowest value
    for row in outcome["confirm"]:
        losses = [run["val/loss"] for run in row["runs"]]
        assert row["validation"] == pytest.approx(statistics.mean(losses))
        errors = [run["val/error"] for run in row["runs"]]
        assert row["validation_error"] == pytest.approx(statistics.mean(errors))


def test_a_test_error_never_changes_the_order():
    worse = [
        replace(run, end_metrics={**run.end_metrics, "test/error": 0.0})
        if run.strategy == "bvg_ls"
        else run
        for run in CONFIRM
    ]
    orders = [
        [row["strategy"] for row in _results([*SEARCH, *runs])["confirm"]]
        for runs in (CONFIRM, worse)
    ]
    assert orders[0] == orders[1]


def test_a_run_that_did_not_complete_is_not_counted():
    failed = replace(CONFIRM[0], status="FAILED", end_metrics={})
    rows = {row["strategy"]: row for row in _results([*SEARCH, failed, *CONFIRM[1:]])["confirm"]}
    assert [run["seed"] for run in rows["full"]["runs"]] == [101, 102]
    assert rows["full"]["test_error"]["n"] == 2


def test_a_run_that_failed_is_named_in_the_verdict():
    """That it is left out favours its strategy: a run that diverges has a large error."""
    failed = replace(CONFIRM[0], status="FAILED", end_metrics={})
    stopped = replace(CONFIRM[1], status="INTERRUPTED", end_metrics={})
    sentence = _results([*SEARCH, failed, stopped, *CONFIRM[2:]])["verdict"]["sentence"]
    assert sentence.endswith("Confirm runs that failed are left out: confirm-full-s0.")


def test_the_verdict_alone_is_the_one_of_the_results(monkeypatch):
    task: Any = SimpleNamespace(summary=None, draws=(), rest=0, record={})
    config: Any = None
    inputs = SweepInputs(SPEC, (), task, PARTITION, config)
    trials = [*SEARCH, *CONFIRM]
    whole = fold_results(inputs, "toy-1", trials, Spent(), {}, True)

    def not_needed(*_: Any) -> None:
        raise AssertionError

    for name in ("improvements", "importance", "trial_result"):
        monkeypatch.setattr(fold_results_module, name, not_needed)
    assert fold_verdict(inputs, trials) == whole.verdict


def test_one_seed_has_no_interval():
    outcome = _results([*SEARCH, CONFIRM[0]])
    (row,) = outcome["confirm"]
    assert row["test_error"] == {"mean": 0.40, "low": None, "high": None, "n": 1}


def test_a_sweep_that_was_stopped_before_confirm_has_no_winner():
    outcome = _results(SEARCH, complete=False)
    assert outcome["confirm"] == []
    assert outcome["verdict"]["winner"] is None and outcome["verdict"]["outcome"] == "no_result"
    assert _results([])["trials"] == []


def test_the_origin_is_the_trial_of_the_same_configuration():
    """Another trial of the strategy differs by its rate alone."""
    other = _trial(5, "full", 0.11, 0.6, 0.1)
    rows = {r["strategy"]: r for r in _results([other, *SEARCH, *CONFIRM])["confirm"]}
    assert rows["full"]["trial"] == "0000"


def test_what_was_read_is_in_it():
    data = open_task(SPEC.task).summary()
    outcome = json.loads(json.dumps(_results([*SEARCH, *CONFIRM], data=data)))
    assert DataSummary.from_dict(outcome["data"]) == data
    assert _results(SEARCH)["data"] is None


# --- what `moved` says: shares of steps, mean weights, tensors summed up -------------------------

LAYERS = Partition(
    (Layer("stem", ("a.weight", "a.bias"), (30, 10)), Layer("head", ("h.weight",), (5,))),
    ("h.weight",),
)


def confirmed(strategy: str, *epochs: dict[str, float]) -> ConfirmedStrategy:
    rows = [
        {"epoch": i, "val/error": 0.2, "val/loss": 1.0, **{f"select/{k}": v for k, v in e.items()}}
        for i, e in enumerate(epochs, 1)
    ]
    end = {"test/error": 0.3, "test/loss": 1.0, "confirm/epoch": 1.0, "confirm/updated_share": 1.0}
    run = TrialState(
        "confirm-x-s0", 0, "confirm", strategy,
        config={"seed": 1}, status="COMPLETE", epochs=tuple(rows), end_metrics=end,
    )  # fmt: skip
    (row,) = confirm_rows([], [run], lambda _: LAYERS, "val/error")
    return row


def test_shares_of_steps_are_averaged_over_the_epochs():
    row = confirmed("bvg_ls", {"stem": 0.2, "head": 0.8}, {"stem": 0.6, "head": 0.4})
    assert row.moved == pytest.approx({"stem": 0.4, "head": 0.6})
    assert row.moved_is == "share of steps"


@pytest.mark.parametrize("strategy", ["auto_rgn", "surprise", "criticality_random_source"])
def test_learning_rate_weights_are_reported_as_weights(strategy):
    assert confirmed(strategy, {"stem": 0.1, "head": 1.0}).moved_is == "weight"


def test_tensors_are_summed_up_by_layer_and_size():
    """30 of the stem's 40 numbers moved in half of the steps, 10 in every one."""
    row = confirmed("bvg_ts", {"a.weight": 0.5, "a.bias": 1.0, "h.weight": 0.0})
    assert row.moved == pytest.approx({"stem": 0.625, "head": 0.0})


def test_answers_that_cannot_be_read_are_named_in_the_verdict(tmp_path):
    """The interval rests on them: without some it has another width."""
    for run in CONFIRM:
        (tmp_path / run.id).mkdir()
        labels = np.arange(100) % 4
        wrong = np.arange(100) < 100 * run.end_metrics["test/error"]
        write_answers(tmp_path / run.id, Answers(labels, labels + wrong, None))
    task: Any = SimpleNamespace(summary=None, draws=(), rest=0, record={})
    config: Any = None
    inputs = SweepInputs(SPEC, (), task, PARTITION, config)

    def sentence() -> str:
        trials = [*SEARCH, *CONFIRM]
        found = fold_results(inputs, "toy-1", trials, Spent(), {}, True, tmp_path.joinpath)
        return found.verdict.sentence

    assert "cannot be read" not in sentence()
    (tmp_path / CONFIRM[0].id / FILE).write_bytes(b"torn")
    assert f"The answers of {CONFIRM[0].id} cannot be read" in sentence()
    for run in CONFIRM:
        (tmp_path / run.id / FILE).write_bytes(b"torn")
    assert "cannot be read" in sentence(), "all of them"
    for run in CONFIRM:
        (tmp_path / run.id / FILE).unlink()
    assert "cannot be read" not in sentence(), "a sweep of an older version kept none"


def test_what_was_read_of_frozen_layers_is_added_up_over_trials_and_epochs():
    def epochs(*rows: tuple[float, float]) -> TrialState:
        return TrialState(
            "x",
            epochs=tuple(
                {"epoch": 1 + i, "cost/features_read": read, "cost/features_seconds": took}
                for i, (read, took) in enumerate(rows)
            ),
        )

    without = TrialState("y", epochs=_epochs(0.5, 0.4))
    assert stored_features([without]) is None
    found = stored_features([epochs((10, 1.5), (20, 0.0)), without, epochs((5, 0.25))])
    assert found is not None
    assert (found.trials, found.examples, found.seconds) == (2, 35, 1.75)
