"""How many splits each round of the confirm phase has, where runs are added until decided."""

from __future__ import annotations

import math

from raysel.spec.sweep import ConfirmSpec
from raysel.sweep.results import Verdict
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


def undecided(verdict: Verdict) -> set[str]:
    """The strategies whose further runs may decide what the verdict is about."""
    asked: list[tuple[str | None, str | None, str]]
    asked = [(c.ours, c.theirs, c.outcome) for c in verdict.contrasts]
    asked = asked or [(verdict.winner, verdict.against, verdict.outcome)]
    open_ones = ((ours, theirs) for ours, theirs, outcome in asked if outcome == "not_shown")
    return {name for pair in open_ones for name in pair if name}
