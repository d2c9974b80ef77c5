"""The tables of a sweep, as rows of plain strings and numbers for the terminal and the page.

Every function takes the results, complete or not, and asks nothing else. Rates are 0..1 here; where
a string shows one in percent it says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raysel.record.state import COMPLETE
from raysel.spec.arms import SINGLE
from raysel.sweep.ranking import confirmed_rank, leaders, rank
from raysel.sweep.results import (
    Comparison,
    ConfirmedStrategy,
    StrategyEffort,
    SweepResults,
    TrialResult,
)
from raysel.sweep.verdict import NO_SPREAD, interval
from raysel.sweep.verdict_words import points

TRANSIENT = "select/transient_share"
TRANSIENT_LIMIT = 0.20
"""Above this share of steps a start value, not the data, chose the layer (algorithms.md, D6)."""


@dataclass(frozen=True)
class SearchRow:
    """One strategy in the search: its ended trials, and the best complete one."""

    strategy: str
    done: int
    pruned: int
    failed: int
    interrupted: int
    best: float | None
    best_trial: str | None
    with_values: str


@dataclass(frozen=True)
class ConfirmRow:
    """One strategy in the confirm phase. `layers`, `parameters`: in words; `low` and `high` are
    None where there is one run; `tests`: the test error of each run; `measured`: the test metric
    that the verdict compares, in words; `validation`: the sweep's objective, mean over the runs;
    `against_full`: the difference of that metric in points with its interval; `tuned_on`: trials of
    the search; `at_edge`: searched values at an edge of their range."""

    strategy: str
    winner: bool
    validation: float | None
    mean: float | None
    low: float | None
    high: float | None
    n: int
    tests: tuple[float, ...]
    test_error: str
    measured: str
    layers: str
    parameters: str
    seconds: float | None
    against_full: str
    tuned_on: str
    at_edge: str


@dataclass(frozen=True)
class OtherRow:
    """A configuration that was confirmed beside its arm's best (`confirm.configurations`); values
    and test error in words."""

    strategy: str
    values: str
    trial: str | None
    validation: float | None
    test_error: str
    n: int


def finite(value: Any) -> float | None:
    """The number, or None where there is none or it is not finite."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def strategies(results: SweepResults) -> list[str]:
    """Every strategy that appears, in alphabetical order."""
    names = {trial.strategy for trial in results.trials}
    return sorted(names | {entry.strategy for entry in results.confirm})


def ranked(results: SweepResults) -> list[str]:
    """Every strategy in the order of the tables: as confirmed, then as the search found."""
    confirmed = [row.strategy for row in confirm_rows(results)]
    return list(dict.fromkeys([*confirmed, *(row.strategy for row in search_rows(results))]))


def search_rows(results: SweepResults) -> list[SearchRow]:
    """The search by strategy, the best first; strategies without a complete trial last."""
    metric = results.objective.metric
    best = leaders(completed(results), metric)
    names = strategies(results)
    found = sorted((n for n in names if n in best), key=lambda name: rank(best[name], metric))
    order = [*found, *(name for name in names if name not in best)]
    return [_search_row(results, name, best.get(name)) for name in order]


def best_trials(results: SweepResults) -> dict[str, TrialResult]:
    """Strategy -> its best trial, as the confirm phase chooses it; no key where none is."""
    return leaders(results.trials, results.objective.metric)


def completed(results: SweepResults) -> list[TrialResult]:
    """The search's complete trials."""
    return [trial for trial in results.trials if trial.status == COMPLETE]


def confirm_rows(results: SweepResults) -> list[ConfirmRow]:
    """The confirmed strategies by the objective, as the winner was chosen."""
    metric = results.objective.metric
    entries = sorted(results.confirm, key=lambda entry: confirmed_rank(entry, metric))
    return [_confirm_row(entry, results) for entry in entries]


