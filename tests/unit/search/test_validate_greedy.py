"""`search.sampler: greedy`: what it cannot be is one line, what it may come to is a note."""

from __future__ import annotations

import pytest

from raysel.search.summary import summary
from raysel.search.validate import check, notes
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.tasks.opened_task import open_task

FILE = """
name: grown
task: {data: digits}
model: {name: test_resnet}
strategies: {surgical: }
training: {learning_rate: 0.1}
search: {sampler: greedy, num_trials: 40}
pruner: {kind: none}
"""


def spec(*overrides: str) -> Spec:
    return parse(FILE, overrides)


def test_the_layers_may_be_left_to_it_or_be_said_to_be_searched():
    assert check(spec()) == check(spec("strategies.surgical.block=search")) == []
    found = summary(spec(), open_task(spec().task))
    assert (found.sampler, found.trials, found.size) == ("greedy", 21, 63)


def test_another_arm_may_have_layers_that_stay():
    assert check(spec("strategies.one={strategy: surgical, block: stem}")) == []


@pytest.mark.parametrize(
    ("trials", "note"),
    [
        (40, "21 trials at most"),
        (12, "11 trials at most, which hold 2 of 6 rounds"),
    ],
)
def test_a_note_says_how_far_it_may_go(trials, note):
    chosen = spec(f"search.num_trials={trials}")
    assert notes(chosen, open_task(chosen.task)).count(
        "surgical: block grows by one layer a round, until none lowers the error by more than its"
        f" standard error; {note}"
    )


@pytest.mark.parametrize(
    ("override", "reported"),
    [
        (
            "training.learning_rate={float: [0.01, 0.1]}",
            "search.sampler: greedy searches sets of layers alone, and surgical.learning_rate is"
            " searched; give it a value, or take tpe",
        ),
        (
            "strategies={bvg_ls: {ema_decay: 0.5}}",
            "search.sampler: greedy grows a set of layers, and no arm has one to choose; add"
            " surgical, or blockwise, which moves the classifier too",
        ),
        (
            "strategies.surgical.block=stem",
            "search.sampler: greedy grows a set of layers, and no arm has one to choose; add"
            " surgical, or blockwise, which moves the classifier too",
        ),
        (
            "strategies.surgical.block={categorical: [stem, stem+layer1]}",
            "strategies.surgical.block: greedy begins with every single layer; give search, or"
            " take the sampler grid",
        ),
        (
            "pruner.kind=asha",
            "pruner.kind: greedy compares trials at their end, and asha ends some before;"
            " give none",
        ),
        (
            "objective.metric=val/loss",
            "objective.metric: greedy stops by the standard error of a share of the validation"
            " examples; give val/error or val/top5_error",
        ),
        (
            "search.allocation=adaptive",
            "search.allocation: greedy grows the set of each arm within a share of its own; give"
            " equal, or leave it out",
        ),
        (
            "search.num_trials=5",
            "search.num_trials: greedy's first round tries each of 6 layers, more than 5 trials;"
            " give at least 6; 21 holds every round",
        ),
        (
            "objective.secondary=[cost/updated_params]",
            "search.sampler: greedy chooses by one objective, and there are 2 objectives"
            " (val/error, cost/updated_params); give tpe, nsga2, random, qmc or grid",
        ),
    ],
)
def test_what_it_cannot_be_is_one_line(override, reported):
    assert [str(problem) for problem in check(spec(override))] == [reported]
