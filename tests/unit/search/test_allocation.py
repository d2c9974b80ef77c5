"""The trials of each arm are those that a look at all of them finds, however a study grows."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.trial import TrialState

from raysel.search import allocation
from raysel.search.allocation import (
    TrialsByArm,
    WaitingTrials,
    WithinStrategy,
    arm_of_trial,
    configuration_of,
)
from raysel.search.space import STRATEGY

ARMS = ("full", "bvg_ls", "surgical")


@pytest.mark.parametrize("seed", range(5))
def test_the_trials_of_an_arm_are_those_of_a_search_through_all(seed):
    drawn = random.Random(seed)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    arms, asked = TrialsByArm(), []
    for _ in range(60):
        match drawn.randrange(4):
            case 0:  # an arm that is chosen before the trial is asked for
                study.enqueue_trial({STRATEGY: drawn.choice(ARMS)})
            case 1:  # one that the sampler chooses later
                asked.append(study.ask())
            case 2 if asked:
                asked.pop(drawn.randrange(len(asked))).suggest_categorical(STRATEGY, ARMS)
            case _:
                study.add_trial(optuna.create_trial(state=TrialState.FAIL))
        trials = study.get_trials(deepcopy=False)
        for arm in ARMS:
            expected = [t.number for t in trials if arm_of_trial(t) == arm]
            assert [t.number for t in arms.of(trials, arm)] == expected
            assert arms.count(trials, arm) == len(expected)
    assert arms.of(trials, "unknown") == [] == arms.of(trials, None)


def test_a_trial_whose_arm_is_known_is_not_looked_at_again(monkeypatch):
    study = optuna.create_study()
    for arm in ARMS:
        study.enqueue_trial({STRATEGY: arm})
    looked: list[int] = []

    def look(trial):
        looked.append(trial.number)
        return arm_of_trial(trial)

    monkeypatch.setattr(allocation, "arm_of_trial", look)
    arms = TrialsByArm()
    for _ in range(3):
        arms.of(study.get_trials(deepcopy=False), "full")
    assert looked == [0, 1, 2]


def test_peers_may_be_asked_for_by_state():
    seen = []

    class Looks(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            for states in (None, (TrialState.COMPLETE,)):
                seen.append([t.number for t in study.get_trials(states=states)])
            return False

    study = optuna.create_study(pruner=WithinStrategy(Looks()))
    for number in range(6):
        study.enqueue_trial({STRATEGY: ARMS[number % 2]})
        trial = study.ask()
        trial.suggest_categorical(STRATEGY, ARMS)
        if number < 4:
            study.tell(trial, 1.0)
    trial.report(0.5, 1)
    trial.should_prune()
    assert seen == [[1, 3, 5], [1, 3]]


def test_a_configuration_is_its_values():
    assert configuration_of({"a": 1.5, "b": "x"}) == configuration_of({"b": "x", "a": 1.5})
    assert configuration_of({"a": 0.1 + 0.2}) != configuration_of({"a": 0.3})


def test_the_first_that_waits_is_found_among_new_ones_and_those_that_still_wait():
    study, waiting = optuna.create_study(), WaitingTrials()
    assert waiting.first(study.trials) is None
    study.ask()
    for value in (0.1, 0.2):
        study.enqueue_trial({"x": value})
    assert waiting.first(study.trials) == waiting.first(study.trials) == 1
    for left in (2, None):
        study.ask()
        assert waiting.first(study.trials) == left
    study.ask()
    study.enqueue_trial({"x": 0.3})
    assert waiting.first(study.trials) == 4 and WaitingTrials().first(study.trials) == 4
