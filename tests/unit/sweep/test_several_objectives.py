"""A search with several objectives: true states, the Pareto front, and resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from controller_kit import LAYERS, Attempt, Died, begin, start_one, sweep
from few_kit import crossed, several
from optuna.trial import TrialState as OptunaState

from raysel.engine.trial_source import Assignment
from raysel.record.events import SWEEP, Event, Record, sqlite_url
from raysel.record.state import ENDED, TrialState
from raysel.search.space import Space
from raysel.search.study import OPTUNA_STATE
from raysel.search.study_database import StudyDatabase
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.confirm import finalists
from raysel.sweep.ranking import pareto_front
from raysel.training.worker_messages import EpochMessage

METRICS = ("val/error", "cost/seconds")
SEVERAL = ("objective.secondary=[cost/seconds]", "search.num_trials=24", "pruner.compare=all")


def measured(config: TrialConfig, epoch: int) -> dict[str, float]:
    """A low learning rate is slow and good, whatever the arm."""
    rate = math.log10(config.training.learning_rate)  # -4 .. -1
    block = {"stem": 0.3, "body": 0.1, "head": 0.0}.get(config.parameters.get("block", ""), 0.2)
    error = 0.1 + 0.1 * (rate + 4) + 0.3 / epoch + 0.05 * block
    return {"val/error": error, "val/loss": 2 * error, "cost/seconds": 1.0 - rate + block}


def work(attempt: Attempt, assignment: Assignment, after: int = 0) -> None:
    for epoch in range(after + 1, assignment.config.training.epochs + 1):
        message = EpochMessage(epoch, measured(assignment.config, epoch))
        if attempt.controller.epoch(assignment.trial, message):
            return
    raise AssertionError("a trial must end with its last epoch")


def run(attempt: Attempt) -> list[Assignment]:
    done = []
    while (assignment := attempt.controller.next_trial()) is not None:
        epochs = attempt.states[assignment.trial].epochs
        done.append(assignment)
        work(attempt, assignment, after=max(len(epochs) - 1, 0))
    return done


def outcome(attempt: Attempt) -> list[tuple[Any, ...]]:
    return [
        (s.id, dict(s.config), s.status, s.value, dict(s.values), [dict(r) for r in s.epochs])
        for s in attempt.states.values()
    ]


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "qmc"])
def test_record_and_study_say_the_same_of_every_trial(tmp_path, sampler):
    attempt = begin(tmp_path, sweep(*SEVERAL, f"search.sampler={sampler}"))
    run(attempt)
    states = list(attempt.states.values())
    assert len(states) == len(attempt.trials) == 24
    assert {state.status for state in states} == {"COMPLETE", "PRUNED"}
    for frozen, state in zip(attempt.trials, states, strict=True):
        assert frozen.state == OPTUNA_STATE[state.status]
        seconds = math.fsum(row["cost/seconds"] for row in state.epochs)
        assert state.values == {"val/error": state.value, "cost/seconds": pytest.approx(seconds)}
        if state.status == "COMPLETE":
            assert frozen.values == [state.values[metric] for metric in METRICS]


def test_the_front_is_the_one_that_optuna_finds(tmp_path):
    attempt = begin(tmp_path, sweep(*SEVERAL, "pruner.kind=none"))
    run(attempt)
    mine = pareto_front(attempt.states.values(), "val/error")
    assert {trial.number for trial in mine} == {t.number for t in attempt.study.best_trials}
    assert mine[0].value == min(state.value for state in attempt.states.values())


def test_a_secondary_objective_that_is_not_finite_fails_the_trial(tmp_path):
    attempt = begin(tmp_path, sweep(*SEVERAL))
    trial = start_one(attempt).trial
    assert attempt.controller.epoch(trial, EpochMessage(1, {"val/error": 0.1}))
    state = attempt.states[trial]
    assert (state.status, state.cause) == ("FAILED", "cost/seconds is not finite at epoch 1")
    assert attempt.trials[0].state == OptunaState.FAIL


def test_the_dashboards_database_has_both_objectives_and_true_states(tmp_path):
    attempt, file = begin(tmp_path, sweep(*SEVERAL)), tmp_path / "optuna.db"
    objective = attempt.spec.objective.model_dump(mode="json")
    attempt.record.append(Event(SWEEP, "sweep", 0, 1.0, {"name": "toy", "objective": objective}))
    running = start_one(attempt)
    attempt.controller.epoch(running.trial, EpochMessage(1, measured(running.config, 1)))
    database = StudyDatabase(attempt.record, file)
    while database.export():
        pass
    work(attempt, running, after=1)
    run(attempt)
    database = StudyDatabase(attempt.record, file)  # the next driver's
    while database.export():
        pass
    stored = optuna.load_study(study_name="toy", storage=sqlite_url(file))
    assert stored.metric_names == list(METRICS)
    assert [(t.state, t.values, t.params) for t in stored.trials] == [
        (t.state, t.values, t.params) for t in attempt.trials
    ]
    assert {t.number for t in stored.best_trials} == {t.number for t in attempt.study.best_trials}


# --- resume ----------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "lost"), crossed(["tpe", "nsga2"], ["nothing", "the suggestion"])
)
def test_suggestions_do_not_depend_on_a_restart(tmp_path, monkeypatch, sampler, lost):
    """Beyond the samplers' random starts: two generations of NSGA-II in each arm."""
    overrides = ("search.num_trials=60", "pruner.kind=none", "training.epochs=1")
    spec = sweep(*SEVERAL, *overrides, f"search.sampler={sampler}")
    whole = begin(_folder(tmp_path, "whole"), spec)
    expected = run(whole)
    folder = _folder(tmp_path, "killed")
    first = begin(folder, spec)
    for _ in range(50):
        work(first, start_one(first))
    if lost == "the suggestion":

        def die(*_: Any) -> None:
            raise Died

        with monkeypatch.context() as patch:
            patch.setattr(Record, "append", die)
            with pytest.raises(Died):
                first.controller.next_trial()
    first.record.close()
    second = begin(folder, spec, 2)
    assert run(second) == expected[50:]
    assert outcome(second) == outcome(whole)


