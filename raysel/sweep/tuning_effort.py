"""On how much tuning a strategy's configuration rests: a comparison of strategies is one of
tuning procedures, and what it cost belongs to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from raysel.record.state import COMPLETE, FAILED, PRUNED, TrialState
from raysel.search.distributions import top
from raysel.search.searched_value import SearchedValue
from raysel.search.space import Space
from raysel.spec.sweep import Spec
from raysel.spec.values import Choice, FloatRange
from raysel.sweep.range_search import range_steps
from raysel.sweep.results import EffortCurve, StrategyEffort
from raysel.sweep.statistics.best_of_n import best_so_far, expected_best

_EDGE = 0.02
"""The share of a range, at each end, that counts as its edge."""

_FEW = 4
"""Numbers that must have been tried before one of them is called the lowest or the highest."""

_LEARNS = ("tpe", "nsga2", "greedy")
"""Samplers whose next trial depends on those before."""


def efforts(
    spec: Spec, space: Space, trials: Sequence[TrialState], chosen: Sequence[TrialState]
) -> dict[str, StrategyEffort]:
    """The tuning of each strategy that has a configuration: in the order of `chosen`, then those
    that have but one and were not searched.

    Args:
        trials: of all phases.
        chosen: the best trial of each strategy.
    """
    own: dict[str, list[TrialState]] = {}
    for trial in sorted((t for t in trials if t.phase == "search"), key=lambda t: t.number):
        own.setdefault(trial.strategy, []).append(trial)
    learns, steps = spec.search.sampler in _LEARNS, range_steps(trials)
    least = min(space.costs.values(), default=1.0)
    tuned = {
        (arm := best.strategy): _effort(best, own[arm], space, learns).model_copy(
            update={
                "range_steps": steps.get(arm, 0),
                "cost": space.costs.get(arm, least) / least,
            }
        )
        for best in chosen
    }
    return tuned | {arm: StrategyEffort(strategy=arm) for arm in space.single}


def _effort(
    best: TrialState, own: Sequence[TrialState], space: Space, learns: bool
) -> StrategyEffort:
    ended = {status: sum(t.status == status for t in own) for status in (COMPLETE, PRUNED, FAILED)}
    values = [t.value for t in own if t.status == COMPLETE and t.value is not None]
    searched = space.searched.get(best.strategy, ())
    first = min(int(t.config["seed"]) for t in own)
    return StrategyEffort(
        strategy=best.strategy,
        trials=ended[COMPLETE] + ended[PRUNED] + ended[FAILED],
        complete=ended[COMPLETE],
        pruned=ended[PRUNED],
        failed=ended[FAILED],
        replicates=sum(int(t.config["seed"]) != first for t in own),
        epochs=sum(len(t.epochs) for t in own),
        from_pruned=best.status == PRUNED,
        at_edge=tuple(
            f"{value.name}={_short(best.searched[value.name])}"
            for value in searched
            if value.name in best.searched and _is_at_edge(value, best.searched[value.name])
        ),
        outermost=tuple(filter(None, (_outermost(value, best, own) for value in searched))),
        searched=len(searched),
        curve=_curve(values, learns),
    )


def _curve(values: Sequence[float], learns: bool) -> EffortCurve | None:
    if not values:
        return None
    found = best_so_far(values) if learns else expected_best(values)
    return EffortCurve.model_validate(asdict(found))


def _is_at_edge(searched: SearchedValue, value: Any) -> bool:
    """Whether a chosen number is so close to an end of its range that a better one may lie
    beyond. Names, switches and shares of a whole (0 to 1) have nothing beyond."""
    distribution = searched.distribution
    if isinstance(distribution, Choice):
        numbers = [o for o in distribution.options if isinstance(o, int | float)]
        ordered = len(numbers) == len(distribution.options) > 2
        return ordered and not isinstance(value, bool) and value in (min(numbers), max(numbers))
    low, high = distribution.bounds[0], top(distribution)
    if distribution.log:
        low, high, value = (math.log(number) for number in (low, high, value))
    margin = _EDGE * (high - low) if isinstance(distribution, FloatRange) else 0
    return not low + margin < value < high - margin


def _outermost(searched: SearchedValue, best: TrialState, own: Sequence[TrialState]) -> str | None:
    """Whether the best trial has the lowest or the highest number that was tried, though its range
    goes on: a better one may lie between it and the range's end."""
    if isinstance(searched.distribution, Choice) or searched.name not in best.searched:
        return None
    value = best.searched[searched.name]
    tried = sorted({t.searched[searched.name] for t in own if searched.name in t.searched})
    if len(tried) < _FEW or value not in (tried[0], tried[-1]) or _is_at_edge(searched, value):
        return None
    words = "lowest" if value == tried[0] else "highest"
    return f"{searched.name}={_short(value)}, the {words} of {len(tried)} tried"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
