"""The verdict of the confirm runs: what was shown about the strategies, in numbers and words.

The search chooses the winner, by validation error on its own split. The confirm runs then
compare it with full fine-tuning, by test error on other splits: no run that took part in the
choice takes part in the comparison. Where full fine-tuning is itself the winner, or no strategy of
the sweep, the winner is compared with the search's second. Contrasts that the sweep file names
stand before it. All strategies against full fine-tuning are compared with Holm's correction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations

from raysel.common.deferred import Deferred
from raysel.sweep.pairwise import Losses, Runs, compare
from raysel.sweep.question import Question
from raysel.sweep.results import Comparison, ConfirmedStrategy, ConfirmRun, Improvement, Verdict
from raysel.sweep.statistics.differences import CONFIDENCE
from raysel.sweep.statistics.differences import NO_SPREAD as NO_SPREAD  # of every interval
from raysel.sweep.statistics.multiple import improvement
from raysel.sweep.verdict_words import sentence_of

stats = Deferred("scipy.stats")


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
    ranked = [name for name in question.ranking if name in rows]
    winner = ranked[0] if ranked else None
    contrasts = compare(runs, question.contrasts, question.rule)
    baseline = question.baseline
    others = [(name, baseline) for name in rows if name != baseline and baseline in rows]
    headline = contrasts[0] if contrasts else _headline(ranked, runs, question)
    first = headline or Comparison()
    found = Verdict(
        baseline=baseline,
        chosen_by=question.chosen_by,
        winner=winner,
        against=first.theirs if headline else None,
        measure=measure,
        difference=first.difference,
        low=first.low,
        high=first.high,
        n=first.units,
        outcome=_outcome(winner, headline, baseline),
        lowest=min(means, key=lambda name: (means[name], name)) if means else None,
        level=question.level,
        smallest_effect=question.smallest_effect,
        splits=question.splits,
        contrasts=tuple(contrasts),
        against_baseline=tuple(compare(runs, others, question.rule)),
    )
    return found.model_copy(update={"sentence": sentence_of(found, headline, question, means)})


def _headline(ranked: Sequence[str], runs: Runs, question: Question) -> Comparison | None:
    """The winner against full fine-tuning; against the second of the search where full
    fine-tuning is the winner or not asked for. None where that has no runs."""
    if not ranked:
        return None
    winner, *others = ranked
    asked = winner != question.baseline and question.baseline in question.asked
    theirs = question.baseline if asked else next(iter(others), None)
    if theirs is None or theirs not in runs.of:
        return None
    pairs = [(winner, theirs)]
    if question.chosen_by == "confirm":
        pairs += [(winner, other) for other in others if other != theirs]
    return compare(runs, pairs, question.rule)[0]


def _outcome(winner: str | None, headline: Comparison | None, baseline: str) -> str:
    if winner is None:
        return "no_result"
    if headline is None:
        return "winner_is_full" if winner == baseline else "no_baseline"
    missing = headline.outcome == "no_runs" and headline.theirs == baseline
    return "no_baseline" if missing else headline.outcome


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
