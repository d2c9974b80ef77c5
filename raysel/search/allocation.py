"""Fair comparisons: an equal number of trials per strategy, each pruned against its own only.

A strategy that starts slowly is not a bad one: where strategies are compared, neither the
sampler nor the pruner should starve one because another is ahead early on
(`search.allocation: equal`, `pruner.compare: within_strategy`).
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from raysel.search.space import STRATEGY, Space
from raysel.search.trial_budget import points_of, shares
from raysel.spec.sweep import SearchSpec

_FIXED = "fixed_params"


def next_strategy(search: SearchSpec, space: Space, trials: Iterable[FrozenTrial]) -> str | None:
    """The strategy of the next trial: of those with trials left the one with the fewest, the first
    in the file among equals; None where every share is used up."""
    had = Counter(arm_of_trial(trial) for trial in trials)
    left = [name for name, share in shares(search, space).items() if had[name] < share]
    return min(left, key=lambda name: had[name], default=None)


def replicate_of(
    space: Space, trials: Iterable[FrozenTrial], strategy: str | None
) -> dict[str, Any] | None:
    """The values of the next trial of a strategy all of whose configurations were tried: of the
    better half of them, the one with the fewest trials, the best among equals.

    Returns:
        None where a configuration is left.
    """
    if strategy is None:
        return None
    own: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        if arm_of_trial(trial) == strategy:
            own.setdefault(repr(sorted(trial.params.items())), []).append(trial)
    points = points_of(space, strategy)
    if len(own) < points:
        return None
    ranked = sorted(own.values(), key=_mean_value)[: (points + 1) // 2]
    return dict(min(ranked, key=len)[0].params)


def _mean_value(trials: Iterable[FrozenTrial]) -> float:
    """Of one configuration's complete trials; where there is none it comes last."""
    complete = (t for t in trials if t.state == TrialState.COMPLETE)
    values = [trial.value for trial in complete if trial.value is not None]
    return math.fsum(values) / len(values) if values else math.inf


def arm_of_trial(trial: FrozenTrial) -> str | None:
    """The arm that a trial has chosen, or that was chosen for it."""
    fixed: dict[str, Any] = trial.system_attrs.get(_FIXED, {})
    return trial.params.get(STRATEGY, fixed.get(STRATEGY))


class WithinStrategy(BasePruner):
    """A pruner that sees no trials but those of the trial's own strategy."""

    def __init__(self, pruner: BasePruner) -> None:
        self.pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to prune the trial against its own strategy's trials."""
        peers = copy.copy(study)
        peers._storage = _Peers(study._storage, arm_of_trial(trial))  # type: ignore[assignment]
        return self.pruner.prune(peers, trial)


class _Peers:
    """A storage that lists the trials of one strategy only."""

    def __init__(self, storage: Any, strategy: str | None) -> None:
        self._storage, self._strategy = storage, strategy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(self, *arguments: Any, **named: Any) -> list[FrozenTrial]:
        trials: list[FrozenTrial] = self._storage.get_all_trials(*arguments, **named)
        return [trial for trial in trials if arm_of_trial(trial) == self._strategy]
