"""Of `results.json`: what the confirm runs say."""

from __future__ import annotations

from typing import Literal

from raysel.sweep.results.part import Number, Part

Outcome = Literal[
    "better",
    "worse",
    "no_relevant_difference",
    "not_shown",
    "unequal_effort",
    "one_split",
    "one_run",
    "no_runs",
]
"""Of one comparison, seen from its first strategy."""


class Comparison(Part):
    """One strategy against another, by test error.

    Attributes:
        difference: first minus second, 0..1, mean over the units; negative is better.
        low, high: its interval at `level`; None without a spread.
        level: 1 minus the interval's confidence.
        p: two-sided, of this comparison alone; `p_holm`: corrected for those beside it.
        units: paired splits (training seeds where there is one split).
        examples: test examples that the interval counts as a second source of variation; 0
            where they are not known one by one.
        detectable: difference that as many units would show with a probability of 80 %.
        units_needed: units in all that would show a difference of this size among those beside
            it (Bonferroni); None where no number would.
    """

    ours: str = ""
    theirs: str = ""
    outcome: Outcome = "no_runs"
    difference: Number = None
    low: Number = None
    high: Number = None
    level: float = 0.05
    p: Number = None
    p_holm: Number = None
    units: int = 0
    examples: int = 0
    detectable: Number = None
    units_needed: int | None = None


class Verdict(Part):
    """What the confirm runs say.

    Attributes:
        baseline: the arm that stands for full fine-tuning.
        winner: the strategy that the search chose, by validation on its own split; None where
            nothing was confirmed. `chosen_by` is `confirm` where an arm had no search: the winner
            then is the first by mean validation over the confirm runs.
        against: what it is compared with: `full`; the search's second where `full` is the winner
            or no strategy of the sweep; None where there is no comparison.
        measure: the test metric that is compared, `test/error`.
        difference, low, high, n: of the first contrast where the file names some, else of the
            winner minus `against`; n is the number of paired splits (of training seeds where
            there is one split).
        outcome: of the same, as of a `Comparison`; or `winner_is_full` (no other has a run),
            `no_baseline` (`full` has no run beside the winner's, or the winner is alone),
            `no_result`. Of older sweeps also `not_proven` and `one_seed`.
        sentence: all of it in words.
        lowest: the strategy with the lowest mean test error of the confirm runs.
        level, smallest_effect, splits: what was asked.
        contrasts: those of the file, with Holm's correction over them.
        against_baseline: every strategy against `full`, with Holm's correction.
    """

    baseline: str = "full"
    chosen_by: Literal["search", "confirm"] = "search"
    winner: str | None = None
    against: str | None = None
    measure: str = "test/error"
    difference: Number = None
    low: Number = None
    high: Number = None
    n: int = 0
    outcome: str = "no_result"
    sentence: str = ""
    lowest: str | None = None
    level: float = 0.05
    smallest_effect: float = 0.01
    splits: int = 1
    contrasts: tuple[Comparison, ...] = ()
    against_baseline: tuple[Comparison, ...] = ()

    def __str__(self) -> str:
        return self.sentence


class Improvement(Part):
    """How often a run of the first strategy has a smaller test error than one of the second, with
    a bootstrap's 95 % interval."""

    ours: str = ""
    theirs: str = ""
    probability: Number = None
    low: Number = None
    high: Number = None
