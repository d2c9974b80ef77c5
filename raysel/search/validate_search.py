"""Validate the parts of a sweep that say how it is searched, confirmed and judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from raysel.common.errors import Problem, nearest
from raysel.search.distributions import count as count_of
from raysel.search.space import CROSS_VALIDATION, SURGICAL, Space, strategy_of
from raysel.spec.confirm import BestBy
from raysel.spec.sweep import EQUAL_COST, SEARCH, Spec

MOST_GRID_VALUES = 10_000
"""Of one searched value, where every point is walked."""


def budget_problems(spec: Spec, names: Sequence[str]) -> Iterator[Problem]:
    """Fewer trials than arms, each of which is tried first as published.

    Args:
        names: the arms that the search tries.
    """
    trials = spec.search.num_trials
    if trials < len(names) and spec.search.sampler != CROSS_VALIDATION:
        message = (
            f"{trials} trials are fewer than the {len(names)} strategies, each of which is tried"
            f" first as published ({', '.join(names)}); give at least {len(names)}"
        )
        yield Problem("search.num_trials", message)


def grid_problems(spec: Spec, space: Space) -> Iterator[Problem]:
    """Values that a sampler which walks every point cannot walk."""
    sampler = spec.search.sampler
    if sampler not in ("grid", CROSS_VALIDATION):
        return
    searched = (value for own in space.searched.values() for value in own)
    for value in searched:
        size = count_of(value.distribution)
        if size is not None and size > MOST_GRID_VALUES:
            message = f"{sampler} walks every value, and {value.scoped} has {size:,}; give a step"
            yield Problem("search.sampler", f"{message}, or {{categorical: [a, b]}}")
            return
        if size is None:
            message = (
                f"{sampler} cannot walk {value.scoped}, a real number; give it a value, a step"
                " or {categorical: [a, b]}, or take tpe, random or qmc"
            )
            yield Problem("search.sampler", message)
            return


def cross_validation_problems(spec: Spec) -> Iterator[Problem]:
    """Every candidate is one single layer, and is trained to its end."""
    if spec.search.sampler != CROSS_VALIDATION:
        return
    for name, arm in spec.strategies.items():
        is_surgical = strategy_of(name, arm) == SURGICAL
        if is_surgical and arm.parameters.get("block", SEARCH) not in (None, SEARCH):
            message = (
                "cross_validation takes every single layer; leave it out, or take the sampler grid"
            )
            yield Problem(f"strategies.{name}.block", message)
    if spec.pruner.kind != "none":
        message = f"cross_validation trains every candidate to its end, {spec.pruner.kind} does"
        yield Problem("pruner.kind", f"{message} not; give none")


def configuration_problems(spec: Spec, space: Space) -> Iterator[Problem]:
    """Names in `confirm.configurations.by` that no arm searches."""
    asked = spec.confirm.configurations
    known = list(dict.fromkeys(value.name for own in space.searched.values() for value in own))
    for index, name in enumerate(asked.by if isinstance(asked, BestBy) else ()):
        if name not in known:
            hint = nearest(name, known) if known else "there is no searched value; give best"
            message = f'no arm searches "{name}"; {hint}'
            yield Problem(f"confirm.configurations.by.{index}", message)


def allocation_problems(spec: Spec) -> Iterator[Problem]:
    """Equal shares for a sampler that has none, or by a cost that is the same for all."""
    sampler = spec.search.sampler
    if spec.search.allocation == EQUAL_COST and len(spec.model.names) == 1:
        message = "equal_cost shares trials out between models, and the sweep has one"
        yield Problem("search.allocation", f"{message}; give equal, or leave it out")
    elif spec.search.allocation != "adaptive" and sampler in ("grid", CROSS_VALIDATION):
        message = f"{sampler} tries every point of each strategy; take tpe, random or qmc"
        yield Problem("search.allocation", f"{message}, or leave it out")
