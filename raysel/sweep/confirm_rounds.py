"""How many splits each round of the confirm phase has, where runs are added until decided."""

from __future__ import annotations

import math

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
