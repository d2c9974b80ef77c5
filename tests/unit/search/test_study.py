"""The study as a view of the record: a rebuild is the study that was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import optuna
import pytest
from controller_kit import LAYERS, Attempt, begin, error, run, sweep, work
from optuna.trial import TrialState as OptunaState

from raysel.common.errors import OperationalError
from raysel.engine.trial_source import Assignment
from raysel.search.space import Space
from raysel.search.study import study_of
from raysel.spec.trial_config import TrialConfig
from raysel.training.worker_messages import EpochMessage

METRIC = "val/error"


def nasty(config: TrialConfig, epoch: int) -> float:
    """Some diverge: what the study does not hear of."""
    value = error(config, epoch)
    return float("nan") if epoch == 3 and config.training.learning_rate > 0.06 else value


def said(study: optuna.Study) -> list[tuple[Any, ...]]:
    """What a study says of each trial, but for times; what samplers and pruners noted too."""
    return [
        (
            t.number,
            t.state,
            t.values,
            dict(t.params),
            dict(t.distributions),
            dict(t.intermediate_values),
            dict(t.system_attrs),
        )
        for t in study.get_trials(deepcopy=False)
        if t.state != OptunaState.WAITING
    ]


def together(attempt: Attempt, count: int, until: int) -> None:
    """`count` trials at a time, an epoch each in turn; the driver leaves after `until` epochs."""
    running: dict[str, tuple[TrialConfig, int]] = {}
    for _ in range(until):
        while len(running) < count and (assignment := attempt.controller.next_trial()) is not None:
            running[assignment.trial] = (assignment.config, 0)
        if not running:
            return
        trial = next(iter(running))
        config, epoch = running.pop(trial)
        metrics = {METRIC: nasty(config, epoch + 1)}
        if not attempt.controller.epoch(trial, EpochMessage(epoch + 1, metrics)):
            running[trial] = (config, epoch + 1)


CASES = {
    "equal": ("search.num_trials=16",),
    "adaptive": ("search.num_trials=16", "search.allocation=adaptive", "pruner.compare=all"),
    "hyperband": ("search.num_trials=16", "pruner.kind=hyperband"),
    "median": ("search.num_trials=16", "pruner.kind=median"),
    "repeats": (
        *("search.num_trials=16", "training.learning_rate=0.01"),
        "search.allocation=adaptive",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rebuilt_study_is_the_study_that_was(tmp_path, case):
    attempt = begin(tmp_path, sweep(*CASES[case]))
    together(attempt, 3, until=28)
    before = said(attempt.study)
    states = [t.state for t in attempt.trials]
    assert OptunaState.RUNNING in states and OptunaState.COMPLETE in states
    if case == "equal":
        assert OptunaState.PRUNED in states
        assert any("completed_rung_0" in attributes for *_, attributes in before)
    rebuilt = study_of(attempt.spec, Space(attempt.spec, LAYERS), attempt.states.values())
    assert said(rebuilt) == before
    waiting = [t.system_attrs for t in attempt.study.get_trials(states=(OptunaState.WAITING,))]
    assert [t.system_attrs for t in rebuilt.get_trials(states=(OptunaState.WAITING,))] == waiting


def worked(attempt: Attempt, count: int) -> list[Assignment]:
    """The next trials, each run to its end."""
    done = []
    for _ in range(count):
        assignment = attempt.controller.next_trial()
        assert assignment is not None
        work(attempt.controller, assignment)
        done.append(assignment)
    return done


@pytest.mark.parametrize("case", CASES)
def test_and_suggests_the_same_next(tmp_path, case):
    """With trials still running beside, which TPE takes for bad ones."""
    outcomes = []
    for drivers in (1, 2):
        folder = tmp_path / str(drivers)
        folder.mkdir()
        attempt = begin(folder, sweep(*CASES[case]))
        done = worked(attempt, 11)
        running = attempt.controller.next_trial()
        if drivers == 2:
            attempt = begin(folder, attempt.spec, 2)
            assert attempt.controller.next_trial() == running
        done += run(attempt)
        outcomes.append([(a.trial, a.config) for a in done])
    assert outcomes[0] == outcomes[1]


def test_a_record_that_misses_a_trial_is_reported(tmp_path):
    attempt = begin(tmp_path, sweep())
    worked(attempt, 3)
    trials = [t for t in attempt.states.values() if t.number != 1]
    with pytest.raises(OperationalError, match="trial 0001 is missing"):
        study_of(attempt.spec, Space(attempt.spec, LAYERS), trials)
    again = [*trials, replace(attempt.states["0001"])]  # their order does not matter
    assert said(study_of(attempt.spec, Space(attempt.spec, LAYERS), again)) == said(attempt.study)
