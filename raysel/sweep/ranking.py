"""The order of trials, of confirm runs and of confirmed strategies: the best is the first.

Whatever names a best one uses these functions: the confirm phase, `list` and `show`, the live
table, the report, the verdict, the best model. Every objective is better the smaller it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from raysel.record.state import COMPLETE, PRUNED, RUNNING, TrialState
from raysel.search.dominance import is_dominated, order_of
from raysel.spec.confirm import FRONT, BestBy, Configurations
from raysel.sweep.results import ConfirmedStrategy, ConfirmRun, TrialResult

Trial = TypeVar("Trial", TrialState, TrialResult)
"""A trial of the search, in the record or in its results."""

Rank = tuple[bool, float, float, int, float, int]


def rank(trial: TrialState | TrialResult, metric: str) -> Rank:
    """The place of a trial with a value among others: the smaller the better.

    A completed trial comes before a pruned one (or one that runs, with its value so far), and
    before one whose set of layers is not taken, as it does not go below what it has to
    (`search.sampler: greedy`; D88). Among equals (a small validation split makes them common) the
    lower validation loss at the trial's chosen epoch wins, then the earlier epoch, the smaller
    learning rate (D10), the earlier trial.
    """
    value = math.inf if trial.value is None else trial.value
    # the first epoch with the trial's value is the one whose weights were kept
    chosen = next((row for row in trial.epochs if row.get(metric) == value), {})
    loss = chosen.get("val/loss")
    training = trial.config.get("training") or {}
    return (
        trial.status != COMPLETE or (trial.to_beat is not None and value >= trial.to_beat),
        value,
        math.inf if loss is None else loss,
        int(chosen.get("epoch") or 0),
        float(training.get("learning_rate") or 0.0),
        trial.number,
    )


def best_trial(trials: Iterable[Trial], metric: str) -> Trial | None:
    """The best of the trials that have a value and did not fail; None where none has."""
    usable = [t for t in trials if t.status in (COMPLETE, PRUNED, RUNNING) and t.value is not None]
    return min(usable, key=lambda trial: rank(trial, metric), default=None)


def leaders(trials: Iterable[Trial], metric: str) -> dict[str, Trial]:
    """Strategy -> its best trial, in the order of their first trials.

    Pruned trials stand in only for a strategy whose trials were all pruned, so that it is
    confirmed too. A strategy of failures alone has none.
    """
    by_strategy: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        by_strategy.setdefault(trial.strategy, []).append(trial)
    found = {name: best_trial(own, metric) for name, own in by_strategy.items()}
    return {name: trial for name, trial in found.items() if trial is not None}


def finalists(
    trials: Iterable[Trial], metric: str, configurations: Configurations = "best"
) -> list[Trial]:
    """The trials whose configurations are confirmed: the best of each arm in the order of their
    first trials, then the others that are asked for (`confirm.configurations`) in the order of
    theirs. A configuration comes once, as its best trial; one that has no result is left out."""
    listed = sorted(trials, key=lambda trial: trial.number)
    best = list(leaders(listed, metric).values())
    if configurations == "best":
        return best
    if configurations == "front":
        return best + [t for own in best for t in _others_of_front(listed, own, metric)]
    groups: dict[str, list[Trial]] = {}
    for trial in listed:
        groups.setdefault(_group(trial, configurations), []).append(trial)
    chosen = {of.number: of for own in groups.values() if (of := best_trial(own, metric))}
    known = [configuration(trial.config) for trial in best]
    return best + [t for t in chosen.values() if configuration(t.config) not in known]


def pareto_front(trials: Iterable[Trial], metric: str) -> list[Trial]:
    """The complete trials with values of several objectives that no other of them dominates, in
    the order in which they are kept (`raysel.search.dominance.order_of`), the best by the metric
    first."""
    complete = [trial for trial in trials if trial.status == COMPLETE and trial.values]
    if not complete:
        return []
    names = sorted(complete[0].values, key=lambda name: name != metric)
    points = np.array([[trial.values[name] for name in names] for trial in complete])
    dominated = is_dominated(points)
    return [complete[index] for index in order_of(points, int((~dominated).sum()))]


def _others_of_front(trials: Iterable[Trial], best: Trial, metric: str) -> list[Trial]:
    """Of an arm's front what is confirmed beside its best, each configuration once."""
    own = (trial for trial in trials if trial.strategy == best.strategy)
    front = pareto_front(own, metric)
    known, found = [configuration(best.config)], []
    for trial in front:
        if configuration(trial.config) not in known and len(known) < FRONT:
            known.append(configuration(trial.config))
            found.append(trial)
    return found


def _group(trial: TrialState | TrialResult, configurations: Configurations) -> str:
    """Trials of one group are alike for `confirm.configurations`."""
    if isinstance(configurations, BestBy):
        named = {name: trial.searched.get(name) for name in configurations.by}
        return repr((trial.strategy, named))
    return repr((trial.strategy, configuration(trial.config)))


def configuration(config: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's configuration but for what its runs differ by: seed, split, source model."""
    return {**config, "seed": None, "split": 0, "source_seed": 0}


def best_epoch(values: Mapping[int, float]) -> int:
    """The epoch with the lowest value, the first of equals."""
    return min(values, key=lambda epoch: (values[epoch], epoch))


def confirmed_rank(entry: ConfirmedStrategy, metric: str) -> tuple[float, float, str]:
    """The place of a confirmed strategy: mean objective, then mean validation loss, then name."""
    values, losses = (list(entry.by_seed(name).values()) for name in (metric, "val/loss"))
    # rounded: as many mistakes in all are a tie, whatever the last bit of the mean says
    mean = round(math.fsum(values) / len(values), 12) if values else math.inf
    loss = math.fsum(losses) / len(losses) if losses else math.inf
    return mean, loss, entry.strategy


def best_run(runs: Iterable[ConfirmRun], metric: str) -> ConfirmRun:
    """The confirm run with the best objective; then by validation loss, then the earlier seed."""

    def place(run: ConfirmRun) -> tuple[float, ...]:
        values = (run.metric(metric), run.val_loss)
        return tuple(math.inf if value is None else value for value in values)

    return min(runs, key=place)
