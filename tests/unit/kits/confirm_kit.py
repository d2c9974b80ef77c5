"""Confirm runs and tuning efforts made up for the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysel.sweep.pairwise import Runs
from raysel.sweep.results import ConfirmedStrategy, StrategyEffort

MEASURE = "test/error"


def entry(
    strategy: str,
    errors: Sequence[float | None],
    splits: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    measure: str = MEASURE,
    **more: Any,
) -> ConfirmedStrategy:
    """One strategy of `results.json`'s `confirm`: a run an error, each on a split of its own."""
    splits = splits or range(1, len(errors) + 1)
    seeds = seeds or range(len(errors))
    runs = [
        {"id": f"{strategy}-{i}-{split}-{seed}", "split": split, "seed": seed, measure: e, **more}
        for i, (e, split, seed) in enumerate(zip(errors, splits, seeds, strict=True))
    ]
    return ConfirmedStrategy.model_validate({"strategy": strategy, "runs": runs})


def runs_of(
    *entries: ConfirmedStrategy,
    splits: int = 5,
    overlap: float = 0.0,
    losses: Mapping[str, np.ndarray] | None = None,
) -> Runs:
    """What `compare` compares."""
    rows = {e.strategy: e.runs for e in entries}
    return Runs(rows, MEASURE, splits, overlap, losses or {})


def by_example(
    tables: Mapping[str, np.ndarray], splits: Sequence[int] | None = None
) -> tuple[list[ConfirmedStrategy], dict[str, np.ndarray]]:
    """Entries and losses of strategies whose losses are known example by example.

    Args:
        tables: strategy -> runs × examples.
    """
    entries, losses = [], {}
    for strategy, table in tables.items():
        made = entry(strategy, [float(m) for m in table.mean(axis=1)], splits)
        losses |= {run.id: row for run, row in zip(made.runs, table, strict=True)}
        entries.append(made)
    return entries, losses


def effort(strategy: str, trials: int = 10, complete: int | None = None) -> StrategyEffort:
    """Tuning on so many trials, all of them complete if nothing else is said."""
    done = trials if complete is None else complete
    return StrategyEffort(
        strategy=strategy,
        trials=trials,
        complete=done,
        pruned=trials - done,
        failed=0,
        replicates=0,
        epochs=10 * trials,
        from_pruned=not done,
        at_edge=(),
        searched=2,
        curve=None,
    )
