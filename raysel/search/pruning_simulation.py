"""Estimate the savings of the sweep's pruner by a simulation with synthetic trials.

The synthetic trials differ in quality, and their curves do not cross: a trial that is ahead stays
ahead. Then what a pruner keeps depends on its rule, on the number of trials and on how many run
at a time, and on nothing that only training could show. A sampler that learns makes later trials
better than earlier ones, and curves cross: a real sweep keeps a little more or less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna

from raysel.search.samplers import pruner
from raysel.search.space import STRATEGY
from raysel.spec.sweep import Spec

MOST_TRIALS = 60
"""Largest number of trials to simulate: beyond it the share hardly changes."""

_GAMES = 3


def pruning_keep_fraction(
    spec: Spec, strategies: Sequence[str], trials: int, epochs: int, most: int
) -> float:
    """The share of all epochs that the pruner does not save, 0 to 1.

    Args:
        strategies: whose trials take turns.
        trials: of the search.
        epochs: of a trial that nobody ends early.
        most: trials at a time.
    """
    if spec.pruner.kind == "none" or epochs <= 1 or not trials:
        return 1.0
    count = min(trials, MOST_TRIALS)
    run = sum(
        _simulate_pruning(spec, strategies, count, epochs, most, seed) for seed in range(_GAMES)
    )
    return run / (_GAMES * count * epochs)


def _simulate_pruning(
    spec: Spec, strategies: Sequence[str], trials: int, epochs: int, most: int, seed: int
) -> int:
    """Epochs that one simulated search runs."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=f"game {seed}",  # hyperband draws its brackets from it
        pruner=pruner(spec.pruner, epochs),
        sampler=optuna.samplers.RandomSampler(seed=seed),
    )
    qualities = np.random.default_rng(seed).random(trials)
    waiting = list(range(trials))
    live: list[tuple[optuna.Trial, int]] = []
    run = 0
    while waiting or live:
        while waiting and len(live) < most:
            number = waiting.pop(0)
            study.enqueue_trial({STRATEGY: strategies[number % len(strategies)]})
            trial = study.ask()
            trial.suggest_categorical(STRATEGY, strategies)
            live.append((trial, 0))
        trial, epoch = live.pop(0)
        run, epoch = run + 1, epoch + 1
        trial.report(float(qualities[trial.number]), epoch)
        if epoch == epochs:
            study.tell(trial, float(qualities[trial.number]))
        elif trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            live.append((trial, epoch))
    return run
