"""What the verdict's statistics must be: numpy and scipy alone, from the references' formulas.

Nothing of raysel is imported here, and what can be counted is counted (subsets, pairs) and not
put into a closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations

import numpy as np
from scipy import integrate, optimize, stats


@dataclass(frozen=True)
class MeanSquares:
    """The analysis of variance of a table of units × examples (Searle, Casella, McCulloch, ch. 4).

    `units`, `examples` and `residual` are mean squares: sums of squares over their degrees of
    freedom. A table of one column has no mean squares but that of its units.
    """

    shape: tuple[int, int]
    mean: float
    units: float
    examples: float
    residual: float


def mean_squares(table: np.ndarray) -> MeanSquares:
    """Sums of squared deviations, term by term, in extended precision."""
    d = np.asarray(table, dtype=np.longdouble)
    rows, columns = d.shape
    grand = d.sum() / (rows * columns)
    row = [d[i].sum() / columns for i in range(rows)]
    column = [d[:, j].sum() / rows for j in range(columns)]
    of_rows = columns * sum((m - grand) ** 2 for m in row) / (rows - 1)
    if columns == 1:
        return MeanSquares((rows, 1), float(grand), float(of_rows), 0.0, 0.0)
    of_columns = rows * sum((m - grand) ** 2 for m in column) / (columns - 1)
    residual = sum(
        (d[i, j] - row[i] - column[j] + grand) ** 2 for i in range(rows) for j in range(columns)
    ) / ((rows - 1) * (columns - 1))
    return MeanSquares(
        (rows, columns), float(grand), float(of_rows), float(of_columns), float(residual)
    )


def squared_error_and_df(
    parts: MeanSquares, overlap: float, units: int | None = None
) -> tuple[float, float]:
    """The grand mean's squared standard error and its degrees of freedom.

    E[MS units] = residual + n σ²_units and E[MS examples] = residual + K σ²_examples. So the
    variance of the grand mean is σ²_units / K plus MS examples / (K n), which holds the
    residual's share, residual / (K n). Nadeau and Bengio 2003 add overlap times the variance of
    the units' means, MS units / n. With `units`, all that for another number of units and the
    same components: of MS examples / (K n), the residual's share falls with it.

    The degrees of freedom are Satterthwaite's, averaged with the units' own by the shares of
    MS units and MS examples: raysel's own rule, from its simulation and no reference.
    """
    rows, columns = parts.shape
    k = rows if units is None else units
    of_means = parts.units / columns * (1 / k + overlap)
    if columns == 1:
        return of_means, k - 1
    of_units = max(parts.units - parts.residual, 0.0) / (columns * k)
    of_units += parts.units / columns * overlap
    of_examples = max(parts.examples - parts.residual, 0.0) / (rows * columns)
    of_examples += min(parts.examples, parts.residual) / (k * columns)
    if of_examples <= 0:
        return of_units, k - 1
    total = of_units + of_examples
    satterthwaite = total**2 / (of_means**2 / (k - 1) + of_examples**2 / (columns - 1))
    share = of_means / (of_means + of_examples)
    return total, share * (k - 1) + (1 - share) * satterthwaite


def t_interval(mean: float, variance: float, df: float, confidence: float) -> tuple[float, float]:
    """Student's interval, from scipy's own."""
    low, high = stats.t.interval(confidence, df, loc=mean, scale=math.sqrt(variance))
    return float(low), float(high)


def t_p_value(mean: float, variance: float, df: float) -> float:
    """Two-sided."""
    return float(2 * stats.t.sf(abs(mean) / math.sqrt(variance), df))


def units_needed(parts: MeanSquares, overlap: float, confidence: float, most: int) -> int | None:
    """Count upwards."""
    for units in range(parts.shape[0], most + 1):
        variance, df = squared_error_and_df(parts, overlap, units)
        if abs(parts.mean) > stats.t.ppf((1 + confidence) / 2, df) * math.sqrt(variance):
            return units
    return None


def holm(p_values: list[float]) -> list[float]:
    """Holm 1979, by its own question: at which level does the step-down procedure reject?

    The i-th smallest of m is rejected at level α where p(j) ≤ α / (m - j + 1) for every j ≤ i.
    """
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i])
    adjusted = [0.0] * m
    for place, index in enumerate(order):
        needed = max(p_values[order[j]] * (m - j) for j in range(place + 1))
        adjusted[index] = min(1.0, needed)
    return adjusted


def mean_ranks(losses: np.ndarray) -> list[float]:
    """The rank of a loss is one more than the losses below it, plus half of those equal to it."""
    tasks, strategies = losses.shape
    ranks = np.zeros(strategies)
    for row in losses:
        for j, loss in enumerate(row):
            ranks[j] += 1 + sum(row < loss) + (sum(row == loss) - 1) / 2
    return [float(r) for r in ranks / tasks]


@cache
def nemenyi_q(strategies: int, alpha: float = 0.05) -> float:
    """Demšar 2006, table 5: the studentized range with infinite degrees of freedom, over √2.

    The distribution by its integral: k ∫ φ(z) [Φ(z) - Φ(z - q)]^(k-1) dz.
    """

    def cdf(q: float) -> float:
        def density(z: float) -> float:
            inside = stats.norm.cdf(z) - stats.norm.cdf(z - q)
            return float(stats.norm.pdf(z) * inside ** (strategies - 1))

        return strategies * integrate.quad(density, -10, 14, epsabs=1e-13, limit=400)[0]

    q = optimize.brentq(lambda q: cdf(q) - (1 - alpha), 0.5, 12, xtol=1e-13)
    return float(q / math.sqrt(2))


def probability_of_improvement(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Agarwal et al. 2021, for losses: every pair of runs of a task, counted."""
    of_tasks = []
    for mine, other in zip(ours, theirs, strict=True):
        wins = [Fraction(2 * int(a < b) + int(a == b), 2) for a in mine for b in other]
        of_tasks.append(sum(wins, Fraction(0)) / len(wins))
    return float(sum(of_tasks, Fraction(0)) / len(of_tasks))


