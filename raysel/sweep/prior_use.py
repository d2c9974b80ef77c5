"""What came of the earlier sweeps that a sweep took trials from."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.record.state import POINT, WARM, TrialState
from raysel.search.prior import Prior
from raysel.sweep.results import PriorUse


def prior_use(prior: Prior | None, search: Sequence[TrialState]) -> tuple[PriorUse, ...]:
    """For each earlier sweep and arm: which trials came from it.

    Args:
        search: the trials of the search, by number.
    """
    found = []
    for sweep in prior.sweeps if prior is not None else ():
        for arm, own in sweep.arms.items():
            trials = [trial for trial in search if trial.strategy == arm]
            points = [t.id for t in trials if _comes(t, POINT, sweep.address)]
            warmed = [t.id for t in trials if _comes(t, WARM, sweep.address)]
            found.append(
                PriorUse(
                    sweep=sweep.address,
                    sweep_id=sweep.id,
                    strategy=arm,
                    trials=len(own.trials),
                    first=tuple(points),
                    given=own.warm,
                    warmed=tuple(warmed),
                )
            )
    return tuple(found)


def _comes(trial: TrialState, how: str, address: str) -> bool:
    found, addresses = trial.earlier
    return found == how and address in addresses