def other_rows(results: SweepResults) -> list[OtherRow]:
    """What was confirmed beside each arm's best, arm by arm, the best first."""
    searched = {trial.id: trial.searched for trial in results.trials}
    order = {row.strategy: place for place, row in enumerate(confirm_rows(results))}
    entries = sorted(
        results.other_configurations, key=lambda row: order.get(row.strategy, len(order))
    )
    return [
        OtherRow(
            strategy=entry.strategy,
            values=values_in_words(searched.get(entry.trial or "", {})),
            trial=entry.trial,
            validation=entry.validation,
            test_error=plus_minus(entry.test_error.mean, entry.test_error.high),
            n=entry.test_error.n,
        )
        for entry in entries
    ]


def transient_notes(results: SweepResults) -> list[str]:
    """A sentence for each strategy whose best trial followed its start value too often.

    Bias-variance guidance (BVG-LS) starts its variance estimate from a constant; as long as
    this constant is over half of the estimate, the picked layer says little about the data.
    """
    notes = []
    for strategy, trial in sorted(best_trials(results).items()):
        known = [share for _, share in trial.curve(TRANSIENT)]
        share = math.fsum(known) / len(known) if known else 0.0
        if share > TRANSIENT_LIMIT:
            notes.append(
                f"{strategy}: in {percent(share)} of the steps of its best trial "
                f"({trial.id}) the start value of the variance estimate outweighed what was "
                "measured, so the layers it moved say little about the data. In runs this short, "
                f"set strategies.{strategy}.ema_init: debiased, or train longer."
            )
    return notes


# --- in words ---------------------------------------------------------------------------------


def percent(share: float) -> str:
    """A share as `41 %`; what is neither nothing nor everything never reads 0 % or 100 %."""
    if 0 < share < 0.01:
        return f"{100 * share:.1f} %" if share >= 0.0005 else "<0.1 %"
    if 0.99 < share < 1:
        return f"{100 * share:.1f} %" if share < 0.9995 else ">99.9 %"
    return f"{100 * share:.0f} %"


def plus_minus(mean: float | None, high: float | None) -> str:
    """`0.251 ± 0.012`, `0.251` without an interval, `0.251 each` where every seed has the same
    (which is no interval either), `–` without a value."""
    if mean is None:
        return "–"
    if high is None:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {high - mean:.3f}" if high - mean > NO_SPREAD else f"{mean:.3f} each"


def measured_in_words(entry: ConfirmedStrategy, measure: str) -> str:
    """A test metric of a strategy, mean and half the 95 % interval over its runs; `–` where one of
    them lacks it."""
    values = [finite(run.metric(measure)) for run in entry.runs]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return plus_minus(None, None)
    mean, _, high = interval(known)
    return plus_minus(mean, high)


def values_in_words(values: Mapping[str, Any]) -> str:
    """`learning_rate 0.021, ema_decay 0.93`."""
    shown = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
    return ", ".join(shown)


def layers_in_words(moved: Mapping[str, float], layers: Iterable[str]) -> str:
    """Which layers moved: `stem`, `layer4 + head`, `4 of 6 (stem 41 %)`, `all 6`.

    The layer that moved most often is named where some moved more often than others.

    Args:
        moved: layer -> share of the steps in which it moved, 0..1.
        layers: the model's layers in forward order.
    """
    names = [*layers]
    names += [name for name in moved if name not in names]
    shares = {name: moved[name] for name in names if finite(moved.get(name)) and moved[name] > 0}
    if not shares:
        return "none"
    most = max(shares, key=lambda name: shares[name])
    uneven = min(shares.values()) < 0.995
    if len(shares) == 1:
        return f"{most} ({percent(shares[most])})" if uneven else most
    if len(shares) == len(names):
        count = f"all {len(names)}"
    elif len(shares) <= 3:
        count = " + ".join(shares)
    else:
        count = f"{len(shares)} of {len(names)}"
    return f"{count} ({most} {percent(shares[most])})" if uneven else count


