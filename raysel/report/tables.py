"""The tables of a sweep, as rows of plain strings and numbers for the terminal and the page.

Every function takes the dictionary of `results.json`, complete or not, and asks nothing
else. Rates are 0..1 here; where a string shows one in percent it says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raysel.spec.sweep import objective_sign
from raysel.sweep.verdict import NO_SPREAD

Results = Mapping[str, Any]
"""The dictionary of `results.json`."""

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
    """One strategy in the confirm phase. `layers`, `parameters`: in words; `low` and `high`
    are None where there is one seed; `tests`: the test error of each seed; `validation`: the
    sweep's objective, mean over the seeds."""

    strategy: str
    winner: bool
    label: str
    trial: str
    validation: float | None
    mean: float | None
    low: float | None
    high: float | None
    n: int
    tests: tuple[float, ...]
    test_error: str
    layers: str
    parameters: str
    seconds: float | None


@dataclass(frozen=True)
class TrialRow:
    """One trial of the search."""

    id: str
    number: int
    strategy: str
    with_values: str
    learning_rate: float | None
    status: str
    cause: str
    value: float | None
    best_epoch: int | None
    epochs: int
    seconds: float | None


def finite(value: Any) -> float | None:
    """The number, or None where there is none or it is not finite."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def strategies(results: Results) -> list[str]:
    """Every strategy that appears, in alphabetical order."""
    entries = [*(results.get("trials") or []), *(results.get("confirm") or [])]
    return sorted({str(entry["strategy"]) for entry in entries})


def ranked(results: Results) -> list[str]:
    """Every strategy in the order of the tables: as confirmed, then as the search found."""
    confirmed = [row.strategy for row in confirm_rows(results)]
    return list(dict.fromkeys([*confirmed, *(row.strategy for row in search_rows(results))]))


def search_rows(results: Results) -> list[SearchRow]:
    """The search by strategy, the best first; strategies without a complete trial last."""
    rows = [_search_row(results, strategy) for strategy in strategies(results)]
    sign = objective_sign(results["objective"]["mode"])

    def rank(row: SearchRow) -> tuple[bool, float]:
        return row.done == 0, math.inf if row.best is None else sign * row.best

    return sorted(rows, key=rank)


def best_trials(results: Results) -> dict[str, Mapping[str, Any]]:
    """Strategy -> its best trial, as the confirm phase chose it; no key where none is.

    A pruned trial stands for a strategy that has no complete one.
    """
    sign = objective_sign(results["objective"]["mode"])
    best: dict[str, tuple[tuple[float, ...], Mapping[str, Any]]] = {}
    for trial in results.get("trials") or []:
        if trial["status"] not in ("COMPLETE", "PRUNED") or finite(trial.get("value")) is None:
            continue
        rank = _rank(trial, sign)
        if trial["strategy"] not in best or rank < best[trial["strategy"]][0]:
            best[trial["strategy"]] = rank, trial
    return {strategy: trial for strategy, (_, trial) in best.items()}


def completed(results: Results) -> Results:
    """The same with the search's complete trials alone."""
    trials = [trial for trial in results.get("trials") or [] if trial["status"] == "COMPLETE"]
    return {**results, "trials": trials}


def _rank(trial: Mapping[str, Any], sign: float) -> tuple[float, ...]:
    """Whether pruned, objective, then for equals loss, epoch, learning rate, number (D10):
    smaller is better."""
    epoch = trial.get("best_epoch")
    rows = (row for row in trial.get("epochs") or [] if row["epoch"] == epoch)
    chosen: Mapping[str, Any] = next(rows, {})
    loss = finite(chosen.get("val/loss"))
    training = (trial.get("config") or {}).get("training") or {}
    rate = finite(training.get("learning_rate"))
    return (
        trial["status"] == "PRUNED",
        sign * trial["value"],
        math.inf if loss is None else loss,
        epoch or 0,
        rate or 0.0,
        trial["number"],
    )


