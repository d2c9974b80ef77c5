"""`search.sampler: cross_validation`: one trial a layer for `surgical`, the grid of the papers."""

import optuna
import pytest

from raysel.search.samplers import sampler
from raysel.search.space import Space
from raysel.search.summary import summary
from raysel.search.trial_budget import budget
from raysel.search.validate import check
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.tasks.opened_task import open_task

FILE = """
name: cv
task: {data: digits}
model: {name: test_resnet}
strategies: {surgical: }
training: {learning_rate: 0.1}
search: {sampler: cross_validation, baselines: false, run_single_configurations: true}
pruner: {kind: none}
"""
LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")


def spec(*overrides: str) -> Spec:
    return parse(FILE, overrides)


def tried(chosen: Spec) -> list[tuple]:
    """Every configuration that the search walks."""
    space = Space(chosen, LAYERS)
    study = optuna.create_study()
    for parameters in space.first_trials():
        study.enqueue_trial(parameters, skip_if_exists=True)
    found = []
    for number in range(budget(chosen.search, space)):
        study.sampler = sampler(chosen.search, space, number)
        trial = study.ask()
        config = space.suggest(trial)
        study.tell(trial, 1.0)
        block = config.parameters.get("block")
        found.append((config.strategy, block, config.training.learning_rate))
    return found


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_each_single_layer_is_tried_once():
    assert check(spec()) == []
    assert sorted(tried(spec())) == sorted(("surgical", layer, 0.1) for layer in LAYERS)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_it_is_a_grid_with_the_training_values_whatever_num_trials_says():
    rates = "training.learning_rate={categorical: [0.1, 0.01]}"
    found = tried(spec(rates, "search.num_trials=3"))
    assert sorted(found) == sorted(("surgical", b, r) for b in LAYERS for r in (0.1, 0.01))


def test_the_block_may_be_spelt_out_and_surgical_left_to_the_search():
    space = Space(spec("strategies={full: }"), LAYERS)
    assert space.size() == Space(spec("strategies.surgical.block=search"), LAYERS).size() + 1 == 7
    assert set(space.strategies) == {"full", "surgical"}


def test_all_layers_together_are_no_candidate_but_the_baseline_full():
    with_baselines = Space(spec("search.baselines=true"), LAYERS)
    assert with_baselines.strategies == ("surgical", "full", "linear_probe")
    (block,) = with_baselines.searched["surgical"]
    assert block.distribution.options == LAYERS


def test_its_name_is_shown():
    found = summary(spec(), open_task(spec().task))
    assert (found.sampler, found.trials, found.size) == ("cross_validation", 6, 6)


@pytest.mark.parametrize(
    ("override", "reported"),
    [
        (
            "training.learning_rate={float: [0.01, 0.1]}",
            "search.sampler: cross_validation cannot walk surgical.learning_rate, a real number;"
            " give it a value, a step or {categorical: [a, b]}, or take tpe, random or qmc",
        ),
        (
            "strategies.surgical.block=stem",
            "strategies.surgical.block: cross_validation takes every single layer; leave it out,"
            " or take the sampler grid",
        ),
        (
            "strategies.surgical.block={categorical: [stem, stem+layer1]}",
            "strategies.surgical.block: cross_validation takes every single layer; leave it out,"
            " or take the sampler grid",
        ),
        (
            "pruner.kind=asha",
            "pruner.kind: cross_validation trains every candidate to its end, asha does not;"
            " give none",
        ),
        (
            "strategies={cross_validation: }",
            "strategies.cross_validation: is a search and not a strategy; set search.sampler:"
            " cross_validation",
        ),
    ],
)
def test_what_it_cannot_be_is_one_line(override, reported):
    assert [str(problem) for problem in check(spec(override))] == [reported]
