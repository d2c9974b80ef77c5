"""What a verdict is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from raysel.search.space import Space
from raysel.spec.arms import arm_of
from raysel.spec.objective import WORST_GROUP
from raysel.spec.sweep import SMALLEST_EFFECT
from raysel.sweep.pairwise import Rule
from raysel.sweep.results import StrategyEffort
from raysel.sweep.statistics.sequential import ALPHA

BASELINE = "full"

_TESTED_BY = {
    "val/balanced_error": "balanced_error",
    "val/top5_error": "top5_error",
    WORST_GROUP: "worst_group_error",
}


@dataclass(frozen=True)
class Question:
    """What the verdict is asked.

    Attributes:
        metric: what the search made small.
        ranking: the strategies by their best trial of the search, the best first.
        splits: number of splits of the confirm phase.
        overlap: of their training parts; see `differences.overlap_correction`.
        contrasts: pairs that the file names, first minus second.
        smallest_effect: differences up to this are not relevant.
        level: 1 minus the confidence of an interval; less than 0.05 where runs are added until
            the question is decided.
        effort: tuning of each strategy.
        tie: how the winner was chosen among equals, in words; empty where there were none.
        baseline: the arm that stands for full fine-tuning.
        chosen_by: `search`, or `confirm` where an arm had no search: the winner is then chosen
            among the same runs that are compared, so its comparison is corrected for all of them.
        strategies: all of the sweep, also those without a usable trial; the ranking's where
            nothing is given.
    """

    metric: str
    ranking: Sequence[str]
    splits: int = 1
    overlap: float = 0.0
    contrasts: Sequence[tuple[str, str]] = ()
    smallest_effect: float = SMALLEST_EFFECT
    level: float = ALPHA
    effort: Mapping[str, StrategyEffort] = field(default_factory=dict)
    tie: str = ""
    strategies: Sequence[str] = ()
    baseline: str = BASELINE
    chosen_by: Literal["search", "confirm"] = "search"

    @property
    def measure(self) -> str:
        """The test metric that answers the objective: `test/error` for error and loss."""
        return tested_by(self.metric)

    @property
    def rule(self) -> Rule:
        """What a difference is judged by."""
        return Rule(self.effort, self.smallest_effect, self.level)

    @property
    def asked(self) -> frozenset[str]:
        """The strategies of the sweep."""
        return frozenset(self.strategies or self.ranking)


def baseline_of(space: Space, ranking: Sequence[str]) -> str:
    """The arm that stands for full fine-tuning; of several models the first in the ranking: who
    does nothing but tune whole models takes the one that is best so (D93).

    Args:
        ranking: the arms, the best first.
    """
    full = [name for name in ranking if space.registered.get(name) == BASELINE]
    if space.models and full:
        return full[0]
    return arm_of(BASELINE, space.registered) or BASELINE


def tested_by(metric: str) -> str:
    """The test metric that answers an objective: `test/error` for error and loss."""
    return f"test/{_TESTED_BY.get(metric, 'error')}"
