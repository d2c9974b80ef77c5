"""The paired difference of two strategies on one test part, with its interval.

Two things are random: the runs (a split of the data, its training seed, its source model) and
the test examples. The variance of the mean difference is the sum of both components, as in a
two-way layout without replication (Searle, Casella and McCulloch, Variance Components, 1992), with
degrees of freedom after Satterthwaite; the component of the runs carries the correction of Nadeau
and Bengio (Machine Learning 52, 2003) where the splits' training parts overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysel.common.deferred import Deferred

stats = Deferred("scipy.stats")

CONFIDENCE = 0.95

POWER = 0.8
"""With which a minimum detectable difference would be shown."""

NO_SPREAD = 1e-12
"""Standard errors up to this come from equal values, which do not show how far others lie."""

MOST_UNITS = 10_000
"""Beyond as many splits the question of how many more would do is not asked."""


@dataclass(frozen=True)
class Components:
    """What the squared standard error of a mean difference consists of.

    Attributes:
        units: number of paired units (splits, or seeds on one split).
        examples: number of test examples; 0 where only the units' means are known.
        of_units: variance of the units' differences, what single examples do in single units
            included.
        residual: the part of `of_units` that comes from single examples in single units.
        of_examples: squared standard error that comes from the test examples.
        overlap: what the correction for overlapping training parts adds to 1/units.
    """

    units: int
    examples: int
    of_units: float
    residual: float
    of_examples: float
    overlap: float

    def standard_error(self, units: int) -> tuple[float, float]:
        """Standard error of the mean over so many units, and its degrees of freedom.

        The residual is a part of both components' share of 1/units, and counted once there: in
        the examples'. The overlap's share is of the whole variance of the units, as in Nadeau
        and Bengio; without the residual it would be too small where splits differ little.
        Satterthwaite's degrees of freedom claim too much where few units carry most of the
        variance (5.5 to 6 % in place of 5 %): they are averaged with the units' own, by the
        components' shares, which holds everywhere that was simulated
        (tests/benchmarks/verdict_calibration.py).
        """
        without_residual = max(self.of_units - self.residual, 0.0)
        own = without_residual / units + self.of_units * self.overlap
        of_examples = self._of_examples(units)
        whole = self.of_units * (1 / units + self.overlap)
        freedom = float(units - 1)
        if of_examples:
            weight = whole**2 / freedom + of_examples**2 / (self.examples - 1)
            share = whole / (whole + of_examples)
            freedom = share * freedom + (1 - share) * (own + of_examples) ** 2 / weight
        return math.sqrt(own + of_examples), freedom

    def _of_examples(self, units: int) -> float:
        """The examples' component: its residual falls with the number of units."""
        residual = min(self.residual / self.units, self.of_examples)
        return self.of_examples - residual + residual * self.units / units

    @property
    def cautious_standard_error(self) -> float:
        """Standard error of the mean with the residual counted in both components."""
        return math.sqrt(self.of_units * (1 / self.units + self.overlap) + self.of_examples)


