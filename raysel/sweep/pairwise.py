"""Comparisons of two strategies over the confirm runs: what was shown, and what was not.

The unit is a split of the data: the runs of one split are averaged over their training seeds,
and both strategies are paired split by split. With a single split the unit is a training seed,
and nothing is claimed: another split may say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysel.spec.sweep import FEWEST_SPLITS, SMALLEST_EFFECT
from raysel.sweep.results import Comparison, ConfirmRun, Outcome, StrategyEffort
from raysel.sweep.statistics.differences import Difference, paired_difference
from raysel.sweep.statistics.multiple import holm

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
        first, second = self._units(ours), self._units(theirs)
        shared = sorted(first.keys() & second.keys())
        if not shared:
            return None
        overlap = self.overlap if self.splits > 1 else 0.0
        pairs = [(self._stacked(first[unit]), self._stacked(second[unit])) for unit in shared]
        lengths = {None if part is None else len(part) for pair in pairs for part in pair}
        if len(lengths) == 1 and None not in lengths:
            a, b = (np.stack(side) for side in zip(*pairs, strict=True))
            return paired_difference(a, b, overlap)
        means = [[self._mean(side[unit]) for unit in shared] for side in (first, second)]
        return paired_difference(means[0], means[1], overlap)

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


def compare(
    runs: Runs,
    pairs: Sequence[tuple[str, str]],
    effort: Mapping[str, StrategyEffort],
    smallest_effect: float = SMALLEST_EFFECT,
    level: float = 0.05,
) -> list[Comparison]:
    """Compare pairs of strategies, with Holm's correction over all of them.

    A single pair is judged by its interval at `level`, several by their corrected p-values:
    "better" or "worse" then holds for all together.

    Args:
        level: 1 minus the confidence of an interval; below 0.05 where runs are added until the
            question is decided.
    """
    found = [runs.difference(*pair) for pair in pairs]
    p_values = {i: p for i, d in enumerate(found) if (p := _p_value(d, len(pairs))) is not None}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [
        _comparison(
            runs, pair, difference, corrected.get(i), effort, smallest_effect, level, len(pairs)
        )
        for i, (pair, difference) in enumerate(zip(pairs, found, strict=True))
    ]


def _p_value(difference: Difference | None, family: int) -> float | None:
    if difference is None:
        return None
    return difference.p_value if family == 1 else difference.cautious_p_value


def _comparison(
    runs: Runs,
    pair: tuple[str, str],
    difference: Difference | None,
    p_holm: float | None,
    effort: Mapping[str, StrategyEffort],
    smallest_effect: float,
    level: float,
    family: int,
) -> Comparison:
    ours, theirs = pair
    if difference is None:
        return Comparison(ours=ours, theirs=theirs, outcome="no_runs", level=level)
    interval = difference.interval(1 - level) or (None, None)
    outcome: Outcome
    worse, better = (ours, theirs) if difference.mean > 0 else (theirs, ours)
    if has_less(effort.get(worse), effort.get(better)):
        outcome = "unequal_effort"
    elif difference.units == 1:
        outcome = "one_run"
    elif runs.splits == 1:
        outcome = "one_split"
    else:
        outcome = _outcome(difference, p_holm, smallest_effect, level, family)
    return Comparison(
        ours=ours,
        theirs=theirs,
        outcome=outcome,
        difference=difference.mean,
        low=interval[0],
        high=interval[1],
        level=level,
        p=difference.p_value,
        p_holm=p_holm,
        units=difference.units,
        examples=difference.examples,
        detectable=difference.detectable(1 - level),
        units_needed=(
            difference.units_needed(1 - level / family) if outcome == "not_shown" else None
        ),
    )


def _outcome(
    difference: Difference,
    p_holm: float | None,
    smallest_effect: float,
    level: float,
    family: int,
) -> Outcome:
    """By the corrected p-value; no relevant difference by Bonferroni's interval."""
    within = difference.interval(1 - level / family)
    if within is None or p_holm is None or difference.units < FEWEST_SPLITS:
        return "not_shown"
    if -smallest_effect <= within[0] and within[1] <= smallest_effect:
        return "no_relevant_difference"
    if p_holm > level:
        return "not_shown"
    return "better" if difference.mean < 0 else "worse"


def has_less(ours: StrategyEffort | None, theirs: StrategyEffort | None) -> bool:
    """Whether ours was tuned with less effort than theirs: on fewer trials (one less is what is
    left of a budget that does not come out even), or on no complete one where theirs had some.

    Unknown effort, that of an older record, is no less.
    """
    if ours is None or theirs is None:
        return False
    if not ours.complete and theirs.complete:
        return True
    return ours.trials + 1 < theirs.trials
