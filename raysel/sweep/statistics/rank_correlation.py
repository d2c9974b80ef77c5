"""Spearman's rank correlation of two quantities over the layers, with an interval over the splits.

Both are measured once a split. The estimate is the correlation of their means over the splits; the
interval is the percentile bootstrap over splits (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13), in which both are drawn together. Few splits make it too narrow, as
any bootstrap of few units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysel.common.deferred import Deferred
from raysel.sweep.statistics.differences import CONFIDENCE

stats = Deferred("scipy.stats")

DRAWS = 2000
FEWEST_LAYERS = 3
"""Ranks of two layers correlate by 1 or -1 whatever they are."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation over the layers.

    Attributes:
        value: of the means over the splits.
        low, high: of the bootstrap's interval.
        layers: number of layers that have both quantities.
    """

    value: float
    low: float
    high: float
    layers: int


def rank_correlation(first: ArrayLike, second: ArrayLike, seed: int = 0) -> RankCorrelation | None:
    """The correlation of two quantities; layers that lack one in some split are left out.

    Args:
        first, second: [splits, layers]; NaN where a layer has none. Infinite values are ranked.

    Returns:
        None with fewer than three layers, or where one of the means is the same for all layers.
    """
    one, other = (np.asarray(values, np.float64) for values in (first, second))
    known = ~(np.isnan(one) | np.isnan(other)).any(axis=0)
    one, other = one[:, known], other[:, known]
    if one.shape[1] < FEWEST_LAYERS:
        return None
    rows = np.random.default_rng(seed).integers(len(one), size=(DRAWS, len(one)))
    rows[0] = np.arange(len(one))  # the sample itself
    values = _correlations(one[rows].mean(axis=1), other[rows].mean(axis=1))
    if np.isnan(values[0]):
        return None
    low, high = np.nanquantile(values[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return RankCorrelation(float(values[0]), float(low), float(high), one.shape[1])


def _correlations(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's correlation of each row, [n, layers]; NaN where one is the same throughout."""
    ranks = np.stack([stats.rankdata(values, axis=1) for values in (one, other)])
    ranks = ranks - ranks.mean(axis=2, keepdims=True)
    lengths = np.sqrt(np.square(ranks).sum(axis=2).prod(axis=0))
    products: NDArray[np.float64] = (ranks[0] * ranks[1]).sum(axis=1)
    return np.divide(products, lengths, out=np.full_like(products, np.nan), where=lengths > 0)
