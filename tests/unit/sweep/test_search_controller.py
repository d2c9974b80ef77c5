"""The search's controller: true states, an exact budget, and a driver that may die anywhere."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import ray
from controller_kit import Attempt, Died, begin, error, handed_out, run, sweep, work
from few_kit import few, slow
from optuna.trial import TrialState as OptunaState

from raysel.engine.tune import Assignment
from raysel.record.events import Event, Record
from raysel.record.failure_kind import FailureKind
from raysel.record.state import ENDED
from raysel.spec.sweep import Spec, TrialConfig
from raysel.training.worker_messages import EpochMessage

STARTED_BY_IMPORT = ray.is_initialized()
COMPLETE, PRUNED, FAIL, RUNNING = (
    OptunaState.COMPLETE,
    OptunaState.PRUNED,
    OptunaState.FAIL,
    OptunaState.RUNNING,
)
REPORTED_AS = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAILED": FAIL}


def _start_one(attempt: Attempt) -> Assignment:
    assignment = attempt.controller.next_trial()
    assert assignment is not None
    return assignment


def _assert_records_agree(attempt: Attempt) -> None:
    """Events and study say the same of every trial."""
    states = attempt.states
    assert [f"{t.number:04d}" for t in attempt.trials] == list(states)
    for trial in attempt.trials:
        state = states[f"{trial.number:04d}"]
        assert trial.state == REPORTED_AS[state.status]
        epochs = {row["epoch"]: row[attempt.spec.objective.metric] for row in state.epochs}
        assert trial.intermediate_values == {e: v for e, v in epochs.items() if v is not None}
        if trial.state == COMPLETE:
            assert trial.value == state.value


def test_importing_the_search_starts_no_ray():
    assert not STARTED_BY_IMPORT


# --- ask and tell -----------------------------------------------------------------------------


def test_a_sweep_ends_with_its_budget_and_true_states(tmp_path):
    attempt = begin(tmp_path, sweep())
    assignments = run(attempt)
    assert [a.trial for a in assignments] == [f"{n:04d}" for n in range(7)]
    assert attempt.controller.next_trial() is None
    _assert_records_agree(attempt)
    counts = Counter(t.state for t in attempt.trials)
    assert set(counts) == {COMPLETE, PRUNED} and counts.total() == 7
    assert {a.config.strategy for a in assignments[:4]} == {
        *("surgical", "bvg_ls", "full", "linear_probe")  # the published settings come first
    }


def test_the_events_are_those_of_the_record(tmp_path):
    attempt = begin(tmp_path, sweep())
    assignment = _start_one(attempt)
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
    assignment = _start_one(attempt)
    work(attempt.controller, assignment)
    assert attempt.trials[0].value == error(assignment.config, expected)
    assert attempt.states["0000"].value == error(assignment.config, expected)


def test_b05_a_pruned_trial_is_pruned_in_both_with_its_last_value_in_the_study(tmp_path):
    attempt = begin(tmp_path, sweep("pruner.compare=all"))
    work(attempt.controller, _start_one(attempt))
    assignment = _start_one(attempt)
    last = work(attempt.controller, assignment, worker=lambda config, epoch: 5.0 + epoch)
    assert last < 4
    assert attempt.trials[1].state == PRUNED and attempt.trials[1].value == 5.0 + last
    state = attempt.states["0001"]
    assert state.status == "PRUNED" and state.cause == f"pruned at epoch {last}"


@pytest.mark.parametrize(("epoch", "value"), [(1, math.nan), (3, math.inf), (4, -math.inf)])
def test_an_objective_that_is_not_finite_is_a_failure(tmp_path, epoch, value):
    attempt = begin(tmp_path, sweep())
    assignment = _start_one(attempt)
    last = work(
        attempt.controller, assignment, worker=lambda c, e: value if e == epoch else error(c, e)
    )
    assert last == epoch
    _assert_records_agree(attempt)
    assert attempt.trials[0].state == FAIL
    state = attempt.states["0000"]
    assert state.status == "FAILED" and state.value is None
    assert "val/error" in (state.cause or "") and str(epoch) in (state.cause or "")


def test_an_objective_that_is_missing_is_a_failure(tmp_path):
    attempt = begin(tmp_path, sweep())
    assert attempt.controller.epoch(_start_one(attempt).trial, EpochMessage(1, {"train/loss": 0.3}))
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
    _assert_records_agree(attempt)
    assert len(attempt.trials) == 4 and attempt.trials[0].state == FAIL
    assert attempt.states["0000"].cause == "out of memory"
    assert sum(e.kind == "ended" for e in attempt.events) == 4


def test_a_trial_whose_worker_is_lost_after_its_end_is_ended_once(tmp_path):
    """Ray does not know of the end yet, and tries it again."""
    attempt = begin(tmp_path, sweep("search.num_trials=4"))
    assignment = _start_one(attempt)
    work(attempt.controller, assignment)
    before = attempt.events
    assert attempt.controller.epoch(assignment.trial, EpochMessage(1, {"val/error": 0.1}))
    assert attempt.events == before


def test_trials_at_the_same_time_keep_the_budget(tmp_path):
    attempt = begin(tmp_path, sweep())
    live = [_start_one(attempt) for _ in range(7)]
    assert attempt.controller.next_trial() is None
    for epoch in (1, 2, 3, 4):
        for assignment in list(live):
            if attempt.controller.epoch(
                assignment.trial,
                EpochMessage(epoch, {"val/error": error(assignment.config, epoch)}),
            ):
                live.remove(assignment)
    assert live == []
    _assert_records_agree(attempt)


def test_a_space_smaller_than_the_budget_ends_when_it_is_walked(tmp_path):
    spec = sweep(
        "training.learning_rate=0.01",
        "strategies.bvg_ls.ema_decay=0.9",
        "search.num_trials=20",
    )
    assignments = run(begin(tmp_path, spec))
    tried = [(a.config.strategy, a.config.parameters.get("block")) for a in assignments]
    assert len(tried) == len(set(tried)) == 6  # three blocks and three strategies without choice


# --- the event comes first ----------------------------------------------------------------------


def _dies(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise Died

    monkeypatch.setattr(owner, name, die)


def test_the_end_is_in_the_record_before_the_study_hears_of_it(tmp_path, monkeypatch):
    attempt = begin(tmp_path, sweep())
    assignment = _start_one(attempt)
    _dies(monkeypatch, attempt.study, "tell")
    with pytest.raises(Died):
        work(attempt.controller, assignment)
    assert attempt.states["0000"].status == "COMPLETE"
    assert attempt.trials[0].state == RUNNING
    monkeypatch.undo()
    again = begin(tmp_path, attempt.spec, 2)
    _assert_records_agree(again)
    assert again.trials[0].value == error(assignment.config, 3)


@pytest.mark.parametrize("status", ["FAILED", "PRUNED"])
def test_other_ends_are_replayed_as_what_they_were(tmp_path, monkeypatch, status):
    attempt = begin(tmp_path, sweep("pruner.compare=all"))
    work(attempt.controller, _start_one(attempt))
    assignment = _start_one(attempt)
    _dies(monkeypatch, attempt.study, "tell")
    with pytest.raises(Died):
        if status == "FAILED":
            attempt.controller.failed(assignment.trial, FailureKind.ERROR, "broken")
        work(attempt.controller, assignment, worker=lambda config, epoch: 9.0)
    monkeypatch.undo()
    again = begin(tmp_path, attempt.spec, 2)
    _assert_records_agree(again)
    assert again.states["0001"].status == status
    assert [a.trial for a in run(again)] == [f"{n:04d}" for n in range(2, 7)]


def test_an_epoch_that_was_not_recorded_is_unknown_to_the_next_driver(tmp_path, monkeypatch):
    attempt = begin(tmp_path, sweep())
    assignment = _start_one(attempt)
    attempt.controller.epoch(assignment.trial, EpochMessage(1, {"val/error": 0.5}))
    attempt.controller.epoch(assignment.trial, EpochMessage(2, {"val/error": 0.25}))
    _dies(monkeypatch, Record, "append")
    with pytest.raises(Died):
        attempt.controller.epoch(assignment.trial, EpochMessage(3, {"val/error": 0.1}))
    monkeypatch.undo()
    again = begin(tmp_path, attempt.spec, 2)
    assert again.trials[0].intermediate_values == {1: 0.5, 2: 0.25}
    resumed = _start_one(again)
    assert resumed == replace(assignment, reported_epochs=2)
    work(again.controller, resumed, after=2)
    assert again.trials[0].value == 0.25  # the best epoch is one of the first life


def test_an_epoch_and_the_end_that_it_brings_are_recorded_together(tmp_path, monkeypatch):
    attempt = begin(tmp_path, sweep("training.epochs=1"))
    commits: list[list[str]] = []
    append = Record.append

    def counting(record: Record, *events: Event) -> bool:
        commits.append([event.kind for event in events])
        return append(record, *events)

    monkeypatch.setattr(Record, "append", counting)
    work(attempt.controller, _start_one(attempt))
    assert commits == [["started"], ["epoch", "ended"]]


def test_a_last_epoch_of_an_older_record_without_its_end_ends_the_trial(tmp_path):
    """Until the record had revisions, an epoch and its end were two commits."""
    attempt = begin(tmp_path, sweep("search.num_trials=4"))
    assignment = _start_one(attempt)
    for epoch in (1, 2, 3):
        attempt.controller.epoch(assignment.trial, EpochMessage(epoch, {"val/error": 1 / epoch}))
    attempt.record.append(Event("0000", "epoch", 4, 1.0, {"metrics": {"val/error": 0.5}}))
    again = begin(tmp_path, attempt.spec, 2)
    assert _start_one(again).trial == "0001"
    state = again.states["0000"]
    assert (state.status, state.value, len(state.epochs)) == ("COMPLETE", 1 / 3, 4)
    assert again.trials[0].state == COMPLETE


def test_such_an_epoch_without_a_finite_objective_fails_the_trial(tmp_path):
    attempt = begin(tmp_path, sweep("search.num_trials=4", "training.epochs=1"))
    assert _start_one(attempt).trial == "0000"
    attempt.record.append(Event("0000", "epoch", 1, 1.0, {"metrics": {"val/error": math.nan}}))
    again = begin(tmp_path, attempt.spec, 2)
    assert _start_one(again).trial == "0001"
    state = again.states["0000"]
    assert (state.status, state.cause) == ("FAILED", "val/error is not finite at epoch 1")
    assert again.trials[0].state == FAIL


# --- a new driver over the same record and study --------------------------------------------------


def _outcome(attempt: Attempt) -> list[tuple[Any, ...]]:
    """What a sweep came to, but for times: each trial's configuration, epochs and end."""
    return [
        (s.id, dict(s.config), s.status, s.value, s.cause, [dict(row) for row in s.epochs])
        for s in attempt.states.values()
    ]


