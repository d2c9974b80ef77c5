"""`search.sampler: greedy`: the rule of Greedy-SubTuning against brute force over all sets."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable

import pytest

from raysel.search.greedy import TriedSet, current_round, standard_error

BLOCKS = ("a", "b", "c", "d")
Error = Callable[[frozenset[str]], float]


def brute_force(error: Error) -> frozenset[str]:
    """The best of all sets of blocks that are not empty, the smallest of equals."""
    sets = (frozenset(one) for size in range(1, 5) for one in itertools.combinations(BLOCKS, size))
    return min(sets, key=lambda one: (error(one), len(one)))


def grown(
    error: Error, examples: int = 10**12, most: int = 100
) -> tuple[frozenset[str], list[frozenset[str]]]:
    """The set at which it stops, and the sets that were tried, in order."""
    tried: list[TriedSet] = []
    taken = frozenset[str]()
    bound: float | None = None
    while (now := current_round(BLOCKS, ranked(tried), examples, most)) is not None:
        if now.to_beat != bound:
            taken, bound = best(tried), now.to_beat
        tried += [TriedSet(one, error(one), True) for one in now.sets]
    last = best(tried)
    below = bound is None or error(last) < bound
    return (last if below else taken), [one.layers for one in tried]


def ranked(tried: Iterable[TriedSet]) -> list[TriedSet]:
    return sorted(tried, key=lambda one: math.inf if one.error is None else one.error)


def best(tried: Iterable[TriedSet]) -> frozenset[str]:
    return ranked(tried)[0].layers


def additive(seed: int) -> Error:
    """Each block lowers or raises the error by itself: the greedy set is the best one."""
    drawn = random.Random(seed)
    gains = {block: drawn.uniform(-0.1, 0.1) for block in BLOCKS}
    return lambda chosen: 0.5 - sum(gains[block] for block in chosen)


@pytest.mark.parametrize("seed", range(20))
def test_it_equals_brute_force_where_each_block_helps_by_itself(seed):
    error = additive(seed)
    assert grown(error)[0] == brute_force(error)


def test_where_two_blocks_help_together_alone_it_gives_the_known_answer():
    """c and d together are the best pair, and neither is the best block: greedy takes a."""

    def error(chosen: frozenset[str]) -> float:
        if {"c", "d"} <= chosen:
            return 0.1
        return 0.3 if "a" in chosen else 0.4

    assert brute_force(error) == {"c", "d"}
    assert grown(error) == (
        {"a"},
        [{"a"}, {"b"}, {"c"}, {"d"}, {"a", "b"}, {"a", "c"}, {"a", "d"}],
    )


def test_it_stops_where_the_gain_is_within_the_standard_error():
    """0.2 of 100 examples has a standard error of 0.04: 0.17 is within, 0.15 is not."""
    assert standard_error(0.2, 100) == pytest.approx(0.04)

    def error(second: float) -> Error:
        return lambda chosen: {1: 0.2, 2: second}.get(len(chosen), 0.9)

    assert len(grown(error(0.17), 100)[0]) == 1
    assert len(grown(error(0.15), 100)[0]) == 2


def test_a_round_is_whole_before_the_next_begins():
    tried = [TriedSet(frozenset(one), 0.2, True) for one in "abc"]
    assert current_round(BLOCKS, tried, 100, 100).sets == (frozenset("d"),)
    running = [*tried, TriedSet(frozenset("d"), None, False)]
    assert current_round(BLOCKS, running, 100, 100).sets == ()
    failed = [*tried, TriedSet(frozenset("d"), None, True)]
    following = current_round(BLOCKS, failed, 100, 100)
    assert following.sets == tuple(frozenset(one) for one in ("ab", "ac", "ad"))
    assert following.to_beat == pytest.approx(0.16)


def test_a_round_that_its_share_does_not_hold_is_not_begun():
    assert [len(grown(lambda s: 0.5 / len(s), most=most)[1]) for most in (4, 6, 7, 9, 10)] == [
        *(4, 4, 7, 9, 10)
    ]


def test_nothing_grows_where_every_addition_failed():
    failed = [TriedSet(frozenset(one), None, True) for one in BLOCKS]
    assert current_round(BLOCKS, failed, 100, 100) is None
