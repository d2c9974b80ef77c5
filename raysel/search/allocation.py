"""Fair comparisons: an equal number of trials per strategy, or of several models equal computation,
each pruned against its own only.

A strategy that starts slowly is not a bad one: where strategies are compared, neither the
sampler nor the pruner should starve one because another is ahead early on
(`search.allocation: equal`, `pruner.compare: within_strategy`).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from raysel.search.space import STRATEGY, Space
from raysel.search.study_view import seen_as
from raysel.search.trial_budget import points_of, shares
from raysel.spec.sweep import SearchSpec

_FIXED = "fixed_params"


class TrialsByArm:
    """The numbers of each arm's trials. A trial is looked at until its arm is known, and no more: a
    study of thousands of trials is asked at every epoch."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[int]] = {}
        self._seen = 0
        self._without: list[int] = []

    def of(self, trials: Sequence[FrozenTrial], arm: str | None) -> list[FrozenTrial]:
        """The trials of an arm, in their order.

        Args:
            trials: all of the study, in the order of their numbers; later calls may have more.
        """
        self._update(trials)
        return [trials[number] for number in self._numbers.get(arm or "", ())]

    def count(self, trials: Sequence[FrozenTrial], arm: str) -> int:
        """How many trials an arm has."""
        self._update(trials)
        return len(self._numbers.get(arm, ()))

    def place(self, trials: Sequence[FrozenTrial], arm: str, number: int) -> int:
        """How many trials of an arm come before the trial `number`: all, where no trial says its
        arm, as there is one."""
        self._update(trials)
        return bisect_left(self._numbers.get(arm, ()), number) if self._numbers else number

    def _update(self, trials: Sequence[FrozenTrial]) -> None:
        unknown = [*self._without, *range(self._seen, len(trials))]
        self._seen, self._without = len(trials), []
        for number in unknown:
            arm = arm_of_trial(trials[number])
            if arm is None:
                self._without.append(number)
            else:
                insort(self._numbers.setdefault(arm, []), number)


class WaitingTrials:
    """The trials that are enqueued and not begun. One that has begun never waits again and is not
    looked at any more: a study of thousands of trials is asked for each new one."""

    def __init__(self) -> None:
        self._seen = 0
        self._waiting: list[int] = []

    def first(self, trials: Sequence[FrozenTrial]) -> int | None:
        """The lowest number of a trial that waits.

        Args:
            trials: as in `TrialsByArm.of`.
        """
        numbers = [*self._waiting, *range(self._seen, len(trials))]
        self._seen = len(trials)
        self._waiting = [n for n in numbers if trials[n].state == TrialState.WAITING]
        return self._waiting[0] if self._waiting else None


def next_strategy(
    search: SearchSpec, space: Space, arms: TrialsByArm, trials: Sequence[FrozenTrial]
) -> str | None:
    """The strategy of the next trial: of those with trials left the one with the fewest, or that
    has cost the least with one more where they are shared out by cost, the first in the file among
    equals; None where every share is used up."""
    had = {name: arms.count(trials, name) for name in space.strategies}
    left = [name for name, share in shares(search, space).items() if had[name] < share]
    if space.costs:
        return min(left, key=lambda name: (had[name] + 1) * space.costs[name], default=None)
    return min(left, key=had.__getitem__, default=None)


def replicate_of(
    space: Space, trials: Sequence[FrozenTrial], strategy: str
) -> dict[str, Any] | None:
    """The values of the next trial of a strategy all of whose configurations were tried: of the
    better half of them, the one with the fewest trials, the best among equals.

    Args:
        trials: the strategy's own.

    Returns:
        None where a configuration is left.
    """
    points = points_of(space, strategy)
    if len(trials) < points:
        return None
    own: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        own.setdefault(configuration_of(trial.params), []).append(trial)
    if len(own) < points:
        return None
    ranked = sorted(own.values(), key=_mean_value)[: (points + 1) // 2]
    return dict(min(ranked, key=len)[0].params)


def configuration_of(params: Mapping[str, Any]) -> str:
    """Equal for equal values, and for no others."""
    return repr(sorted(params.items()))


def _mean_value(trials: Iterable[FrozenTrial]) -> float:
    """Of one configuration's complete trials; where there is none it comes last."""
    complete = (t for t in trials if t.state == TrialState.COMPLETE)
    values = [trial.values[0] for trial in complete]  # of several objectives the first decides
    return math.fsum(values) / len(values) if values else math.inf


def arm_of_trial(trial: FrozenTrial) -> str | None:
    """The arm that a trial has chosen, or that was chosen for it."""
    fixed: dict[str, Any] = trial.system_attrs.get(_FIXED, {})
    return trial.params.get(STRATEGY, fixed.get(STRATEGY))


def peers_of(study: Study, arms: TrialsByArm, arm: str) -> Study:
    """The study as if it had the trials of one arm only."""
    storage = study._storage
    return seen_as(study, lambda id: arms.of(storage.get_all_trials(id, deepcopy=False), arm))


class WithinStrategy(BasePruner):
    """A pruner that sees no trials but those of the trial's own strategy."""

    def __init__(self, pruner: BasePruner) -> None:
        self.pruner = pruner
        self._arms = TrialsByArm()

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to prune the trial against its own strategy's trials."""
        arm = arm_of_trial(trial)
        if arm is None:  # there is one strategy
            return self.pruner.prune(study, trial)
        return self.pruner.prune(peers_of(study, self._arms, arm), trial)