def test_b06_what_was_left_is_taken_up_first_and_reported_as_resumed(tmp_path):
    first = begin(tmp_path, sweep())
    left = [_start_one(first) for _ in range(3)]
    work(first.controller, left[1])
    first.controller.epoch(left[2].trial, EpochMessage(1, {"val/error": 0.1}))
    first.controller.interrupt("stopped by the user")
    assert [s.status for s in first.states.values()] == ["INTERRUPTED", "COMPLETE", "INTERRUPTED"]
    assert [t.state for t in first.trials] == [RUNNING, COMPLETE, RUNNING]
    second = begin(tmp_path, first.spec, 2)
    taken = [_start_one(second), _start_one(second)]
    assert taken == [left[0], replace(left[2], reported_epochs=1)]
    assert [(e.trial, e.epoch) for e in second.events if e.kind == "resumed"] == [
        ("0000", 2),
        ("0002", 2),
    ]
    assert second.states["0000"].status == "RUNNING"
    work(second.controller, taken[0])
    work(second.controller, taken[1], after=1)
    assert [a.trial for a in run(second)] == [f"{n:04d}" for n in range(3, 7)]
    _assert_records_agree(second)


def test_a_finished_search_has_nothing_left_for_a_new_driver(tmp_path):
    first = begin(tmp_path, sweep("search.num_trials=4"))
    run(first)
    second = begin(tmp_path, first.spec, 2)
    assert second.controller.next_trial() is None
    assert second.reported == []
    assert _outcome(second) == _outcome(first)