def weights_in_words(weights: Mapping[str, float], layers: Iterable[str]) -> str:
    """How learning rates were weighed: `all 6 (0.1 to 1, most stem)`, `all 6`.

    Args:
        weights: layer -> its mean weight.
        layers: the model's layers in forward order.
    """
    names = [*layers]
    names += [name for name in weights if name not in names]
    known = {name: weights[name] for name in names if finite(weights.get(name))}
    if not known:
        return "none"
    count = f"all {len(names)}" if len(known) == len(names) else f"{len(known)} of {len(names)}"
    low, high = (f"{value:.2g}" for value in (min(known.values()), max(known.values())))
    if low == high:
        return count if high == "1" else f"{count} (weight {high})"
    return f"{count} ({low} to {high}, most {max(known, key=lambda name: known[name])})"


# --- rows -------------------------------------------------------------------------------------


def _search_row(results: SweepResults, strategy: str, best: TrialResult | None) -> SearchRow:
    states = [trial.status for trial in results.trials if trial.strategy == strategy]
    return SearchRow(
        strategy=strategy,
        done=states.count("COMPLETE"),
        pruned=states.count("PRUNED"),
        failed=states.count("FAILED"),
        interrupted=states.count("INTERRUPTED"),
        best=best.value if best else None,
        best_trial=best.id if best else None,
        with_values=values_in_words(best.searched) if best else "",
    )


def difference_in_words(comparison: Comparison) -> str:
    """`−2.3 (−5.0 to +0.4)`, in points; `*` where it is shown once corrected."""
    if comparison.difference is None:
        return "–"
    if comparison.low is None or comparison.high is None:
        return points(comparison.difference)[0]
    mean, low, high = points(comparison.difference, comparison.low, comparison.high)
    shown = " *" if comparison.outcome in ("better", "worse") else ""
    return f"{mean} ({low} to {high}){shown}"


def effort_in_words(effort: StrategyEffort) -> str:
    """`12 trials, 9 complete`, `4 trials, none complete`, `one configuration, nothing to tune`."""
    if effort.nothing_to_tune:
        return SINGLE
    words = f"{effort.trials} trial{'s' * (effort.trials != 1)}"
    if effort.complete != effort.trials:
        words += f", {effort.complete or 'none'} complete"
    return f"{words}, a range test of {effort.range_steps} steps" if effort.range_steps else words


def effort_remarks(effort: StrategyEffort) -> list[str]:
    """What else is to be said of a strategy's tuning."""
    return [
        *[SINGLE] * effort.nothing_to_tune,
        *["its best trial was pruned"] * effort.from_pruned,
        *[f"at an edge of its range: {', '.join(effort.at_edge)}"] * bool(effort.at_edge),
        *effort.outermost,
        *[f"a range test of {effort.range_steps} steps before"] * bool(effort.range_steps),
        *[f"a trial counts {effort.cost:.2g} times, by its model's cost"] * (effort.cost != 1),
    ]


def _confirm_row(entry: ConfirmedStrategy, results: SweepResults) -> ConfirmRow:
    against = {c.ours: difference_in_words(c) for c in results.verdict.against_baseline}
    effort = next((e for e in results.effort if e.strategy == entry.strategy), None)
    test, share = entry.test_error, entry.updated_share
    in_words = weights_in_words if entry.weighs_rates else layers_in_words
    return ConfirmRow(
        strategy=entry.strategy,
        winner=entry.strategy == results.verdict.winner,
        validation=entry.validation,
        mean=test.mean,
        low=test.low,
        high=test.high,
        n=test.n,
        tests=tuple(entry.by_seed("test/error").values()),
        test_error=plus_minus(test.mean, test.high),
        measured=measured_in_words(entry, results.verdict.measure),
        layers=in_words(entry.moved, results.layers_of(entry.strategy)),
        parameters="–" if share is None else percent(share),
        seconds=entry.seconds,
        against_full=against.get(entry.strategy, ""),
        tuned_on=effort_in_words(effort) if effort else "",
        at_edge=", ".join(effort.at_edge) if effort else "",
    )
