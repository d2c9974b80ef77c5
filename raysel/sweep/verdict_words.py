"""The verdict in words: what was compared, over what, with which interval, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raysel.spec.sweep import FEWEST_SPLITS, SMALLEST_EFFECT, objective_in_words
from raysel.sweep.question import BASELINE, Question
from raysel.sweep.results import Comparison, StrategyEffort, Verdict
from raysel.sweep.statistics.sequential import ALPHA

_IN_WORDS = {
    "error": "test error",
    "balanced_error": "balanced test error",
    "top5_error": "top-5 test error",
    "worst_group_error": "worst-group test error",
}
_FULL = "full fine-tuning"
_MORE_SPLITS = "confirm.splits: 5 would compare over splits"

Efforts = Mapping[str, StrategyEffort]


def measure_in_words(measure: str) -> str:
    """A test metric as a person says it: `worst-group test error`."""
    return _IN_WORDS.get(measure.removeprefix("test/"), measure)


def sentence_of(
    found: Verdict, headline: Comparison | None, question: Question, means: Mapping[str, float]
) -> str:
    """The verdict in a few sentences.

    Args:
        found: the verdict but for its sentence.
        headline: the comparison that it is about; None where there is none.
        means: mean test error of each strategy.
    """
    if found.winner is None:
        return "No strategy has a confirmed result."
    what = measure_in_words(found.measure)
    chosen = f"The search chose {found.winner} by {objective_in_words(question.metric)}"
    chosen += question.tie
    if found.chosen_by == "confirm":
        measured = f"mean {objective_in_words(question.metric)} over the confirm runs"
        chosen = f"{found.winner} comes first by {measured}"

    def compared(comparison: Comparison) -> str:
        splits, smallest = found.splits, found.smallest_effect
        effort, baseline = question.effort, question.baseline
        return compared_in_words(comparison, what, splits, effort, smallest, baseline)

    own = f"Its mean {what} over {_runs(found)} is {_mean(found.winner, means)}."
    if found.contrasts:
        words = [*map(compared, found.contrasts), f"{chosen}.", own]
    elif headline is None:
        words = [f"{chosen}.", own, _alone(found.winner, question)]
    elif headline.outcome == "no_runs":
        words = [f"{chosen}{_second(headline, question)}.", own, compared(headline)]
    else:
        words = [f"{chosen}{_second(headline, question)}.", compared(headline)]
    compared_ones = {headline.ours, headline.theirs} if headline else set()
    rest = () if found.lowest in compared_ones else _lowest(found, what, means)
    return " ".join([*words, *rest])


def _second(headline: Comparison, question: Question) -> str:
    """What the winner is compared with, where that is not full fine-tuning."""
    baseline = question.baseline
    if headline.theirs == baseline:
        return ""
    second = f", and {headline.theirs} as the second"
    if headline.ours == baseline or baseline in question.asked:
        return second
    return f"{second}; full fine-tuning is not in this sweep"


def _alone(winner: str, question: Question) -> str:
    """Why there is nothing to compare the winner with."""
    if question.asked <= {winner}:
        return "There is no other strategy in this sweep to compare it with."
    if winner != question.baseline and question.baseline in question.asked:
        return "Full fine-tuning has no confirmed result: there is nothing to compare with."
    return "No other strategy has a confirmed result: there is nothing to compare with."


def _lowest(found: Verdict, what: str, means: Mapping[str, float]) -> list[str]:
    """Which strategy has the lowest mean test error, where that is not the chosen one."""
    lowest, winner = found.lowest, str(found.winner)
    if lowest is None or winner not in means or _mean(lowest, means) == _mean(winner, means):
        return []
    ours = f"{_mean(lowest, means)} against {winner}'s {_mean(winner, means)}"
    return [f"Of all confirmed strategies {lowest} has the lowest mean {what}: {ours}."]


def compared_in_words(
    comparison: Comparison,
    what: str,
    splits: int,
    effort: Efforts | None = None,
    smallest_effect: float = SMALLEST_EFFECT,
    baseline: str = BASELINE,
) -> str:
    """One comparison as a sentence: the difference, its interval, and what they show.

    Args:
        what: the test error's name.
        splits: number of splits that were asked for.
        smallest_effect: differences up to this are not relevant.
        baseline: the arm that stands for full fine-tuning.
    """
    is_full = comparison.ours == baseline == BASELINE
    ours = "Full fine-tuning" if is_full else _name(comparison.ours, baseline)
    head = f"{ours} against {_name(comparison.theirs, baseline)}:"
    if comparison.difference is None:
        return f"{head} they share no confirm run, so there is nothing to compare."
    if comparison.outcome == "unequal_effort":
        known = [e for e in map((effort or {}).get, (comparison.ours, comparison.theirs)) if e]
        return (
            f"{head} no comparison, for they were tuned with unequal effort"
            f" ({'; '.join(map(_tuned, known))}); {_more_effort(known)}."
        )
    shown = _shown(comparison, splits, smallest_effect, baseline)
    return f"{head} {_difference(comparison, what, splits)}: {shown}."


def round_in_words(compared: Sequence[Comparison]) -> str:
    """What is known after a round of the confirm phase, as short as it goes: so a reader sees the
    intervals of one round below those of the one before.

    >>> narrow = Comparison(
    ...     ours="a", theirs="b", outcome="not_shown", difference=0.02, low=-0.01, high=0.05
    ... )
    >>> round_in_words([narrow])
    'a − b +2.0 points (−1.0 to +5.0), open'
    """
    return "; ".join(map(_so_far, compared))


def _so_far(comparison: Comparison) -> str:
    pair = f"{comparison.ours} − {comparison.theirs}"
    state = "open" if comparison.outcome == "not_shown" else comparison.outcome.replace("_", " ")
    if comparison.difference is None:
        return f"{pair}: {state}"
    if comparison.low is None or comparison.high is None:
        return f"{pair} {points(comparison.difference)[0]} points (no interval), {state}"
    shown, low, high = points(comparison.difference, comparison.low, comparison.high)
    return f"{pair} {shown} points ({low} to {high}), {state}"


def _name(strategy: str, baseline: str) -> str:
    """`full fine-tuning`, or an arm of it by its name."""
    if strategy != baseline:
        return strategy
    return _FULL if strategy == BASELINE else f"{strategy} ({_FULL})"


def _difference(comparison: Comparison, what: str, splits: int) -> str:
    """`−2.3 points of test error (95 % interval −5.0 to +0.4; 5 splits, 400 test examples)`."""
    over = f"{comparison.units} split{'s' * (comparison.units != 1)}"
    if splits == 1:
        over = f"{comparison.units} training seed{'s' * (comparison.units != 1)} on one split"
    if comparison.examples:
        over += f", {comparison.examples} test examples"
    if comparison.low is None or comparison.high is None:
        (shown,) = points(comparison.difference or 0.0)
        return f"{shown} points of {what} (no interval; {over})"
    shown, low, high = points(comparison.difference or 0.0, comparison.low, comparison.high)
    interval = f"{100 * (1 - comparison.level):.3g} % interval {low} to {high}"
    if comparison.level < ALPHA:
        interval += ", wide because it is looked at after every round"
    return f"{shown} points of {what} ({interval}; {over})"


def _shown(comparison: Comparison, splits: int, smallest_effect: float, baseline: str) -> str:
    match comparison.outcome:
        case "better":
            return f"{_name(comparison.ours, baseline)} is better on these splits"
        case "worse":
            return f"{_name(comparison.theirs, baseline)} is better on these splits"
        case "no_relevant_difference":
            zone = f"{100 * smallest_effect:.3g} point{'s' * (smallest_effect != 0.01)}"
            return f"no relevant difference (within ±{zone})"
        case "one_run" if splits > 1:
            return "one run cannot show a difference, and only one split has runs of both"
        case "one_run":
            return f"one run cannot show a difference; {_MORE_SPLITS}"
        case "one_split":
            return f"one split cannot show a difference, another may say otherwise; {_MORE_SPLITS}"
        case _:
            several = " once corrected for several comparisons" * _excludes_zero(comparison)
            return f"no difference is shown{several}; {_more(comparison)}"


def _excludes_zero(comparison: Comparison) -> bool:
    """Whether the comparison's own interval would show a difference."""
    low, high = comparison.low, comparison.high
    if low is None or high is None or comparison.units < FEWEST_SPLITS:
        return False
    return not low <= 0 <= high


