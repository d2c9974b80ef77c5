"""What a strategy reaches with how much tuning: the best validation value of n trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

BAND = (0.1, 0.9)
"""Quantiles of the best of n trials that the band lies between."""


@dataclass(frozen=True)
class Effort:
    """Best value after 1, 2, … trials, the smaller the better.

    Attributes:
        estimator: `expected` (over all orders of the trials: for a sampler that draws each
            trial alike) or `best_so_far` (in the order they ran: for one that learns).
        best: one value a number of trials.
        low, high: the band; as `best` for best_so_far.
    """

    estimator: str
    best: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def expected_best(values: Sequence[float]) -> Effort:
    """Expected smallest of n trials out of those that were run, without replacement.

    Unbiased for n independent trials (Tang et al., ACL 2020); with replacement, as in Dodge et
    al. (EMNLP 2019), the estimate is too small. With N values sorted ascending the i-th is the
    smallest of n with probability C(N - i, n - 1) / C(N, n).

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no trial has a value")
    ascending = np.sort(np.asarray(values, np.float64))
    rows = [_probabilities(len(ascending), n) for n in range(1, len(ascending) + 1)]
    best = [float(row @ ascending) for row in rows]
    low, high = ([_quantile(ascending, row, q) for row in rows] for q in BAND)
    return Effort("expected", tuple(best), tuple(low), tuple(high))


def best_so_far(values: Sequence[float]) -> Effort:
    """Running minimum in the order of the trials.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no trial has a value")
    best = tuple(map(float, np.minimum.accumulate(values)))
    return Effort("best_so_far", best, best, best)


def _probabilities(total: int, n: int) -> NDArray[np.float64]:
    """Of each of `total` sorted values, that it is the smallest of n."""
    rest = total - np.arange(1, total + 1)  # larger values
    possible = rest >= n - 1
    chosen = rest[possible]
    logarithm = _log_binomial(chosen, n - 1) - _log_binomial(np.asarray(total), n)
    result = np.zeros(total)
    result[possible] = np.exp(logarithm)
    return result / result.sum()


def _log_binomial(n: NDArray[np.int_], k: int) -> NDArray[np.float64]:
    result: NDArray[np.float64] = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return result


def _quantile(
    ascending: NDArray[np.float64], probabilities: NDArray[np.float64], share: float
) -> float:
    reached = np.cumsum(probabilities) >= share - 1e-12
    return float(ascending[int(np.argmax(reached))])
