"""What a search cannot do with its objectives is said before it begins."""

from __future__ import annotations

from typing import Any

import pytest

from raysel.common.errors import UserError
from raysel.search.validate_objective import objective_notes, objective_problems
from raysel.spec.reader import parse

FILE = """
name: toy
task: {data: digits}
model: {name: resnet10t}
strategies: {full: , surgical: {block: search}}
"""
TWO = "objective.secondary=[cost/seconds]"
LISTED = "there are 2 objectives (val/error, cost/seconds)"


def problems(*overrides: str, classes: int = 10, groups: bool = False) -> list[str]:
    spec = parse(FILE, overrides)
    return [str(problem) for problem in objective_problems(spec, lambda: classes, lambda: groups)]


def refused(*overrides: str) -> str:
    with pytest.raises(UserError) as error:
        parse(FILE, overrides)
    return str(error.value)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "qmc", "grid"])
@pytest.mark.parametrize("pruner", ["asha", "none"])
def test_samplers_and_pruners_of_several_objectives_are_accepted(sampler, pruner):
    assert problems(TWO, f"search.sampler={sampler}", f"pruner.kind={pruner}") == []


def test_a_sampler_for_one_objective_is_refused():
    assert problems(TWO, "search.sampler=cross_validation", "pruner.kind=none") == [
        f"search.sampler: cross_validation chooses by one objective, and {LISTED};"
        " give tpe, nsga2, random, qmc or grid"
    ]


@pytest.mark.parametrize("kind", ["hyperband", "median"])
def test_a_pruner_that_compares_one_number_is_refused(kind):
    assert problems(TWO, f"pruner.kind={kind}") == [
        f"pruner.kind: {kind} compares one number a trial, and {LISTED}; give asha, which prunes"
        " by dominance, or none"
    ]


def test_what_needs_several_objectives_is_refused_with_one():
    (sampler,) = problems("search.sampler=nsga2")
    assert sampler.startswith("search.sampler: nsga2 is for several objectives; give tpe")
    (front,) = problems("confirm.configurations=front")
    assert front.startswith("confirm.configurations: one objective has no front; give best")


def test_nsga2_needs_equal_shares():
    (problem,) = problems(TWO, "search.sampler=nsga2", "search.allocation=adaptive")
    assert problem.startswith("search.allocation: nsga2 crosses configurations of one arm")
    assert problem.endswith("give equal")


@pytest.mark.parametrize(
    ("secondary", "index"), [("[val/error]", 0), ("[cost/seconds, cost/seconds]", 1)]
)
def test_a_metric_is_listed_once(secondary, index):
    (problem,) = problems(f"objective.secondary={secondary}")
    assert problem.startswith(f"objective.secondary.{index}: ")
    assert problem.endswith("is listed twice; leave it out")


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("val/top5_error", "is 0 for whatever model where there are 4 classes"),
        ("val/worst_group_error", "needs groups"),
        ("val/source_error", "needs model.weights: source"),
    ],
)
def test_a_secondary_metric_is_one_that_there_is(metric, says):
    overrides = (f"objective.secondary=[{metric}]", "model.weights=pretrained")
    (problem,) = problems(*overrides, classes=4)
    assert problem.startswith(f"objective.secondary.0: {metric} {says}")


def test_the_source_error_is_there_where_the_runs_begin_with_the_sources_model():
    assert problems("objective.secondary=[val/source_error]", "model.weights=source") == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("cost/second", "cost/seconds"),
        ("time", "cost/seconds"),
        ("forgetting", "val/source_error"),
        ("accuracy", "val/error"),
    ],
)
def test_an_unknown_metric_is_answered_with_the_nearest(given, meant):
    assert refused(f"objective.secondary=[{given}]").endswith(
        f'objective.secondary.0: "{given}" is unknown; did you mean "{meant}"?'
    )


@pytest.mark.parametrize("key", ["objective", "objective.metric"])
def test_a_list_is_answered_with_how_several_are_given(key):
    said = refused(f"{key}=[val/error, cost/seconds]")
    assert "give {metric: val/error, secondary: [cost/seconds]}" in said


def test_three_objectives_are_the_most():
    said = refused("objective.secondary=[val/loss, cost/seconds, cost/updated_params]")
    assert said.endswith("is not accepted; give at most 2")


def test_seconds_are_noted_as_measured():
    assert "measured time" in objective_notes(parse(FILE, [TWO]))[0]
    assert not objective_notes(parse(FILE, ["objective.secondary=[cost/updated_params]"]))


def test_one_objective_is_written_as_before_and_several_are_read_back():
    written: dict[str, Any] = parse(FILE).objective.model_dump(mode="json")
    assert written == {"metric": "val/error"}
    spec = parse(FILE, [TWO])
    assert parse(spec.to_yaml()) == spec