def bootstrap_of_improvement(
    ours: list[np.ndarray], theirs: list[np.ndarray], draws: int, seed: int
) -> np.ndarray:
    """Runs drawn with replacement within each task, ours and theirs apart; tasks stay."""
    random = np.random.default_rng(seed)
    found = np.zeros(draws)
    for mine, other in zip(ours, theirs, strict=True):
        a = random.choice(mine, (draws, len(mine)))[:, :, None]
        b = random.choice(other, (draws, len(other)))[:, None, :]
        found += ((a < b) + 0.5 * (a == b)).mean(axis=(1, 2)) / len(ours)
    return found


def crossing(looks: tuple[int, ...], bound: float, nodes: int = 160) -> float:
    """The chance that |S(n) / √n| exceeds the bound at a look (Armitage et al. 1969).

    The density of a path that has not crossed is carried from look to look with Gauss-Legendre
    nodes on the continuation region.
    """
    x, w = np.polynomial.legendre.leggauss(nodes)
    at, weights, density, before = np.zeros(1), np.ones(1), np.ones(1), 0
    stay = 1.0
    for n in looks:
        half, scale = bound * math.sqrt(n), math.sqrt(n - before)
        inside = stats.norm.cdf((half - at) / scale) - stats.norm.cdf((-half - at) / scale)
        stay = float((weights * density * inside).sum())
        place = x * half
        step = stats.norm.pdf((place[:, None] - at[None, :]) / scale) / scale
        density = step @ (weights * density)
        at, weights, before = place, w * half, n
    return 1 - stay


def crossing_by_the_normal(looks: tuple[int, ...], bound: float) -> float:
    """The same for two or three looks: a rectangle under the joint normal of the z values."""
    correlation = [[math.sqrt(min(a, b) / max(a, b)) for a in looks] for b in looks]
    normal = stats.multivariate_normal(np.zeros(len(looks)), correlation, abseps=1e-7)
    corner = np.full(len(looks), bound)
    return float(1 - normal.cdf(corner, lower_limit=-corner))


def pocock_level(looks: tuple[int, ...], alpha: float) -> float:
    """The nominal two-sided level of the constant bound that is crossed with chance alpha."""
    bound = optimize.brentq(lambda b: crossing(looks, b) - alpha, 1.0, 5.0, xtol=1e-12)
    return float(2 * stats.norm.sf(bound))


@dataclass(frozen=True)
class Best:
    """The best of n out of N, for n = 1 … N: its mean and two quantiles."""

    mean: list[float]
    low: list[float]
    high: list[float]


def best_of_all_subsets(values: list[float]) -> Best:
    """Tang et al. 2020, by counting: every subset of n is as likely as another."""
    mean, low, high = [], [], []
    for n in range(1, len(values) + 1):
        bests = sorted(min(subset) for subset in combinations(values, n))
        mean.append(math.fsum(bests) / len(bests))
        low.append(quantile(bests, Fraction(1, 10)))
        high.append(quantile(bests, Fraction(9, 10)))
    return Best(mean, low, high)


def quantile(ascending: list[float], share: Fraction) -> float:
    """The smallest value at or below which lies at least this share."""
    return ascending[math.ceil(share * len(ascending)) - 1]
