"""The confirm phase: the same seeds for every finalist, and nothing run twice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from controller_kit import interrupt_running, sweep
from optuna.trial import FixedTrial

from raysel.engine.trial_source import Assignment
from raysel.record.event_log import EventLog
from raysel.record.events import Event, Record, sqlite_url
from raysel.record.failure_kind import FailureKind
from raysel.record.state import ENDED, TrialState, fold
from raysel.search.space import Space
from raysel.spec.sweep import ConfirmSpec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.confirm import ConfirmController, Finalist, finalists, runs_of
from raysel.training.worker_messages import EpochMessage

SPEC = sweep("confirm.seeds=3", "training.epochs=2", "search.seed=7")
TEST = {"test/error": 0.3, "test/loss": 0.9, "confirm/epoch": 2.0, "confirm/updated_share": 1.0}


def _finalist(strategy: str, number: int) -> Finalist:
    space = Space(SPEC, ("stem", "head"))
    config = next(
        config
        for config in (_suggest(space, parameters) for parameters in space.first_trials())
        if config.strategy == strategy
    )
    return Finalist(f"{number:04d}", config, space.searched_values(config))


def _suggest(space: Space, parameters: dict[str, Any]) -> TrialConfig:
    return space.suggest(FixedTrial(parameters))


CHOSEN = [_finalist("bvg_ls", 3), _finalist("full", 1)]


class _Confirm:
    """A confirm phase over a record in a folder, in one life of its driver."""

    def __init__(self, folder: Path, attempt: int = 1) -> None:
        self.record = Record(sqlite_url(folder / "sweep.db"))
        self.reported: list[Event] = []
        ended = [name for name, state in self.states.items() if state.status in ENDED]
        self.controller = ConfirmController(
            runs_of(SPEC, CHOSEN), ended, EventLog(self.record, attempt, self.reported.append)
        )

    @property
    def states(self) -> dict[str, TrialState]:
        return fold(stored.event for stored in self.record.events())

    def work(self, run: Assignment, after: int = 0) -> None:
        for epoch in range(after + 1, run.config.training.epochs + 1):
            metrics = {"val/error": 0.4 / epoch, "cost/seconds": 1.0}
            last = epoch == run.config.training.epochs
            assert (
                self.controller.epoch(
                    run.trial, EpochMessage(epoch, metrics | (TEST if last else {}))
                )
                is last
            )


# --- which runs ---------------------------------------------------------------------------------


def confirm(**given):
    return SPEC.model_copy(update={"confirm": ConfirmSpec.model_validate(given)})


def facts(spec, **more):
    return [
        (r.config.seed, r.config.split, r.config.source_seed)
        for _, r in runs_of(spec, CHOSEN[:1], **more)
    ]


def test_every_split_has_training_seeds_of_its_own_and_the_splits_take_the_source_models_in_turn():
    spec = confirm(splits=3, seeds=2, source_seeds=2)
    first = spec.search.seed + 1
    assert facts(spec) == [
        *((first, 1, 0), (first + 1000, 1, 0)),
        *((first + 1, 2, 1), (first + 1001, 2, 1)),
        *((first + 2, 3, 0), (first + 1002, 3, 0)),
    ]


def test_runs_stay_as_they_were_when_splits_or_seeds_are_added():
    few = {run.trial: run.config for _, run in runs_of(confirm(splits=2, seeds=1), CHOSEN)}
    for more in ({"splits": 4, "seeds": 1}, {"splits": 2, "seeds": 3}):
        many = {run.trial: run.config for _, run in runs_of(confirm(**more), CHOSEN)}
        assert many.items() >= few.items() and len(many) > len(few)
    one = {run.trial: run.config for _, run in runs_of(confirm(splits=1, seeds=2), CHOSEN)}
    more = {run.trial: run.config for _, run in runs_of(confirm(splits=1, seeds=5), CHOSEN)}
    assert more.items() >= one.items()


def test_seeds_without_splits_are_as_many_splits_and_one_split_is_the_searchs_own():
    assert facts(confirm(seeds=3)) == facts(confirm(splits=3))
    assert [split for _, split, _ in facts(confirm(splits=1, seeds=3))] == [0, 0, 0]


def test_a_round_of_more_splits_begins_with_the_runs_of_the_one_before():
    spec = confirm(splits=3, until="decided", max_runs=9, smallest_effect=0.01)
    assert facts(spec, splits=5)[:3] == facts(spec)


def test_each_finalist_runs_with_each_seed_and_all_with_the_same():
    runs = runs_of(SPEC, CHOSEN)
    seeds = {strategy: [] for strategy in ("bvg_ls", "full")}
    for finalist, run in runs:
        seeds[run.config.strategy].append(run.config.seed)
        own = {"seed": run.config.seed, "split": run.config.split}
        assert run.config == finalist.config.model_copy(update=own)
    assert seeds["bvg_ls"] == seeds["full"] and len(set(seeds["full"])) == 3
    names = [run.trial for _, run in runs]
    assert sorted(names) == [f"confirm-{s}-s{i}" for s in ("bvg_ls", "full") for i in range(3)]


def test_its_seeds_are_not_the_one_that_the_search_chose_on():
    assert SPEC.search.seed not in {run.config.seed for _, run in runs_of(SPEC, CHOSEN)}


def test_seeds_come_first_so_that_an_interrupted_phase_has_pairs():
    first = [run.config.strategy for _, run in runs_of(SPEC, CHOSEN)][:2]
    assert first == ["bvg_ls", "full"]


def test_validation_alone_decides_who_is_a_finalist():
    def trial(number: int, strategy: str, value: float, **changes: object) -> TrialState:
        config = CHOSEN[1].config.model_copy(update={"strategy": strategy}).model_dump()
        fields = {"status": "COMPLETE", "value": value, "config": config, **changes}
        return TrialState(f"{number:04d}", number=number, strategy=strategy, **fields)

    trials = [
        trial(0, "full", 0.3),
        trial(1, "full", 0.2, end_metrics={"test/error": 0.9}),
        trial(2, "full", 0.1, status="PRUNED"),
        trial(3, "full", 0.05, phase="confirm"),
        trial(4, "bvg_ls", 0.5, end_metrics={"test/error": 0.0}),
        trial(5, "bvg_ls", 0.4),
        trial(6, "linear_probe", 0.1, status="FAILED"),
        trial(7, "surgical", 0.1, status="INTERRUPTED"),
        trial(8, "suffix", 0.3, status="PRUNED"),
        trial(9, "suffix", 0.2, status="PRUNED"),
    ]
    chosen = finalists(reversed(trials), "val/error")
    assert sorted(f.trial for f in chosen) == ["0001", "0005", "0009"]


# --- the books ----------------------------------------------------------------------------------


def test_every_run_is_handed_out_once_recorded_and_ended(tmp_path):
    phase = _Confirm(tmp_path)
    runs = list(iter(phase.controller.next_trial, None))
    assert [run.trial for run in runs] == [run.trial for _, run in runs_of(SPEC, CHOSEN)]
    for run in runs:
        phase.work(run)
    states = phase.states
    assert {state.status for state in states.values()} == {"COMPLETE"}
    assert [state.number for state in states.values()] == list(range(6))
    state = states["confirm-full-s1"]
    assert state.phase == "confirm" and state.strategy == "full"
    assert state.config["seed"] == runs[3].config.seed
    assert state.searched == dict(CHOSEN[1].searched)
    assert [row["epoch"] for row in state.epochs] == [1, 2]
    assert phase.reported == [stored.event for stored in phase.record.events()]


def test_test_metrics_stand_at_the_end_alone(tmp_path):
    phase = _Confirm(tmp_path)
    run = phase.controller.next_trial()
    assert run is not None
    phase.work(run)
    state = phase.states[run.trial]
    assert state.end_metrics == TEST
    assert not any(name.startswith(("test/", "confirm/")) for row in state.epochs for name in row)


def test_a_run_ends_with_the_epoch_that_is_tested(tmp_path):
    """Its worker waited long enough for a lower objective (`training.patience`)."""
    phase = _Confirm(tmp_path)
    run = phase.controller.next_trial()
    assert run is not None and run.config.training.epochs == 2
    metrics = {"val/error": 0.4, "cost/seconds": 1.0}
    assert phase.controller.epoch(run.trial, EpochMessage(1, metrics | TEST))
    assert phase.states[run.trial].status == "COMPLETE"


def test_a_run_that_fails_is_reported_once_with_its_cause(tmp_path):
    phase = _Confirm(tmp_path)
    run = phase.controller.next_trial()
    assert run is not None
    phase.controller.epoch(run.trial, EpochMessage(1, {"val/error": 0.5}))
    phase.controller.failed(run.trial, FailureKind.DIVERGED, "diverged")
    phase.controller.failed(run.trial, FailureKind.ERROR, "again")
    state = phase.states[run.trial]
    assert (state.status, state.cause, state.value) == ("FAILED", "diverged", None)
    assert sum(e.event.kind == "ended" for e in phase.record.events()) == 1


def test_a_run_whose_worker_is_lost_after_its_end_is_ended_once(tmp_path):
    attempt = _Confirm(tmp_path)
    run = attempt.controller.next_trial()
    attempt.work(run)
    before = list(attempt.reported)
    assert attempt.controller.epoch(run.trial, EpochMessage(1, {"val/error": 0.1}))
    assert attempt.reported == before


@pytest.mark.parametrize("name", ["test/error", "test/loss"])
def test_a_run_whose_test_metrics_are_not_finite_has_failed(tmp_path, name):
    """Results are computed from complete runs: one such would stop the sweep, at each resume."""
    phase = _Confirm(tmp_path)
    run = phase.controller.next_trial()
    assert run is not None
    phase.controller.epoch(run.trial, EpochMessage(1, {"val/error": 0.5}))
    assert phase.controller.epoch(
        run.trial, EpochMessage(2, {"val/error": 0.5, **TEST, name: math.nan})
    )
    assert phase.states[run.trial].status == "FAILED"


def test_a_new_driver_runs_what_has_not_ended_with_the_same_numbers(tmp_path):
    first = _Confirm(tmp_path)
    runs = [first.controller.next_trial() for _ in range(3)]
    assert runs[0] and runs[1] and runs[2]
    first.work(runs[0])
    first.controller.epoch(runs[1].trial, EpochMessage(1, {"val/error": 0.4}))
    first.controller.failed(runs[2].trial, FailureKind.ERROR, "broken")
    interrupt_running(first.record, first.reported, "stopped")
    assert first.states[runs[1].trial].status == "INTERRUPTED"
    second = _Confirm(tmp_path, attempt=2)
    left = list(iter(second.controller.next_trial, None))
    assert [run.trial for run in left] == [
        run.trial
        for _, run in runs_of(SPEC, CHOSEN)
        if run.trial not in (runs[0].trial, runs[2].trial)
    ]
    assert left[0] == runs[1]
    assert second.states[runs[1].trial].status == "RUNNING"
    second.work(left[0], after=0)  # its worker tells the first epoch again
    for run in left[1:]:
        second.work(run)
    states = second.states
    assert [s.number for s in sorted(states.values(), key=lambda s: s.number)] == list(range(6))
    assert states[runs[1].trial].status == "COMPLETE"
    assert len(states[runs[1].trial].epochs) == 2


def test_a_phase_that_has_ended_has_nothing_left(tmp_path):
    first = _Confirm(tmp_path)
    for run in iter(first.controller.next_trial, None):
        assert run is not None
        first.work(run)
    second = _Confirm(tmp_path, attempt=2)
    assert second.controller.next_trial() is None and second.reported == []
