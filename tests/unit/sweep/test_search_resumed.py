"""A driver that dies changes nothing: the event comes first, and the next driver goes on."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from controller_kit import (
    Attempt,
    Died,
    assert_records_agree,
    begin,
    error,
    handed_out,
    run,
    start_one,
    sweep,
    work,
)
from few_kit import several
from optuna.trial import TrialState as OptunaState

from raysel.record.events import Event, Record
from raysel.record.failure_kind import FailureKind
from raysel.record.state import ENDED
from raysel.spec.sweep import Spec
from raysel.training.worker_messages import EpochMessage

COMPLETE, PRUNED, FAIL, RUNNING = (
    OptunaState.COMPLETE,
    OptunaState.PRUNED,
    OptunaState.FAIL,
    OptunaState.RUNNING,
)


# --- the event comes first ----------------------------------------------------------------------


def _dies(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise Died

    monkeypatch.setattr(owner, name, die)


def test_the_end_is_in_the_record_before_the_study_hears_of_it(tmp_path, monkeypatch):
    attempt = begin(tmp_path, sweep())
    assignment = start_one(attempt)
    _dies(monkeypatch, attempt.study, "tell")
    with pytest.raises(Died):
        work(attempt.controller, assignment)
    assert attempt.states["0000"].status == "COMPLETE"
    assert attempt.trials[0].state == RUNNING
    monkeypatch.undo()
    again = begin(tmp_path, attempt.spec, 2)
    assert_records_agree(again)
    assert again.trials[0].value == error(assignment.config, 3)


@pytest.mark.parametrize("status", ["FAILED", "PRUNED"])
def test_other_ends_are_replayed_as_what_they_were(tmp_path, monkeypatch, status):
    attempt = begin(tmp_path, sweep("pruner.compare=all"))
    work(attempt.controller, start_one(attempt))
    assignment = start_one(attempt)
    _dies(monkeypatch, attempt.study, "tell")
    with pytest.raises(Died):
        if status == "FAILED":
            attempt.controller.failed(assignment.trial, FailureKind.ERROR, "broken")
        work(attempt.controller, assignment, worker=lambda config, epoch: 9.0)
    monkeypatch.undo()
    again = begin(tmp_path, attempt.spec, 2)
    assert_records_agree(again)
    assert again.states["0001"].status == status
    assert [a.trial for a in run(again)] == [f"{n:04d}" for n in range(2, 7)]


def test_an_epoch_that_was_not_recorded_is_unknown_to_the_next_driver(tmp_path, monkeypatch):
    attempt = begin(tmp_path, sweep())
    assignment = start_one(attempt)
    attempt.controller.epoch(assignment.trial, EpochMessage(1, {"val/error": 0.5}))
    attempt.controller.epoch(assignment.trial, EpochMessage(2, {"val/error": 0.25}))
    _dies(monkeypatch, Record, "append")
    with pytest.raises(Died):
        attempt.controller.epoch(assignment.trial, EpochMessage(3, {"val/error": 0.1}))
    monkeypatch.undo()
    again = begin(tmp_path, attempt.spec, 2)
    assert again.trials[0].intermediate_values == {1: 0.5, 2: 0.25}
    resumed = start_one(again)
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
    work(attempt.controller, start_one(attempt))
    assert commits == [["started"], ["epoch", "ended"]]


def test_a_last_epoch_of_an_older_record_without_its_end_ends_the_trial(tmp_path):
    """Until the record had revisions, an epoch and its end were two commits."""
    attempt = begin(tmp_path, sweep("search.num_trials=4"))
    assignment = start_one(attempt)
    for epoch in (1, 2, 3):
        attempt.controller.epoch(assignment.trial, EpochMessage(epoch, {"val/error": 1 / epoch}))
    attempt.record.append(Event("0000", "epoch", 4, 1.0, {"metrics": {"val/error": 0.5}}))
    again = begin(tmp_path, attempt.spec, 2)
    assert start_one(again).trial == "0001"
    state = again.states["0000"]
    assert (state.status, state.value, len(state.epochs)) == ("COMPLETE", 1 / 3, 4)
    assert again.trials[0].state == COMPLETE


def test_such_an_epoch_without_a_finite_objective_fails_the_trial(tmp_path):
    attempt = begin(tmp_path, sweep("search.num_trials=4", "training.epochs=1"))
    assert start_one(attempt).trial == "0000"
    attempt.record.append(Event("0000", "epoch", 1, 1.0, {"metrics": {"val/error": math.nan}}))
    again = begin(tmp_path, attempt.spec, 2)
    assert start_one(again).trial == "0001"
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
    left = [start_one(first) for _ in range(3)]
    work(first.controller, left[1])
    first.controller.epoch(left[2].trial, EpochMessage(1, {"val/error": 0.1}))
    first.interrupt("stopped by the user")
    assert [s.status for s in first.states.values()] == ["INTERRUPTED", "COMPLETE", "INTERRUPTED"]
    assert [t.state for t in first.trials] == [RUNNING, COMPLETE, RUNNING]
    second = begin(tmp_path, first.spec, 2)
    taken = [start_one(second), start_one(second)]
    assert taken == [left[0], replace(left[2], reported_epochs=1)]
    assert [(e.trial, e.epoch) for e in second.events if e.kind == "resumed"] == [
        ("0000", 2),
        ("0002", 2),
    ]
    assert second.states["0000"].status == "RUNNING"
    work(second.controller, taken[0])
    work(second.controller, taken[1], after=1)
    assert [a.trial for a in run(second)] == [f"{n:04d}" for n in range(3, 7)]
    assert_records_agree(second)


def test_a_finished_search_has_nothing_left_for_a_new_driver(tmp_path):
    first = begin(tmp_path, sweep("search.num_trials=4"))
    run(first)
    second = begin(tmp_path, first.spec, 2)
    assert second.controller.next_trial() is None
    assert second.reported == []
    assert _outcome(second) == _outcome(first)


def test_an_interrupted_sweep_keeps_the_values_of_its_trials_first_attempt(tmp_path):
    first = begin(tmp_path, sweep())
    assignment = start_one(first)
    first.controller.epoch(assignment.trial, EpochMessage(1, {"val/error": 0.01}))
    first.interrupt("stopped")
    second = begin(tmp_path, first.spec, 2)
    work(second.controller, start_one(second), after=1)
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
    "moment", several(4, [*range(3, 94, 28), *(n for n in range(3, 94, 7) if (n - 3) % 28)])
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
    assert_records_agree(second)
    assert _outcome(second) == expected
    assert max(Counter((e.trial, e.kind, e.epoch) for e in second.events).values()) == 1


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median"])
def test_a_driver_that_dies_with_the_pruners_verdict_prunes_the_trial_in_its_next_attempt(
    tmp_path, monkeypatch, kind
):
    across = ("pruner.compare=all", f"pruner.kind={kind}", "search.num_trials=20")
    first = begin(tmp_path, sweep(*across))
    for _ in range(6):
        work(first.controller, start_one(first))
    append = Record.append

    def dying(record: Record, *events: Event) -> bool:
        if events[-1].payload.get("status") == "PRUNED":
            raise Died
        return append(record, *events)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "append", dying)
        with pytest.raises(Died):
            while True:  # hyperband prunes in some of its brackets only
                bad = start_one(first)
                work(first.controller, bad, worker=lambda config, epoch: 9.0)
    second = begin(tmp_path, first.spec, 2)
    reported = len(second.states[bad.trial].epochs)
    assert start_one(second) == replace(bad, reported_epochs=reported)
    assert second.controller.epoch(bad.trial, EpochMessage(reported + 1, {"val/error": 9.0}))
    assert_records_agree(second)


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
