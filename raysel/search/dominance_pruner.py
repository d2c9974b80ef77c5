"""Which trials of a search with several objectives end early."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial, Trial

from raysel.search.allocation import TrialsByArm, arm_of_trial
from raysel.search.dominance import order_of
from raysel.spec.sweep import PrunerSpec

_RUNG = "dominance_rung_"
"""Before a rung's number: what a trial had reached there, in its attributes."""


class DominancePruner:
    """Asynchronous successive halving with several objectives (MO-ASHA; Schmucker et al., 2021).

    At grace_epochs, grace_epochs * reduction_factor, … a trial goes on if it is among the first
    1 / reduction_factor of all that got there, in the order of `raysel.search.dominance.order_of`;
    of fewer than reduction_factor the first one goes on. Optuna has no pruner for several
    objectives.

    Args:
        spec: of kind `asha`, or `none`, which prunes nothing.
    """

    def __init__(self, spec: PrunerSpec) -> None:
        self._spec = spec
        self._arms = TrialsByArm()

    def prune(self, trial: Trial, epoch: int, reached: Sequence[float]) -> bool:
        """Whether to end a trial after an epoch.

        What it had reached at a rung is noted in its attributes, so that a study that is rebuilt
        decides likewise.

        Args:
            epoch: from 1; every epoch is asked about, in order.
            reached: its objectives so far, finite.
        """
        rung = self._rung_at(epoch)
        if rung is None:
            return False
        trial.study._storage.set_trial_system_attr(trial._trial_id, f"{_RUNG}{rung}", [*reached])
        points = self._competing(trial, f"{_RUNG}{rung}")
        kept = order_of(np.array(points), max(1, len(points) // self._spec.reduction_factor))
        return list(reached) not in [points[index] for index in kept]

    def _rung_at(self, epoch: int) -> int | None:
        if self._spec.kind == "none":
            return None
        rung, at = 0, self._spec.grace_epochs
        while at < epoch:
            rung, at = rung + 1, at * self._spec.reduction_factor
        return rung if at == epoch else None

    def _competing(self, trial: Trial, rung: str) -> list[list[float]]:
        """What the trials that got to a rung had reached there, the trial itself among them."""
        trials = trial.study.get_trials(deepcopy=False)
        arm = arm_of_trial(trials[trial.number])
        peers: Sequence[FrozenTrial] = trials
        if self._spec.compare == "within_strategy" and arm is not None:
            peers = self._arms.of(trials, arm)
        return [peer.system_attrs[rung] for peer in peers if rung in peer.system_attrs]
