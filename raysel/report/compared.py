"""Sweeps that are set side by side, and the ranks of their strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from raysel.report.blocks import BlockScore, block_scores, tuners
from raysel.report.page import badge
from raysel.report.tables import ConfirmRow, confirm_rows
from raysel.spec.sweep import Spec
from raysel.sweep.results import SweepResults, Verdict
from raysel.sweep.statistics.multiple import mean_ranks, ranks

FEWEST_SWEEPS = 5
"""So many for ranks with a critical difference: of fewer it is wider than most ranks."""

FEWEST_STRATEGIES = 3
"""So many for Friedman's test."""


@dataclass(frozen=True)
class Compared:
    """One sweep of a comparison."""

    name: str
    results: SweepResults
    spec: Spec

    @property
    def model(self) -> str:
        """timm's name without the tag of its weights; of several models their names."""
        return ", ".join(name.split(".")[0] for name in self.spec.model.names)

    @property
    def shift(self) -> str:
        """The kind of shift; the data set where nothing was put on it."""
        task = self.spec.task
        return task.name if task.shift.kind == "none" else task.shift.kind

    @property
    def shots(self) -> int | None:
        """Target examples a class that every trial trained on; None where that varies or was
        given otherwise."""
        asked = self.spec.training.shots
        return asked if isinstance(asked, int) else None if asked else self.spec.task.split.shots

    @property
    def data(self) -> str:
        """The data set, and what was put on it: `digits, gaussian_noise 5`."""
        task = self.spec.task
        shift = "" if task.shift.kind == "none" else f", {task.shift.kind} {task.shift.severity}"
        return f"{task.name}{shift}"

    @property
    def badge(self) -> tuple[str, str]:
        """The verdict's tone and its few words."""
        return badge(self.results)

    @property
    def difference(self) -> str:
        """Winner minus full fine-tuning in points, in words."""
        return difference(self.results.verdict)

    @cached_property
    def confirmed(self) -> dict[str, ConfirmRow]:
        """The confirmed strategies, the winner first."""
        return {row.strategy: row for row in confirm_rows(self.results)}

    @cached_property
    def blocks(self) -> tuple[str, list[BlockScore]] | None:
        """The strategy that tuned single blocks, and those that are in a quarter."""
        for name in tuners(self.results):
            placed = [s for s in block_scores(self.results, name) if s.quarter is not None]
            if len(placed) > 1:
                return name, placed
        return None


Sweeps = Sequence[Compared]


@dataclass(frozen=True)
class Ranking:
    """Mean ranks by test error over all sweeps, of the strategies that every sweep confirmed.

    Attributes:
        mean: strategy -> its mean rank, the best first; 1 is the best, equals share their ranks.
        sweeps: over how many.
        p_value: Friedman's test that all strategies are alike.
        critical_difference: Nemenyi's at 5 %: mean ranks that differ by less are not
            distinguished. None, like `p_value`, where something is missing.
        lacks: what is missing for them, in a sentence; empty where nothing is.
    """

    mean: dict[str, float]
    sweeps: int
    p_value: float | None = None
    critical_difference: float | None = None
    lacks: str = ""

    def distinguished(self, strategy: str) -> list[str]:
        """Strategies whose mean rank differs from this one's by the critical difference."""
        least, own = self.critical_difference, self.mean[strategy]
        if least is None:
            return []
        return [name for name, rank in self.mean.items() if abs(rank - own) >= least]


def ranking(sweeps: Sweeps) -> Ranking:
    """The ranks over all sweeps."""
    common = [
        name
        for name in every_strategy(sweeps)
        if all(name in s.confirmed and s.confirmed[name].mean is not None for s in sweeps)
    ]
    if not common:
        return Ranking({}, len(sweeps), lacks="No strategy was confirmed in every sweep.")
    losses = [[sweep.confirmed[name].mean or 0.0 for name in common] for sweep in sweeps]
    mean = dict(zip(common, mean_ranks(losses), strict=True))
    mean = {name: mean[name] for name in sorted(common, key=mean.__getitem__)}
    if lacks := _lacks(len(sweeps), len(common)):
        return Ranking(mean, len(sweeps), lacks=lacks)
    found = ranks(losses)
    return Ranking(mean, len(sweeps), found.p_value, found.critical_difference)


def _lacks(sweeps: int, strategies: int) -> str:
    more = FEWEST_SWEEPS - sweeps
    if more > 0:
        words = "one more sweep" if more == 1 else f"{more} more sweeps"
        return f"A critical difference of the ranks takes {FEWEST_SWEEPS} sweeps: {words}."
    if strategies < FEWEST_STRATEGIES:
        return (
            f"A critical difference of the ranks takes {FEWEST_STRATEGIES} strategies that every"
            f" sweep confirmed; here {'is one' if strategies == 1 else f'are {strategies}'}."
        )
    return ""


def every_strategy(sweeps: Sweeps) -> list[str]:
    """Every strategy that a sweep confirmed, in the sweeps' order."""
    return list(dict.fromkeys(name for sweep in sweeps for name in sweep.confirmed))


def difference(verdict: Verdict) -> str:
    """Points of test error: `−2.3 [−4.9, +0.3]`; of another measure that is named."""
    if verdict.difference is None:
        return "–"
    known = (verdict.difference, verdict.low, verdict.high)
    shown = [f"{100 * value:+.1f}".replace("-", "−") for value in known if value is not None]
    words = shown[0] if len(shown) < 3 else f"{shown[0]} [{shown[1]}, {shown[2]}]"
    measure = verdict.measure.removeprefix("test/")
    return words if measure == "error" else f"{words} ({measure.replace('_', ' ')})"


def by_rank(sweeps: Sweeps) -> list[str]:
    """Every strategy that a sweep confirmed, the best mean rank first."""
    ranks = ranking(sweeps).mean
    return sorted(every_strategy(sweeps), key=lambda name: ranks.get(name, float("inf")))


def cell(sweep: Compared, strategy: str) -> str:
    """A strategy's test error in a sweep, marked where it was chosen."""
    row = sweep.confirmed.get(strategy)
    return "–" if row is None else f"{row.test_error}{' ◂' * row.winner}"
