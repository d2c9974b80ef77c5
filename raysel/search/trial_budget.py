"""How many trials a search has, and whether they hold all its configurations. It is known before
the search begins, from the sweep file and its space alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from raysel.search.distributions import count
from raysel.search.layer_sets import GREEDY, most_trials, rounds_of
from raysel.search.searched_value import SearchedValue
from raysel.search.space import CROSS_VALIDATION, Space
from raysel.spec.sweep import RANGE_STEPS, RANGE_TEST, Choice, SearchSpec

_ENDLESS = 2**62


def walks_every_point(search: SearchSpec, space: Space) -> bool:
    """Whether the space is walked point by point: asked for, or small enough to be."""
    size = space.size()
    if search.sampler in ("grid", CROSS_VALIDATION):
        return True
    return (
        search.sampler not in ("random", GREEDY) and size is not None and size <= search.num_trials
    )


def budget(search: SearchSpec, space: Space) -> int:
    """How many trials the search has: `num_trials`, or all points of a smaller space; under
    cross-validation always all points, and where sets of layers grow at most so many."""
    size = space.size()
    if not space.strategies:
        return 0
    if search.sampler == GREEDY:
        return sum(most_trials_of(search, space).values())
    if size is None or not walks_every_point(search, space):
        return search.num_trials
    return size if search.sampler == CROSS_VALIDATION else min(search.num_trials, size)


def may_repeat(search: SearchSpec, space: Space) -> dict[str, int]:
    """The strategies with so few configurations that one may be tried twice, and how many they
    have; none where each is tried once."""
    if walks_every_point(search, space) or search.sampler == GREEDY:
        return {}
    points = {name: points_of(space, name) for name in space.strategies}
    return {
        name: count
        for name, count in points.items()
        if count < search.num_trials and not walks_strategy(search, space, name)
    }


def space_notes(search: SearchSpec, space: Space) -> list[str]:
    """What a search leaves out or moves, in a sentence each."""
    alone = space.single_note()
    tested = search.first == RANGE_TEST and ", ".join(space.searched_rates)
    test = f"search.first: a range test of up to {RANGE_STEPS} steps before, of each of {tested}"
    shared = cost_note(search, space)
    said = [note for note in (shared, test if tested else None) if note]
    found = [*space.moved_notes(), *said, *untried_notes(search, space)]
    return found if alone is None else [alone, *found]


def untried_notes(search: SearchSpec, space: Space) -> list[str]:
    """What a search has too few trials to try, in a sentence each: points of a grid, else options
    of an arm's choice."""
    if search.sampler == GREEDY:
        most = most_trials_of(search, space)
        return [_growth_note(value, most) for value in space.growing.values()]
    if walks_every_point(search, space):
        size, trials = space.size() or 0, budget(search, space)
        return [] if size <= trials else [_grid_note(size, trials)]
    most = shares(search, space) if is_equal(search, space) else {}
    return [
        f"{arm}: {value.name} has {len(value.distribution.options)} values, and the arm"
        f" {most.get(arm, search.num_trials)} trials: some are never tried"
        for arm, own in space.searched.items()
        for value in own
        if isinstance(value.distribution, Choice)
        and len(value.distribution.options) > most.get(arm, search.num_trials)
    ]


def _growth_note(value: SearchedValue, most: Mapping[str, int]) -> str:
    layers, trials = len(value.layers), most[value.strategy]
    rounds = len(rounds_of(layers, trials))
    held = "" if rounds == layers else f", which hold {rounds} of {layers} rounds"
    return (
        f"{value.strategy}: {value.name} grows by one layer a round, until none lowers the error by"
        f" more than its standard error; {trials:,} trials at most{held}"
    )


def _grid_note(size: int, trials: int) -> str:
    return (
        f"search: the grid has {size:,} configurations and num_trials is {trials:,}:"
        f" {size - trials:,} are never tried; search.num_trials: {size} tries all of them"
    )


def is_equal(search: SearchSpec, space: Space) -> bool:
    """Whether each strategy has a share of its own."""
    return search.allocation != "adaptive" and len(space.strategies) > 1


