"""The verdict of the confirm runs: what was shown about the strategies, in numbers and words.

The search chooses the winner, by validation error on its own split. The confirm runs then
compare it with full fine-tuning, by test error on other splits: no run that took part in the
choice takes part in the comparison. Contrasts that the sweep file names stand before it. All
strategies against full fine-tuning are compared with Holm's correction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from scipy import stats

from raysel.spec.sweep import SMALLEST_EFFECT
from raysel.sweep.pairwise import Losses, Runs, compare
from raysel.sweep.results import (
    Comparison,
    ConfirmedStrategy,
    ConfirmRun,
    Improvement,
    StrategyEffort,
    Verdict,
)
from raysel.sweep.statistics.differences import CONFIDENCE
from raysel.sweep.statistics.differences import NO_SPREAD as NO_SPREAD  # of every interval
from raysel.sweep.statistics.multiple import improvement
from raysel.sweep.verdict_words import sentence_of

BASELINE = "full"

_TESTED_BY = {"val/balanced_error": "balanced_error", "val/top5_error": "top5_error"}


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
    """

    metric: str
    ranking: Sequence[str]
    splits: int = 1
    overlap: float = 0.0
    contrasts: Sequence[tuple[str, str]] = ()
    smallest_effect: float = SMALLEST_EFFECT
    level: float = 1 - CONFIDENCE
    effort: Mapping[str, StrategyEffort] = field(default_factory=dict)
    tie: str = ""

    @property
    def measure(self) -> str:
        """The test metric that answers the objective: `test/error` for error and loss."""
        return tested_by(self.metric)


def tested_by(metric: str) -> str:
    """The test metric that answers an objective: `test/error` for error and loss."""
    return f"test/{_TESTED_BY.get(metric, 'error')}"


def verdict(
    confirm: Sequence[ConfirmedStrategy], question: Question, losses: Losses | None = None
) -> Verdict:
    """Compare the strategies.

    Args:
        confirm: the confirmed strategies.
        losses: of each run the loss of each test example; what is missing is compared by the
            runs' means alone.
    """
    measure = question.measure
    rows = {entry.strategy: entry.runs for entry in confirm}
    runs = Runs(rows, measure, question.splits, question.overlap, losses or {})
    means = _means(rows, measure)
    winner = next((name for name in question.ranking if name in rows), None)
    contrasts = _compared(runs, list(question.contrasts), question)
    others = [(name, BASELINE) for name in rows if name != BASELINE and BASELINE in rows]
    against = _compared(runs, others, question)
    headline = _headline(winner, contrasts, runs, question)
    first = headline or Comparison(ours=winner or "", theirs=BASELINE, outcome="no_runs")
    found = Verdict(
        winner=winner,
        against=first.theirs if headline else None,
        measure=measure,
        difference=first.difference,
        low=first.low,
        high=first.high,
        n=first.units,
        outcome=_outcome(winner, rows, headline),
        lowest=min(means, key=lambda name: (means[name], name)) if means else None,
        level=question.level,
        smallest_effect=question.smallest_effect,
        splits=question.splits,
        contrasts=tuple(contrasts),
        against_baseline=tuple(against),
    )
    sentence = sentence_of(found, headline, question.metric, means, question.effort, question.tie)
    return found.model_copy(update={"sentence": sentence})


def _compared(runs: Runs, pairs: list[tuple[str, str]], question: Question) -> list[Comparison]:
    return compare(runs, pairs, question.effort, question.smallest_effect, question.level)


def _headline(
    winner: str | None, contrasts: Sequence[Comparison], runs: Runs, question: Question
) -> Comparison | None:
    """The comparison that the verdict is about; None where there is none."""
    if contrasts:
        return contrasts[0]
    if winner is None or winner == BASELINE or BASELINE not in runs.of:
        return None
    (found,) = _compared(runs, [(winner, BASELINE)], question)
    return found


def _outcome(winner: str | None, rows: Mapping[str, Any], headline: Comparison | None) -> str:
    if winner is None:
        return "no_result"
    if headline is not None:
        missing = headline.outcome == "no_runs" and headline.theirs == BASELINE
        return "no_baseline" if missing else headline.outcome
    return "winner_is_full" if winner == BASELINE else "no_baseline"


def _means(rows: Mapping[str, Sequence[ConfirmRun]], measure: str) -> dict[str, float]:
    """Mean test error of each strategy that has one."""
    known = {name: _finite(own, measure) for name, own in rows.items()}
    return {name: math.fsum(own) / len(own) for name, own in known.items() if own}


def _finite(runs: Sequence[ConfirmRun], measure: str) -> list[float]:
    values = (run.metric(measure) for run in runs)
    return [value for value in values if value is not None]


def improvements(confirm: Sequence[ConfirmedStrategy], measure: str) -> list[Improvement]:
    """Probability of improvement of each pair of strategies with two runs or more, in the order
    of the table.

    Args:
        confirm: as `verdict`.
        measure: the test metric that is compared.
    """
    known = {entry.strategy: _finite(entry.runs, measure) for entry in confirm}
    several = {name: own for name, own in known.items() if len(own) > 1}
    return [
        Improvement(
            ours=ours, theirs=theirs, **asdict(improvement([several[ours]], [several[theirs]]))
        )
        for ours, theirs in combinations(several, 2)
    ]


def interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean and 95 % Student t interval.

    Args:
        values: finite numbers, one a run.

    Returns:
        (mean, low, high); low and high are None for a single value, and equal to the
        mean where the values do not differ.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"an interval needs finite values, not {list(values)}")
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return mean, None, None
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread / math.sqrt(count)
    return mean, mean - half, mean + half
