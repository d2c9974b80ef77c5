"""Validate a sweep whose sets of layers grow (`search.sampler: greedy`)."""

from __future__ import annotations

from collections.abc import Iterator

from raysel.common.errors import Problem
from raysel.search.layer_sets import GREEDY, KIND, METRICS, most_trials, rounds_of
from raysel.search.searched_value import SearchedValue
from raysel.search.space import Space
from raysel.search.trial_budget import shares
from raysel.spec.sweep import Spec
from raysel.strategies import registered


def greedy_problems(spec: Spec) -> Iterator[Problem]:
    """What its rounds cannot be decided by."""
    if spec.search.sampler != GREEDY:
        return
    if spec.pruner.kind != "none":
        message = f"greedy compares trials at their end, and {spec.pruner.kind} ends some before"
        yield Problem("pruner.kind", f"{message}; give none")
    if spec.objective.metric not in METRICS:
        message = "greedy stops by the standard error of a share of the validation examples"
        yield Problem("objective.metric", f"{message}; give {' or '.join(METRICS)}")
    if spec.search.allocation != "equal":
        message = "greedy grows the set of each arm within a share of its own; give equal"
        yield Problem("search.allocation", f"{message}, or leave it out")


def growth_problems(spec: Spec, space: Space) -> Iterator[Problem]:
    """Nothing to grow, something else that is searched beside it, or too few trials for the first
    round."""
    if spec.search.sampler != GREEDY:
        return
    searched = [value for own in space.searched.values() for value in own]
    others = [value for value in searched if not value.layers]
    if others:
        yield _other_problem(others[0], space)
    elif not searched:
        message = "greedy grows a set of layers, and no arm has one to choose; add surgical, or"
        yield Problem("search.sampler", f"{message} blockwise, which moves the classifier too")
    for arm in space.growing:
        names = [value.name for value in searched if value.layers and value.strategy == arm]
        if len(names) > 1:
            message = f"greedy grows one set of layers an arm, not {' and '.join(names)}"
            yield Problem(f"strategies.{arm}.{names[1]}", f"{message}; give it layers")
    if searched and not others:
        yield from _share_problems(spec, space)


def _other_problem(value: SearchedValue, space: Space) -> Problem:
    strategy = registered()[space.registered[value.strategy]]
    if value.name in [p.name for p in strategy.parameters if p.kind == KIND]:
        message = "greedy begins with every single layer; give search, or take the sampler grid"
        return Problem(f"strategies.{value.scoped}", message)
    message = f"greedy searches sets of layers alone, and {value.scoped} is searched; give it a"
    return Problem("search.sampler", f"{message} value, or take tpe")


def _share_problems(spec: Spec, space: Space) -> Iterator[Problem]:
    """The first round of the arm with the most layers must be held by its share."""
    share = min(shares(spec.search, space).values())
    layers = max(len(value.layers) for value in space.growing.values())
    if rounds_of(layers, share):
        return
    arms = len(space.strategies)
    each = f"a share of {share} each" if arms > 1 else f"{share} trials"
    message = f"greedy's first round tries each of {layers} layers, more than {each}; give at least"
    whole = arms * most_trials(layers, layers**2)
    yield Problem("search.num_trials", f"{message} {arms * layers}; {whole:,} holds every round")
