"""Comparisons of two strategies over the confirm runs: what was shown, and what was not.

The unit is a split of the data: the runs of one split are averaged over their training seeds,
and both strategies are paired split by split. With a single split the unit is a training seed,
and nothing is claimed: another split may say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from raysel.spec.sweep import FEWEST_SPLITS, SMALLEST_EFFECT
from raysel.sweep.results import Comparison, ConfirmRun, Outcome, StrategyEffort
from raysel.sweep.statistics.differences import Difference, paired_difference
from raysel.sweep.statistics.multiple import holm
from raysel.sweep.statistics.sequential import ALPHA

_ROUNDING = 1e-9  # of costs, which are quotients

Losses = Mapping[str, NDArray[np.float64]]
"""Run id -> loss of each test example; their mean is the run's test error."""


@dataclass(frozen=True)
class Runs:
    """The confirm runs of each strategy.

    Attributes:
        of: strategy -> its runs.
        measure: the metric that is compared (`test/error`).
        splits: number of splits that were asked for.
        overlap: see `differences.overlap_correction`.
        losses: of the runs whose test examples are known one by one.
    """

    of: Mapping[str, Sequence[ConfirmRun]]
    measure: str
    splits: int
    overlap: float
    losses: Losses

    def difference(self, ours: str, theirs: str) -> Difference | None:
        """Ours minus theirs over the units that both have; None where they share none."""
        first, second = self.units(ours), self.units(theirs)
        shared = sorted(first.keys() & second.keys())
        if not shared:
            return None
        sides = [[side[unit] for unit in shared] for side in (first, second)]
        if len({np.shape(one) for side in sides for one in side}) > 1:
            sides = [[np.array(one.mean()) for one in side] for side in sides]
        overlap = self.overlap if self.splits > 1 else 0.0
        return paired_difference(np.array(sides[0]), np.array(sides[1]), overlap)

    def units(self, strategy: str) -> dict[int, NDArray[np.float64]]:
        """Split (or seed, of a single split) -> loss of each test example, mean over the unit's
        runs; the mean loss alone, a number, where the examples' are not known."""
        found = {}
        for unit, runs in self._units(strategy).items():
            stacked = self._stacked(runs)
            found[unit] = np.array(self._mean(runs)) if stacked is None else stacked
        return found

    def _units(self, strategy: str) -> dict[int, list[ConfirmRun]]:
        """Split (or seed, of a single split) -> its runs that have the measure."""
        units: dict[int, list[ConfirmRun]] = {}
        for run in self.of.get(strategy, ()):
            if self.splits > 1 and not run.split:
                continue  # on the search's own, from before there were others
            if run.metric(self.measure) is not None:
                units.setdefault(run.split if self.splits > 1 else run.seed, []).append(run)
        return units

    def _stacked(self, runs: Sequence[ConfirmRun]) -> NDArray[np.float64] | None:
        """Loss of each example, mean over a unit's runs; None where one run lacks it."""
        known = [self.losses[run.id] for run in runs if run.id in self.losses]
        if len(known) < len(runs) or len({len(losses) for losses in known}) != 1:
            return None
        result: NDArray[np.float64] = np.mean(known, axis=0)
        return result

    def _mean(self, runs: Sequence[ConfirmRun]) -> float:
        return math.fsum(run.metric(self.measure) or 0.0 for run in runs) / len(runs)


class Differences(Protocol):
    """What `compare` asks: `Runs`, or something that averages several."""

    @property
    def splits(self) -> int:
        """Number of splits, or of other units that stand for a draw of data."""

    def difference(self, ours: str, theirs: str) -> Difference | None:
        """Ours minus theirs over the units that both have; None where they share none."""


