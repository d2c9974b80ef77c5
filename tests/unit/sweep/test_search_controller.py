"""The search's controller: true states and an exact budget."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import ray
from controller_kit import (
    assert_records_agree,
    begin,
    error,
    run,
    start_one,
    sweep,
    work,
)
from optuna.trial import TrialState as OptunaState

from raysel.record.failure_kind import FailureKind
from raysel.spec.trial_config import TrialConfig
from raysel.training.worker_messages import EpochMessage

STARTED_BY_IMPORT = ray.is_initialized()
COMPLETE, PRUNED, FAIL = (OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.FAIL)


def test_importing_the_search_starts_no_ray():
    assert not STARTED_BY_IMPORT


# --- ask and tell -----------------------------------------------------------------------------


def test_a_sweep_ends_with_its_budget_and_true_states(tmp_path):
    attempt = begin(tmp_path, sweep())
    assignments = run(attempt)
    assert [a.trial for a in assignments] == [f"{n:04d}" for n in range(7)]
    assert attempt.controller.next_trial() is None
    assert_records_agree(attempt)
    counts = Counter(t.state for t in attempt.trials)
    assert set(counts) == {COMPLETE, PRUNED} and counts.total() == 7
    assert {a.config.strategy for a in assignments[:4]} == {
        *("surgical", "bvg_ls", "full", "linear_probe")  # the published settings come first
    }


def test_the_events_are_those_of_the_record(tmp_path):
    attempt = begin(tmp_path, sweep())
    assignment = start_one(attempt)
    work(attempt.controller, assignment)
    kinds = [(e.kind, e.epoch) for e in attempt.events]
    assert kinds == [("started", 0), *(("epoch", n) for n in (1, 2, 3, 4)), ("ended", 4)]
    started, ended = attempt.events[0].payload, attempt.events[-1].payload
    config = assignment.config
    assert started["number"] == 0 and started["phase"] == "search"
    assert started["strategy"] == config.strategy
    assert TrialConfig.model_validate(started["config"]) == config
    assert started["searched"]["learning_rate"] == config.training.learning_rate
    assert started["label"] == config.label(started["searched"])
    assert attempt.events[2].payload["metrics"]["val/error"] == error(config, 2)
    assert ended == {"status": "COMPLETE", "cause": None, "value": error(config, 3)}
    assert attempt.reported == attempt.events  # the observer gets each of them


@pytest.mark.parametrize(("epoch", "expected"), [("best", 3), ("last", 4)])
def test_a_trials_value_is_that_of_the_epoch_that_would_be_tested(tmp_path, epoch, expected):
    attempt = begin(tmp_path, sweep(f"confirm.epoch={epoch}"))
    assignment = start_one(attempt)
    work(attempt.controller, assignment)
    assert attempt.trials[0].value == error(assignment.config, expected)
    assert attempt.states["0000"].value == error(assignment.config, expected)


def test_b05_a_pruned_trial_is_pruned_in_both_with_its_last_value_in_the_study(tmp_path):
    attempt = begin(tmp_path, sweep("pruner.compare=all"))
    work(attempt.controller, start_one(attempt))
    assignment = start_one(attempt)
    last = work(attempt.controller, assignment, worker=lambda config, epoch: 5.0 + epoch)
    assert last < 4
    assert attempt.trials[1].state == PRUNED and attempt.trials[1].value == 5.0 + last
    state = attempt.states["0001"]
    assert state.status == "PRUNED" and state.cause == f"pruned at epoch {last}"


@pytest.mark.parametrize(("epoch", "value"), [(1, math.nan), (3, math.inf), (4, -math.inf)])
def test_an_objective_that_is_not_finite_is_a_failure(tmp_path, epoch, value):
    attempt = begin(tmp_path, sweep())
    assignment = start_one(attempt)
    last = work(
        attempt.controller, assignment, worker=lambda c, e: value if e == epoch else error(c, e)
    )
    assert last == epoch
    assert_records_agree(attempt)
    assert attempt.trials[0].state == FAIL
    state = attempt.states["0000"]
    assert state.status == "FAILED" and state.value is None
    assert "val/error" in (state.cause or "") and str(epoch) in (state.cause or "")


def test_an_objective_that_is_missing_is_a_failure(tmp_path):
    attempt = begin(tmp_path, sweep())
    assert attempt.controller.epoch(start_one(attempt).trial, EpochMessage(1, {"train/loss": 0.3}))
    assert attempt.trials[0].state == FAIL and attempt.states["0000"].status == "FAILED"


def test_a_trial_that_failed_is_reported_with_its_cause_and_counts(tmp_path):
    attempt = begin(tmp_path, sweep("search.num_trials=4"))
    for index, assignment in enumerate(iter(attempt.controller.next_trial, None)):
        assert assignment is not None
        if index:
            work(attempt.controller, assignment)
            continue
        attempt.controller.epoch(assignment.trial, EpochMessage(1, {"val/error": 0.5}))
        attempt.controller.failed(assignment.trial, FailureKind.ERROR, "out of memory")
        # a worker's last report
        attempt.controller.failed(assignment.trial, FailureKind.ERROR, "reported twice")
    assert_records_agree(attempt)
    assert len(attempt.trials) == 4 and attempt.trials[0].state == FAIL
    assert attempt.states["0000"].cause == "out of memory"
    assert sum(e.kind == "ended" for e in attempt.events) == 4


def test_a_trial_whose_worker_is_lost_after_its_end_is_ended_once(tmp_path):
    """Ray does not know of the end yet, and tries it again."""
    attempt = begin(tmp_path, sweep("search.num_trials=4"))
    assignment = start_one(attempt)
    work(attempt.controller, assignment)
    before = attempt.events
    assert attempt.controller.epoch(assignment.trial, EpochMessage(1, {"val/error": 0.1}))
    assert attempt.events == before


def test_trials_at_the_same_time_keep_the_budget(tmp_path):
    attempt = begin(tmp_path, sweep())
    live = [start_one(attempt) for _ in range(7)]
    assert attempt.controller.next_trial() is None
    for epoch in (1, 2, 3, 4):
        for assignment in list(live):
            if attempt.controller.epoch(
                assignment.trial,
                EpochMessage(epoch, {"val/error": error(assignment.config, epoch)}),
            ):
                live.remove(assignment)
    assert live == []
    assert_records_agree(attempt)


def test_a_space_smaller_than_the_budget_ends_when_it_is_walked(tmp_path):
    spec = sweep(
        "training.learning_rate=0.01",
        "strategies.bvg_ls.ema_decay=0.9",
        "search.num_trials=20",
    )
    assignments = run(begin(tmp_path, spec))
    tried = [(a.config.strategy, a.config.parameters.get("block")) for a in assignments]
    assert len(tried) == len(set(tried)) == 6  # three blocks and three strategies without choice


# --- patience ---------------------------------------------------------------------------------


def test_a_trial_whose_patience_is_over_is_complete_with_its_best_value(tmp_path):
    attempt = begin(tmp_path, sweep("training.patience=1", "pruner.kind=none"))
    assignment = start_one(attempt)
    values = {1: 0.4, 2: 0.3, 3: 0.35, 4: 0.1}
    assert work(attempt.controller, assignment, worker=lambda config, epoch: values[epoch]) == 3
    state = attempt.states[assignment.trial]
    assert (state.status, state.value, len(state.epochs)) == ("COMPLETE", 0.3, 3)
    assert_records_agree(attempt)


def test_the_next_driver_ends_a_trial_whose_patience_is_over(tmp_path):
    spec = sweep("training.patience=1", "pruner.kind=none")
    attempt = begin(tmp_path, spec)
    assignment = start_one(attempt)
    attempt.controller._verdict = lambda *_: None  # type: ignore[method-assign]
    for epoch, value in enumerate((0.3, 0.4), 1):
        metrics = {"val/error": value, "val/loss": 1.0}
        attempt.controller.epoch(assignment.trial, EpochMessage(epoch, metrics))
    again = begin(tmp_path, spec, 2)
    assert start_one(again).trial != assignment.trial
    state = again.states[assignment.trial]
    assert (state.status, state.value) == ("COMPLETE", 0.3)
