"""Looking at the results several times without a larger error: Pocock's boundary.

Runs come in rounds, and after each round the interval is looked at. Every look uses the same
nominal level, so much smaller than 5 % that all looks together cross the boundary with
probability 5 % where there is no difference (Pocock, Biometrika 64, 1977). An interval at that
level covers at all looks together (Jennison and Turnbull's repeated confidence intervals).

The probability is that of Brownian motion seen at the looks' shares of the information. The
difference's other component, the test examples, does not get smaller with more runs: that makes
the looks more alike than Brownian motion, and the boundary then errs on the safe side.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from raysel.common.deferred import Deferred

optimize = Deferred("scipy.optimize")
stats = Deferred("scipy.stats")

ALPHA = 0.05

_POINTS = 301
"""Of the grid for the numerical integration."""


@lru_cache(maxsize=64)
def nominal_level(looks: tuple[int, ...], alpha: float = ALPHA) -> float:
    """The two-sided level of every look.

    Args:
        looks: number of units at each look, ascending.

    Returns:
        alpha for a single look, less for more.

    Raises:
        ValueError: there is no look, or they do not ascend from 1.
    """
    if not looks or looks[0] < 1 or list(looks) != sorted(set(looks)):
        raise ValueError(f"looks must ascend: {looks}")
    if len(looks) == 1:
        return alpha
    single = float(stats.norm.isf(alpha / 2))
    every = float(stats.norm.isf(alpha / (2 * len(looks))))  # Bonferroni: certainly enough
    bound = optimize.brentq(
        lambda z: crossing_probability(looks, z) - alpha, single, every, xtol=1e-12
    )
    return float(2 * stats.norm.sf(bound))


def crossing_probability(looks: tuple[int, ...], bound: float) -> float:
    """Probability that standardised Brownian motion leaves ±bound at one of the looks.

    The density of the sum of the units, where it stayed within, is carried from look to look by
    numerical integration (Armitage, McPherson and Rowe, J. of the Royal Statistical Society A
    132, 1969).
    """
    grid, weights = _grid(looks[0], bound)
    density = stats.norm.pdf(grid, scale=np.sqrt(looks[0]))
    crossed = 2 * float(stats.norm.sf(bound))
    for before, now in pairwise(looks):
        step = float(np.sqrt(now - before))
        limit = bound * np.sqrt(now)
        outside = stats.norm.sf((limit - grid) / step) + stats.norm.cdf((-limit - grid) / step)
        crossed += float((weights * density * outside).sum())
        following, next_weights = _grid(now, bound)
        kernel = stats.norm.pdf((following[:, None] - grid[None, :]) / step) / step
        density = kernel @ (weights * density)
        grid, weights = following, next_weights
    return crossed


def _grid(units: int, bound: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points within the boundary, and Simpson's weights."""
    limit = bound * np.sqrt(units)
    points = np.linspace(-limit, limit, _POINTS)
    weights = np.full(_POINTS, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    return points, weights * (points[1] - points[0]) / 3