@dataclass(frozen=True)
class Rule:
    """What a difference is judged by.

    Attributes:
        effort: tuning of each strategy; that of an older record is not known.
        smallest_effect: differences up to this are not relevant.
        level: 1 minus the confidence of an interval; below 0.05 where runs are added until the
            question is decided.
    """

    effort: Mapping[str, StrategyEffort] = field(default_factory=dict)
    smallest_effect: float = SMALLEST_EFFECT
    level: float = ALPHA


def compare(
    runs: Differences, pairs: Sequence[tuple[str, str]], rule: Rule | None = None
) -> list[Comparison]:
    """Compare pairs of strategies, with Holm's correction over all of them.

    A single pair is judged by its interval, several by their corrected p-values: "better" or
    "worse" then holds for all together.
    """
    found = [runs.difference(*pair) for pair in pairs]
    family = _Family(rule or Rule(), len(pairs), runs.splits > 1)
    corrected = family.corrected(found)
    return [
        family.comparison(ours, theirs, difference, p_holm)
        for (ours, theirs), difference, p_holm in zip(pairs, found, corrected, strict=True)
    ]


@dataclass(frozen=True)
class _Family:
    """Comparisons that are judged together."""

    rule: Rule
    size: int
    several_splits: bool

    def corrected(self, found: Sequence[Difference | None]) -> list[float | None]:
        """Holm's p-value of each comparison that has one."""
        values = [None if difference is None else self._p_value(difference) for difference in found]
        adjusted = iter(holm([p for p in values if p is not None]))
        return [None if p is None else next(adjusted) for p in values]

    def comparison(
        self, ours: str, theirs: str, difference: Difference | None, p_holm: float | None
    ) -> Comparison:
        """What was found of one pair, and what it shows."""
        level = self.rule.level
        if difference is None:
            return Comparison(ours=ours, theirs=theirs, outcome="no_runs", level=level)
        worse, better = (ours, theirs) if difference.mean > 0 else (theirs, ours)
        unequal = has_less(self.rule.effort.get(worse), self.rule.effort.get(better))
        outcome = "unequal_effort" if unequal else self._outcome(difference, p_holm)
        low, high = difference.interval(1 - level) or (None, None)
        needed = difference.units_needed(1 - level / self.size) if outcome == "not_shown" else None
        return Comparison(
            ours=ours,
            theirs=theirs,
            outcome=outcome,
            difference=difference.mean,
            low=low,
            high=high,
            level=level,
            p=difference.p_value,
            p_holm=p_holm,
            units=difference.units,
            examples=difference.examples,
            detectable=difference.detectable(1 - level),
            units_needed=needed,
        )

    def _p_value(self, difference: Difference) -> float | None:
        return difference.p_value if self.size == 1 else difference.cautious_p_value

    def _outcome(self, difference: Difference, p_holm: float | None) -> Outcome:
        """By the corrected p-value; no relevant difference by Bonferroni's interval."""
        if difference.units == 1:
            return "one_run"
        if not self.several_splits:
            return "one_split"
        within = difference.interval(1 - self.rule.level / self.size)
        if within is None or p_holm is None or difference.units < FEWEST_SPLITS:
            return "not_shown"
        if max(-within[0], within[1]) <= self.rule.smallest_effect:
            return "no_relevant_difference"
        if p_holm > self.rule.level:
            return "not_shown"
        return "better" if difference.mean < 0 else "worse"


def has_less(ours: StrategyEffort | None, theirs: StrategyEffort | None) -> bool:
    """Whether ours was tuned with less effort than theirs: on fewer trials (one less is what is
    left of a budget that does not come out even), each counted by its model's cost, or on no
    complete one where theirs had some.

    Unknown effort, that of an older record, is no less; nor is that of an arm with one
    configuration, of which there is nothing to tune.
    """
    if ours is None or theirs is None or ours.nothing_to_tune or theirs.nothing_to_tune:
        return False
    if not ours.complete and theirs.complete:
        return True
    with_one_more = (ours.trials + 1) * ours.cost
    return with_one_more * (1 + _ROUNDING) < theirs.trials * theirs.cost
