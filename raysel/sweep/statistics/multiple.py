"""Several comparisons at once: Holm's correction, ranks, probability of improvement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysel.common.deferred import Deferred

stats = Deferred("scipy.stats")

RESAMPLES = 2_000
"""Bootstrap samples of a probability of improvement."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Scandinavian J. of Statistics 6,
    1979): comparisons whose adjusted value is at most 5 % hold together with 95 %.

    Raises:
        ValueError: a value is not between 0 and 1.
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values lie between 0 and 1: {list(p_values)}")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for position, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def mean_ranks(losses: ArrayLike) -> list[float]:
    """Mean rank of each strategy over tasks, 1 is the best; equals share their ranks.

    Args:
        losses: shape (tasks, strategies), smaller is better.
    """
    table = np.asarray(losses, np.float64)
    return [float(rank) for rank in stats.rankdata(table, axis=1).mean(axis=0)]


@dataclass(frozen=True)
class Ranks:
    """Ranks of strategies over tasks (Demšar, JMLR 7, 2006); 1 is the best.

    Attributes:
        mean: mean rank of each strategy, ties shared.
        p_value: Friedman's test that all are alike.
        critical_difference: Nemenyi's at 5 %: mean ranks that differ by less are not distinguished.
    """

    mean: tuple[float, ...]
    p_value: float
    critical_difference: float


def ranks(losses: ArrayLike, alpha: float = 0.05) -> Ranks:
    """Mean ranks, Friedman's test and Nemenyi's critical difference.

    Args:
        losses: shape (tasks, strategies), smaller is better.

    Raises:
        ValueError: fewer than two tasks or three strategies, or a value is not finite.
    """
    table = np.asarray(losses, np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 3:
        raise ValueError(f"ranks need two tasks and three strategies, not {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("a loss is not finite")
    tasks, strategies = table.shape
    alike = bool((table == table[:, :1]).all())
    p_value = 1.0 if alike else float(stats.friedmanchisquare(*table.T).pvalue)
    quantile = stats.studentized_range.isf(alpha, strategies, np.inf) / math.sqrt(2)
    spread = math.sqrt(strategies * (strategies + 1) / (6 * tasks))
    return Ranks(tuple(mean_ranks(table)), p_value, float(quantile * spread))


@dataclass(frozen=True)
class Improvement:
    """How often a run of one strategy beats a run of another: 0.5 is as often as not."""

    probability: float
    low: float
    high: float


def improvement(
    ours: Sequence[ArrayLike], theirs: Sequence[ArrayLike], seed: int = 0
) -> Improvement:
    """Probability of improvement with a stratified bootstrap's 95 % percentile interval
    (Agarwal et al., NeurIPS 2021): runs are drawn again within each task.

    Args:
        ours, theirs: the losses of the runs, one array a task.

    Raises:
        ValueError: there is no task, or a task without a run.
    """
    tasks = [
        (np.asarray(a, np.float64), np.asarray(b, np.float64))
        for a, b in zip(ours, theirs, strict=True)
    ]
    if not tasks or not all(a.size and b.size for a, b in tasks):
        raise ValueError("each task needs a run of both strategies")
    random = np.random.default_rng(seed)
    drawn = np.mean([_resampled(a, b, random) for a, b in tasks], axis=0)
    low, high = np.quantile(drawn, (0.025, 0.975))
    probability = np.mean([_wins(a, b).mean() for a, b in tasks])
    return Improvement(float(probability), float(low), float(high))


def _wins(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where a run of ours has the smaller loss, 1/2 where both have the same."""
    difference = theirs[None, :] - ours[:, None]
    result: NDArray[np.float64] = (np.sign(difference) + 1) / 2
    return result


def _resampled(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float64]:
    wins = _wins(ours, theirs)
    rows = random.integers(len(ours), size=(RESAMPLES, len(ours)))
    columns = random.integers(len(theirs), size=(RESAMPLES, len(theirs)))
    result: NDArray[np.float64] = wins[rows[:, :, None], columns[:, None, :]].mean(axis=(1, 2))
    return result
