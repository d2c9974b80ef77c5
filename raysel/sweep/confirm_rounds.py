"""How many splits each round of the confirm phase has, where runs are added until decided."""

from __future__ import annotations

import math

from raysel.spec.sweep import ConfirmSpec
from raysel.sweep.results import Comparison, Verdict
from raysel.sweep.statistics.sequential import nominal_level

GROWTH = 1.4
"""Of the number of splits from round to round: few looks cost little of the error rate."""


def looks(first: int, most: int) -> tuple[int, ...]:
    """Number of splits after each round: `first`, then about `GROWTH` times as many, up to `most`.

    >>> looks(3, 20)
    (3, 5, 7, 10, 14, 20)
    """
    counts = [first]
    while counts[-1] < most:
        counts.append(min(most, math.ceil(GROWTH * counts[-1])))
    return tuple(counts)


def rounds(confirm: ConfirmSpec) -> tuple[int, ...]:
    """Number of splits after each round of a sweep's confirm phase."""
    if confirm.until is None:
        return (confirm.splits,)
    return looks(confirm.splits, confirm.most_splits)


def level_of(confirm: ConfirmSpec) -> float:
    """1 minus the confidence of an interval that is looked at after every round."""
    return nominal_level(rounds(confirm))


def asked(verdict: Verdict) -> tuple[Comparison, ...]:
    """The comparisons that the verdict is about: the file's contrasts, else the winner's own."""
    if verdict.contrasts or verdict.winner is None or verdict.difference is None:
        return verdict.contrasts
    own = {"ours": verdict.winner, "theirs": verdict.against, "units": verdict.n}
    same = ("outcome", "difference", "low", "high", "level")
    return (Comparison.model_validate(own | {name: getattr(verdict, name) for name in same}),)


def undecided(verdict: Verdict) -> set[str]:
    """The strategies whose further runs may decide what the verdict is about."""
    open_ones = [c for c in asked(verdict) if c.outcome == "not_shown"]
    return {name for c in open_ones for name in (c.ours, c.theirs)}