@pytest.mark.parametrize("sampler", several(1, ["tpe", "nsga2"]))
def test_trials_that_end_out_of_order_are_resumed_to_the_same_end(tmp_path, sampler):
    """Five at a time; a generation's parents then depend on who has ended."""
    spec = sweep(*SEVERAL, "search.num_trials=50", f"search.sampler={sampler}")

    def play(attempt: Attempt, rounds: int) -> None:
        """Each round an epoch of every trial that runs, the newest first."""
        live = [(a, a.reported_epochs) for a in iter(lambda: take(attempt), None)]
        for _ in range(rounds):
            left = []
            for assignment, done in reversed(live):
                message = EpochMessage(done + 1, measured(assignment.config, done + 1))
                if not attempt.controller.epoch(assignment.trial, message):
                    left.insert(0, (assignment, done + 1))
            live = left
            while len(live) < 5 and (new := attempt.controller.next_trial()) is not None:
                live.append((new, 0))

    def take(attempt: Attempt) -> Assignment | None:
        running = sum(state.status not in ENDED for state in attempt.states.values())
        taken = len(attempt.controller._live)
        return attempt.controller.next_trial() if taken < max(running, 5) else None

    whole = begin(_folder(tmp_path, "whole"), spec)
    play(whole, 200)
    assert all(state.status in ENDED for state in whole.states.values())
    folder = _folder(tmp_path, "killed")
    first = begin(folder, spec)
    play(first, 12)
    assert any(state.status not in ENDED for state in first.states.values())
    first.record.close()
    second = begin(folder, spec, 2)
    play(second, 200)
    assert outcome(second) == outcome(whole)


def test_nsga2_crosses_among_the_trials_of_an_arm(tmp_path):
    """After the first generation an arm's values come from its parents but for mutations."""
    overrides = ("search.num_trials=80", "pruner.kind=none", "training.epochs=1")
    attempt = begin(tmp_path, sweep(*SEVERAL, *overrides, "search.sampler=nsga2"))
    run(attempt)
    rates: dict[str, list[float]] = {}
    for state in attempt.states.values():
        rates.setdefault(state.strategy, []).append(state.config["training"]["learning_rate"])
    assert set(rates) == {"full", "linear_probe", "surgical", "bvg_ls"}
    inherited = 0
    for values in rates.values():
        first, later = values[:10], values[10:]
        assert len(set(first)) == len(later) == 10
        inherited += sum(any(np.isclose(v, known) for known in first) for v in later)
    assert inherited >= 10  # of 40; a child of two values loses the rate half the time


# --- what is confirmed ----------------------------------------------------------


def _trial(number: int, error: float, seconds: float, **changes: Any) -> TrialState:
    spec = sweep(f"training.learning_rate={0.001 * (number + 1)}")
    facts: dict[str, Any] = {
        "status": "COMPLETE",
        "number": number,
        "strategy": "full",
        "value": error,
        "values": {"cost/seconds": seconds, "val/error": error},  # in whatever order
        "config": Space(spec, LAYERS).first_configuration("full").model_dump(mode="json"),
    }
    return TrialState(f"{number:04d}", **(facts | changes))


def test_of_an_arms_front_the_best_and_the_two_farthest_from_it_are_confirmed():
    trials = [
        _trial(0, 0.10, 9.0),
        _trial(1, 0.12, 8.5),
        _trial(2, 0.20, 5.0),
        _trial(3, 0.21, 5.5),  # dominated by 2
        _trial(4, 0.30, 1.0),
        _trial(5, 0.01, 0.1, status="PRUNED"),
    ]
    chosen = finalists(trials, "val/error", "front")
    assert [f.trial for f in chosen] == ["0000", "0004", "0002"]
    assert [f.best for f in chosen] == [True, False, False]


def test_with_several_objectives_the_front_is_confirmed_unless_the_file_says_otherwise():
    assert sweep().confirm.configurations == "best"
    assert sweep(*SEVERAL).confirm.configurations == "front"
    assert sweep(*SEVERAL, "confirm.splits=3").confirm.splits == 3
    assert sweep(*SEVERAL, "confirm.configurations=best").confirm.configurations == "best"
