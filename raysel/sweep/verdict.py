"""The verdict of the confirm runs: which strategy won, and whether it beats full fine-tuning.

The winner has the best mean of what the sweep optimised, measured on validation data: the
error, unless the file says otherwise. Test errors are compared only afterwards, with full
fine-tuning and paired by training seed; balanced or top-5 errors where those were optimised.
The 95 % intervals are Student's t over training seeds on one split of the data: they say how
the result varies with the seed, and nothing about another split or another data set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from raysel.spec.sweep import objective_in_words
from raysel.sweep.ranking import confirmed_rank
from raysel.sweep.results import ConfirmedStrategy, Verdict

BASELINE = "full"
CONFIDENCE = 0.95
NO_SPREAD = 1e-12
"""An interval no wider than this comes from equal values: they do not show how far others lie."""

_TESTED_BY = {"val/balanced_error": "balanced_error", "val/top5_error": "top5_error"}
_IN_WORDS = {
    "error": "test error",
    "balanced_error": "balanced test error",
    "top5_error": "top-5 test error",
}


def interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean and 95 % Student t interval.

    Args:
        values: finite numbers, one a training seed.

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


def verdict(confirm: Sequence[ConfirmedStrategy], metric: str) -> Verdict:
    """Name the winner by the sweep's objective and compare it with full fine-tuning.

    Args:
        metric: the objective.
    """
    measure = tested_by(metric)
    known = [entry for entry in confirm if entry.by_seed(metric)]
    ranked = sorted(known, key=lambda entry: confirmed_rank(entry, metric))
    if not ranked:
        return Verdict(measure=measure, sentence="No strategy has a confirmed result.")
    winner = ranked[0]
    name = winner.strategy
    chosen = f"{name}, chosen by {objective_in_words(metric)}{_tie(ranked, metric)}"
    if name == BASELINE:
        words = _full_chosen(winner, chosen, ranked[1:], metric, measure)
        return Verdict(winner=name, measure=measure, outcome="winner_is_full", sentence=words)
    full = next((entry for entry in confirm if entry.strategy == BASELINE), None)
    paired = _pair(winner, full, measure) if full else None
    if paired is None:
        words = _alone(winner, full, chosen, measure)
        return Verdict(winner=name, measure=measure, outcome="no_baseline", sentence=words)
    outcome = _outcome(paired)
    return Verdict(
        winner=name,
        against=BASELINE,
        measure=measure,
        difference=paired.difference,
        low=paired.low,
        high=paired.high,
        n=paired.n,
        outcome=outcome,
        sentence=f"{chosen}. Against full fine-tuning: {_compared(paired, outcome, measure)}.",
    )


def tested_by(metric: str) -> str:
    """The test metric that answers an objective: `test/error` for error and loss."""
    return f"test/{_TESTED_BY.get(metric, 'error')}"


# --- numbers --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Paired:
    """Winner minus full by seed: the mean, its interval (None without a spread), the count,
    and whether one of the two has seeds that the other lacks."""

    difference: float
    low: float | None
    high: float | None
    n: int
    partial: bool


def _pair(winner: ConfirmedStrategy, full: ConfirmedStrategy, measure: str) -> _Paired | None:
    """Test errors of the two, subtracted seed by seed; None if they share no seed."""
    ours, theirs = winner.by_seed(measure), full.by_seed(measure)
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    mean, low, high = interval([ours[seed] - theirs[seed] for seed in seeds])
    partial = ours.keys() != theirs.keys()
    if low is not None and high is not None and high - low < NO_SPREAD:
        # Equal differences leave no spread to judge by: t would call any of them proven.
        low = high = None
    return _Paired(mean, low, high, len(seeds), partial)


def _outcome(paired: _Paired) -> str:
    if paired.n == 1:
        return "one_seed"
    if paired.low is None or paired.high is None or paired.low <= 0 <= paired.high:
        return "not_proven"
    return "better" if paired.high < 0 else "worse"


# --- words ----------------------------------------------------------------------------------


def _in_words(measure: str) -> str:
    return _IN_WORDS[measure.removeprefix("test/")]


def _compared(paired: _Paired, outcome: str, measure: str) -> str:
    """The paired difference in points, its interval, and what they prove."""
    what = _in_words(measure)
    if paired.n == 1:
        (shown,) = _points(paired.difference)
        shown = "a tie, 0" if shown == "0" else shown
        return f"{shown} points of {what} on the one training seed they share; one seed \
has no interval and proves nothing"
    seeds = f"{paired.n} training seeds{' that both have' if paired.partial else ''} on one split"
    if paired.low is None or paired.high is None:
        (shown,) = _points(paired.difference)
        return f"{shown} points of {what} in each of {seeds}; without any spread there is \
no interval: not proven better; more seeds would tell"
    shown, low, high = _points(paired.difference, paired.low, paired.high)
    proof = {
        "better": "better",
        "worse": "full fine-tuning is better",
        "not_proven": "not proven better; more seeds would tell",
    }[outcome]
    return f"{shown} points of {what} (95 % interval {low} to {high}, paired over {seeds}): \
{proof}"


def _tie(ranked: Sequence[ConfirmedStrategy], metric: str) -> str:
    """Which strategies have what the chosen one has, and what decided; empty where none has."""
    best, loss, _ = confirmed_rank(ranked[0], metric)
    ties = [entry for entry in ranked[1:] if confirmed_rank(entry, metric)[0] == best]
    if not ties:
        return ""
    names = " and ".join(entry.strategy for entry in ties)
    by_loss = metric != "val/loss" and loss < min(confirmed_rank(t, metric)[1] for t in ties)
    decided = "the lower validation loss decided" if by_loss else "nothing measured decided"
    return f" (a tie with {names}; {decided})"


def _full_chosen(
    full: ConfirmedStrategy,
    chosen: str,
    others: Sequence[ConfirmedStrategy],
    metric: str,
    measure: str,
) -> str:
    rest = "no other strategy did better there" if others else "there was no other strategy"
    if not others or len(full.by_seed(metric)) > 1:
        return f"{chosen}: {rest}. {_test_error(full, measure)}"
    paired = _pair(full, others[0], measure)
    tie = paired is not None and abs(paired.difference) < NO_SPREAD
    alike = f" {others[0].strategy} has the same: a tie." if tie else ""
    proof = " One training seed proves no difference."
    return f"{chosen}: {rest}. {_test_error(full, measure)}{alike}{proof}"


def _alone(
    winner: ConfirmedStrategy, full: ConfirmedStrategy | None, chosen: str, measure: str
) -> str:
    why = (
        "Full fine-tuning was tested on none of its seeds"
        if full
        else "Full fine-tuning has no confirmed result"
    )
    return f"{chosen}. {_test_error(winner, measure)} {why}: there is nothing to compare with."


def _test_error(entry: ConfirmedStrategy, measure: str) -> str:
    values = list(entry.by_seed(measure).values())
    what = _in_words(measure)
    if not values:
        return f"It has no {what}."
    what = what[0].upper() + what[1:]
    mean, low, high = interval(values)
    if low is None or high is None:
        return f"{what} {100 * mean:.1f} % (one training seed, no interval)."
    if high - low < NO_SPREAD:
        return f"{what} {100 * mean:.1f} % with each of {len(values)} training seeds on one split."
    return (
        f"{what} {100 * mean:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f}, "
        f"over {len(values)} training seeds on one split)."
    )


def _points(*rates: float) -> list[str]:
    """Differences of rates as signed percentage points, with as many decimals (1 to 3) as it
    takes that nothing but zero is shown as zero: the side of zero is what the reader needs."""
    points = [100 * rate if abs(rate) > 1e-12 else 0.0 for rate in rates]
    decimals = next(
        (d for d in (1, 2) if all(round(p, d) != 0 for p in points if p != 0)),
        3,
    )
    return [
        f"{point:+.{decimals}f}".replace("-", "−") if round(point, decimals) else "0"
        for point in points
    ]