def _more(comparison: Comparison) -> str:
    """What would show a difference of this size."""
    if comparison.low is None:
        return "every split has the same difference, so that there is no spread to judge by"
    if comparison.units < FEWEST_SPLITS:
        return f"it takes {FEWEST_SPLITS} splits or more"
    if comparison.units_needed is None:
        examples = ", more test examples might" if comparison.examples else ""
        return f"more splits would not show a difference of this size{examples}"
    more = max(comparison.units_needed - comparison.units, 1)
    return f"about {more} more split{'s' * (more != 1)} would show a difference of this size"


def _tuned(effort: StrategyEffort) -> str:
    """`full 4 trials, 0 complete`."""
    plural = "s" * (effort.trials != 1)
    return f"{effort.strategy} {effort.trials} trial{plural}, {effort.complete} complete"


def _more_effort(known: Sequence[StrategyEffort]) -> str:
    """What makes the effort equal."""
    if none := [e.strategy for e in known if not e.complete]:
        return f"no trial of {none[0]} was complete: give it more (search.num_trials, pruner)"
    if any(e.cost != 1 for e in known):
        return "more trials (search.num_trials) come closer to equal computation"
    return "search.allocation: equal tunes each with as many trials"


def _runs(found: Verdict) -> str:
    return "one split" if found.splits == 1 else f"{found.splits} splits"


def _mean(name: str, means: Mapping[str, float]) -> str:
    return f"{100 * means[name]:.1f} %" if name in means else "unknown"


def points(*rates: float) -> list[str]:
    """Differences of rates as signed percentage points, with as many decimals (1 to 3) as it
    takes that nothing but zero is shown as zero, nor the last two alike: the side of zero is what
    the reader needs."""
    scaled = [100 * rate if abs(rate) > 1e-12 else 0.0 for rate in rates]
    decimals = next(
        (
            d
            for d in (1, 2)
            if all(round(p, d) != 0 for p in scaled if p != 0)
            and len({round(p, d) for p in scaled[-2:]}) == len(set(scaled[-2:]))
        ),
        3,
    )
    return [
        f"{point:+.{decimals}f}".replace("-", "−") if round(point, decimals) else "0"
        for point in scaled
    ]