@dataclass(frozen=True)
class Difference:
    """A mean paired difference; negative where the first strategy has the smaller loss.

    Attributes:
        mean: of the loss 0..1, over the units.
        standard_error: of the mean; None for a single unit, and where all values are equal.
        df: Satterthwaite's degrees of freedom.
        components: of the standard error.
    """

    mean: float
    standard_error: float | None
    df: float | None
    components: Components

    @property
    def units(self) -> int:
        """Number of paired units."""
        return self.components.units

    @property
    def examples(self) -> int:
        """Number of test examples; 0 where only the units' means are known."""
        return self.components.examples

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Low and high end; None without a spread."""
        if self.standard_error is None or self.df is None:
            return None
        half = _quantile((1 + confidence) / 2, self.df) * self.standard_error
        return self.mean - half, self.mean + half

    @property
    def p_value(self) -> float | None:
        """Two-sided, against no difference; None without a spread."""
        if self.standard_error is None or self.df is None:
            return None
        return float(2 * stats.t.sf(abs(self.mean) / self.standard_error, self.df))

    @property
    def cautious_p_value(self) -> float | None:
        """The same for small levels, as a correction for several comparisons asks for them.

        There Satterthwaite's approximation claims too much (family-wise 6 to 8 % in place of 5 %,
        tests/benchmarks/verdict_calibration.py); with the residual counted in both components
        the rate stays below 5 %.
        """
        if self.standard_error is None or self.df is None:
            return None
        error = self.components.cautious_standard_error
        return float(2 * stats.t.sf(abs(self.mean) / error, self.df))

    def detectable(self, confidence: float = CONFIDENCE, power: float = POWER) -> float | None:
        """The smallest true difference that as many runs would show with this power."""
        if self.standard_error is None or self.df is None:
            return None
        quantiles = _quantile((1 + confidence) / 2, self.df) + _quantile(power, self.df)
        return quantiles * self.standard_error

    def units_needed(self, confidence: float = CONFIDENCE) -> int | None:
        """How many units in all would show a difference of this size, were the spread to stay.

        None where no number would: the test examples (or the overlap of the training parts)
        alone spread too much, or there is no difference or no spread.
        """
        if self.standard_error is None or not self._shows(MOST_UNITS, confidence):
            return None
        fewest, most = self.units, MOST_UNITS
        while fewest < most:
            middle = (fewest + most) // 2
            if self._shows(middle, confidence):
                most = middle
            else:
                fewest = middle + 1
        return fewest

    def _shows(self, units: int, confidence: float) -> bool:
        error, df = self.components.standard_error(units)
        return abs(self.mean) > _quantile((1 + confidence) / 2, df) * error


def overlap_correction(train: int, held_out: int) -> float:
    """What overlapping training parts add to 1/units in the variance of a mean.

    Nadeau and Bengio's ratio held_out/train, but never more than examples that are shared can
    bring about: two draws of `train` out of train + held_out examples share the part
    f = train / (train + held_out), and effects that add up example by example then correlate by
    f, which adds f / (1 - f) = train / held_out. Few shots out of a large pool hardly overlap.

    Args:
        train: examples of a split's training part.
        held_out: examples of the pool that a split does not train on.
    """
    if train <= 0 or held_out <= 0:
        return 0.0
    return min(held_out / train, train / held_out)


def paired_difference(ours: ArrayLike, theirs: ArrayLike, overlap: float = 0.0) -> Difference:
    """The difference of two strategies over the same units.

    Args:
        ours, theirs: losses, of shape (units,) or (units, examples): the mean of the last axis
            is the unit's loss. Row i of both is the same unit, column j the same test example.
        overlap: see `overlap_correction`.

    Raises:
        ValueError: the shapes differ, there is no unit, or a value is not finite.
    """
    difference = _subtracted(ours, theirs)
    rows = difference.mean(axis=1) if difference.ndim == 2 else difference
    mean = math.fsum(rows) / len(rows)
    components = _components(difference, rows, overlap)
    if len(rows) < 2:
        return Difference(mean, None, None, components)
    error, df = components.standard_error(len(rows))
    if error <= NO_SPREAD:
        return Difference(mean, None, None, components)
    return Difference(mean, error, df, components)


def _components(
    difference: NDArray[np.float64], rows: NDArray[np.float64], overlap: float
) -> Components:
    units = len(rows)
    of_units = float(rows.var(ddof=1)) if units > 1 else 0.0
    examples = difference.shape[1] if difference.ndim == 2 else 0
    if examples < 2:
        return Components(units, examples, of_units, 0.0, 0.0, overlap)
    columns = difference.mean(axis=0)
    of_examples = float(columns.var(ddof=1)) / examples
    rest = difference - rows[:, None] - columns[None, :] + difference.mean()
    freedom = (units - 1) * (examples - 1)
    residual = float(np.square(rest).sum()) / freedom / examples if freedom else 0.0
    return Components(units, examples, of_units, residual, of_examples, overlap)


def _subtracted(ours: ArrayLike, theirs: ArrayLike) -> NDArray[np.float64]:
    first, second = (np.asarray(values, np.float64) for values in (ours, theirs))
    if first.shape != second.shape or first.ndim not in (1, 2) or not first.size:
        raise ValueError(f"losses of shapes {first.shape} and {second.shape} cannot be paired")
    difference: NDArray[np.float64] = first - second
    if not np.isfinite(difference).all():
        raise ValueError("a loss is not finite")
    return difference


def _quantile(probability: float, df: float) -> float:
    return float(stats.t.ppf(probability, df))