def confirm_rows(results: Results) -> list[ConfirmRow]:
    """The confirmed strategies by the objective, as the winner was chosen."""
    winner = (results.get("verdict") or {}).get("winner")
    layers = list(results["layers"])
    rows = [_confirm_row(entry, winner, layers) for entry in results.get("confirm") or []]
    sign = objective_sign(results["objective"]["mode"])

    def rank(row: ConfirmRow) -> tuple[bool, float]:
        return not row.winner, math.inf if row.validation is None else sign * row.validation

    return sorted(rows, key=rank)


def trial_rows(results: Results) -> list[TrialRow]:
    """Every trial of the search by number."""
    trials = sorted(results.get("trials") or [], key=lambda trial: trial["number"])
    return [_trial_row(trial) for trial in trials]


def transient_notes(results: Results) -> list[str]:
    """A sentence for each strategy whose best trial followed its start value too often.

    Bias-variance guidance (BVG-LS) starts its variance estimate from a constant; as long as
    this constant is over half of the estimate, the picked layer says little about the data.
    """
    notes = []
    for strategy, trial in sorted(best_trials(results).items()):
        shares = [finite(epoch.get(TRANSIENT)) for epoch in trial.get("epochs") or []]
        known = [share for share in shares if share is not None]
        share = math.fsum(known) / len(known) if known else 0.0
        if share > TRANSIENT_LIMIT:
            notes.append(
                f"{strategy}: in {percent(share)} of the steps of its best trial "
                f"({trial['id']}) the start value of the variance estimate outweighed what was "
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


def _search_row(results: Results, strategy: str) -> SearchRow:
    trials = [trial for trial in results.get("trials") or [] if trial["strategy"] == strategy]
    states = [trial["status"] for trial in trials]
    best = best_trials(completed(results)).get(strategy)
    return SearchRow(
        strategy=strategy,
        done=states.count("COMPLETE"),
        pruned=states.count("PRUNED"),
        failed=states.count("FAILED"),
        interrupted=states.count("INTERRUPTED"),
        best=best["value"] if best else None,
        best_trial=best["id"] if best else None,
        with_values=values_in_words(best.get("searched") or {}) if best else "",
    )


def _confirm_row(entry: Mapping[str, Any], winner: str | None, layers: list[str]) -> ConfirmRow:
    test = entry.get("test_error") or {}
    mean, high = finite(test.get("mean")), finite(test.get("high"))
    share = finite(entry.get("updated_share"))
    tests = (finite(run.get("test/error")) for run in entry.get("runs") or [])
    return ConfirmRow(
        strategy=str(entry["strategy"]),
        winner=entry["strategy"] == winner,
        label=str(entry.get("label") or entry["strategy"]),
        trial=str(entry.get("trial") or ""),
        validation=finite(entry.get("validation")),
        mean=mean,
        low=finite(test.get("low")),
        high=high,
        n=int(test.get("n") or 0),
        tests=tuple(value for value in tests if value is not None),
        test_error=plus_minus(mean, high),
        layers=_moved_in_words(entry, layers),
        parameters="–" if share is None else percent(share),
        seconds=finite(entry.get("seconds")),
    )


def weighs_rates(entry: Mapping[str, Any]) -> bool:
    """Whether `moved` of a confirmed strategy is a mean weight and not a share of steps."""
    return entry.get("moved_is") == "weight"


def _moved_in_words(entry: Mapping[str, Any], layers: list[str]) -> str:
    moved = entry.get("moved") or {}
    return (
        weights_in_words(moved, layers) if weighs_rates(entry) else layers_in_words(moved, layers)
    )


def _trial_row(trial: Mapping[str, Any]) -> TrialRow:
    training = (trial.get("config") or {}).get("training") or {}
    return TrialRow(
        id=str(trial["id"]),
        number=int(trial["number"]),
        strategy=str(trial["strategy"]),
        with_values=values_in_words(trial.get("searched") or {}),
        learning_rate=finite(training.get("learning_rate")),
        status=str(trial["status"]),
        cause=str(trial.get("cause") or ""),
        value=finite(trial.get("value")),
        best_epoch=trial.get("best_epoch"),
        epochs=len(trial.get("epochs") or []),
        seconds=finite(trial.get("seconds")),
    )