def test_an_interrupted_sweep_keeps_the_values_of_its_trials_first_attempt(tmp_path):
    first = begin(tmp_path, sweep())
    assignment = _start_one(first)
    first.controller.epoch(assignment.trial, EpochMessage(1, {"val/error": 0.01}))
    first.controller.interrupt("stopped")
    second = begin(tmp_path, first.spec, 2)
    work(second.controller, _start_one(second), after=1)
    assert second.states["0000"].value == 0.01


class _Mortal:
    """Counts what changes the record or the study and dies before or after the n-th time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, study: optuna.Study) -> None:
        self.count, self.dies_at = 0, math.inf
        for owner, name in (
            (Record, "append"),
            (optuna.trial.Trial, "report"),
            (study, "ask"),
            (study, "tell"),
        ):
            monkeypatch.setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, method: Any) -> Any:
        def watched(*arguments: Any, **options: Any) -> Any:
            self._tick()
            result = method(*arguments, **options)
            self._tick()
            return result

        return watched

    def _tick(self) -> None:
        self.count += 1
        if self.count == self.dies_at:
            raise Died


SMALL = ("search.num_trials=6", "training.epochs=3")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[list[tuple[Any, ...]], int]:
    """What the small sweep comes to, and how many moments there are to die in."""
    with pytest.MonkeyPatch.context() as patch:
        attempt = begin(tmp_path_factory.mktemp("whole"), sweep(*SMALL))
        mortal = _Mortal(patch, attempt.study)
        run(attempt)
    return _outcome(attempt), mortal.count


# spread over the sweep: each kind of moment is met, early or late
@pytest.mark.parametrize(
    "moment", [*range(3, 94, 28), *slow(m for m in range(3, 94, 7) if m % 28 != 3)]
)
def test_a_driver_that_dies_at_any_moment_changes_nothing(
    tmp_path, monkeypatch, uninterrupted, moment
):
    expected, moments = uninterrupted
    assert moment < moments  # else the sweep would be over
    spec = sweep(*SMALL)
    first = begin(tmp_path, spec)
    with monkeypatch.context() as patch:
        mortal = _Mortal(patch, first.study)
        mortal.dies_at = moment
        with pytest.raises(Died):
            run(first)
    ended = {name for name, state in first.states.items() if state.status in ENDED}
    first.record.close()
    second = begin(tmp_path, spec, 2)
    again = [assignment.trial for assignment in handed_out(second)]
    assert not ended & set(again)
    _assert_records_agree(second)
    assert _outcome(second) == expected
    assert max(Counter((e.trial, e.kind, e.epoch) for e in second.events).values()) == 1


@pytest.mark.parametrize("kind", few("asha", "hyperband", "median"))
def test_a_driver_that_dies_with_the_pruners_verdict_prunes_the_trial_in_its_next_attempt(
    tmp_path, monkeypatch, kind
):
    across = ("pruner.compare=all", f"pruner.kind={kind}", "search.num_trials=20")
    first = begin(tmp_path, sweep(*across))
    for _ in range(6):
        work(first.controller, _start_one(first))
    append = Record.append

    def dying(record: Record, *events: Event) -> bool:
        if events[-1].payload.get("status") == "PRUNED":
            raise Died
        return append(record, *events)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "append", dying)
        with pytest.raises(Died):
            while True:  # hyperband prunes in some of its brackets only
                bad = _start_one(first)
                work(first.controller, bad, worker=lambda config, epoch: 9.0)
    second = begin(tmp_path, first.spec, 2)
    reported = len(second.states[bad.trial].epochs)
    assert _start_one(second) == replace(bad, reported_epochs=reported)
    assert second.controller.epoch(bad.trial, EpochMessage(reported + 1, {"val/error": 9.0}))
    _assert_records_agree(second)


@pytest.mark.parametrize("died", ["before it was written down", "before a value was chosen"])
def test_b07_suggestions_do_not_depend_on_a_restart(tmp_path, monkeypatch, died):
    """Beyond the sampler's random start, so that it looks at what came before."""
    spec = sweep("search.num_trials=14", "training.epochs=1")
    whole = run(begin(_folder(tmp_path, "whole"), spec))
    folder = _folder(tmp_path, "killed")
    first = begin(folder, spec)
    trials = handed_out(first)
    for _ in range(12):
        next(trials)
    owner, name = (
        (Record, "append") if "written" in died else (type(first.controller._space), "suggest")
    )
    with monkeypatch.context() as patch:
        work(first.controller, whole[11])
        _dies(patch, owner, name)
        with pytest.raises(Died):
            first.controller.next_trial()
    assert len(first.trials) == 13
    second = begin(folder, spec, 2)
    assert run(second) == whole[12:]
    assert len({str(a.config) for a in whole}) == 14


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def test_the_same_file_gives_the_same_sweep_and_another_seed_another(tmp_path):
    outcomes = []
    for index, seed in enumerate((3, 3, 4)):
        spec: Spec = sweep(*SMALL, f"search.seed={seed}")
        attempt = begin(_folder(tmp_path, str(index)), spec)
        run(attempt)
        outcomes.append(_outcome(attempt))
    assert outcomes[0] == outcomes[1] != outcomes[2]