def is_warmed(search: SearchSpec, space: Space) -> bool:
    """Whether trials of earlier sweeps are given to the sampler: to tpe, and where it chooses
    among strategies to none, for their values of two sweeps cannot be compared."""
    alone = len(space.strategies) == 1
    return search.sampler == "tpe" and (alone or is_equal(search, space))


def shares(search: SearchSpec, space: Space) -> dict[str, int]:
    """Number of trials per strategy: equal, with one more for the first ones if it
    does not come out even; under `equal_cost` in inverse proportion to its model's cost (D92)."""
    if space.costs:
        costs = tuple((arm, space.costs[arm]) for arm in space.strategies)
        return dict(_shares_by_cost(search.num_trials, costs))
    whole, rest = divmod(search.num_trials, len(space.strategies))
    return {strategy: whole + (index < rest) for index, strategy in enumerate(space.strategies)}


@lru_cache(maxsize=16)  # asked for each trial
def _shares_by_cost(trials: int, costs: tuple[tuple[str, float], ...]) -> Mapping[str, int]:
    """One trial for each arm, and each further one for the arm that has cost the least with it, the
    first among equals.

    >>> _shares_by_cost(9, (("full-small", 1.0), ("full-large", 2.0)))
    {'full-small': 6, 'full-large': 3}
    """
    of, given = dict(costs), dict.fromkeys(dict(costs), 1)
    for _ in range(trials - len(of)):
        given[min(of, key=lambda arm: (given[arm] + 1) * of[arm])] += 1
    return given


def cost_note(search: SearchSpec, space: Space) -> str | None:
    """How the trials are shared out between models, in a sentence; None where they are not."""
    if not space.costs or not space.strategies or walks_every_point(search, space):
        return None
    most, least = shares(search, space), min(space.costs.values())
    own = [space.costs[arm] for arm in space.strategies]
    even = math.ceil(sum(max(own) / cost for cost in own))  # one trial of the dearest model's arms
    few = f"; from search.num_trials: {even} on it comes out even" * (search.num_trials < even)
    words = []
    for model in dict.fromkeys(space.models[arm] for arm in space.strategies):
        arms = [arm for arm in space.strategies if space.models[arm] == model]
        counts = sorted({most[arm] for arm in arms})
        each = " or ".join(map(str, counts))
        cost = space.costs[arms[0]]
        words.append(f"{model} {each} an arm ({cost / 1e6:,.0f} M, {cost / least:.2g} times)")
    return (
        "search.allocation: equal_cost gives each arm as much computation, by the multiply-adds of"
        f" a picture: trials of {', '.join(words)}{few}"
    )


def most_trials_of(search: SearchSpec, space: Space) -> dict[str, int]:
    """Of each arm, where sets of layers grow: what its share holds of whole rounds; one of an arm
    without a set. It is less where a set stops to grow."""
    growing, most = space.growing, shares(search, space)
    return {
        arm: most_trials(len(growing[arm].layers), most[arm]) if arm in growing else 1
        for arm in space.strategies
    }


def fewest_trials_of(search: SearchSpec, space: Space) -> dict[str, int]:
    """Of each arm whose set of layers grows, what it has where the first layer is the only one: the
    round that finds it, and the one in which no other is taken, where the share holds that."""
    share = shares(search, space) if space.growing else {}
    return {a: sum(rounds_of(len(v.layers), share[a])[:2]) for a, v in space.growing.items()}


def points_of(space: Space, strategy: str) -> int:
    """How many configurations a strategy has; a number beyond every budget where a real
    number is searched."""
    sizes = [count(value.distribution) for value in space.searched[strategy]]
    return _ENDLESS if None in sizes else math.prod(size for size in sizes if size is not None)


def walks_strategy(search: SearchSpec, space: Space, strategy: str | None) -> bool:
    """Whether a strategy's share holds all its configurations, so that each is tried once."""
    if strategy is None or search.sampler == "random" or not is_equal(search, space):
        return False
    return points_of(space, strategy) <= shares(search, space)[strategy]
