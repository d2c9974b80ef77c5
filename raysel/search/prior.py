"""What earlier sweeps know of a sweep's space (`search.prior`), and when it is not believed.

The trials of earlier sweeps are read once, when a sweep begins (`raysel.sweep.priors`), and are
frozen in its record. Everything here is a function of those and of the sweep's own trials, so that
a resumed sweep suggests the same whatever has become of the earlier ones. Values of two sweeps are
not comparable: a trial stands for its place among the trials of its own arm and sweep
(docs/algorithms.md, D85).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import kendalltau

from raysel.search.allocation import configuration_of
from raysel.search.space import SearchedValue, Space
from raysel.search.trial_budget import is_warmed, shares
from raysel.spec.sweep import Choice, Distribution, SearchSpec

NEIGHBOURS = 3
"""Trials of an earlier sweep whose mean place is its prediction for a configuration."""

LEAST_TAU = 0.2
"""Of 10 pairs of trials 6 are then ordered alike and 4 the other way."""

MOST_TRIALS = 200
"""Of an arm's trials in an earlier sweep so many are kept."""

POINTS_SHARE = 0.1
"""The share of an arm's trials that earlier sweeps' configurations take, at least one."""

Key = tuple[float, float, float]
Configuration = Mapping[str, Any]
"""Values by the study's names."""


@dataclass(frozen=True)
class PlacedTrial:
    """A trial of an earlier sweep.

    Attributes:
        place: above 0 and below 1 among the trials of its arm and sweep; the best has the lowest.
    """

    values: Configuration
    place: float


@dataclass(frozen=True)
class PriorArm:
    """What one earlier sweep knows of one arm.

    Attributes:
        trials: those that lie in this sweep's space, the best first.
        warm: how many TPE is given.
    """

    trials: tuple[PlacedTrial, ...]
    warm: int = 0

    @property
    def given(self) -> list[PlacedTrial]:
        """What TPE is given: evenly spread over the order, the best among them."""
        return spread(self.trials, self.warm)


@dataclass(frozen=True)
class PriorSweep:
    """An earlier sweep: its address in the sweep file, its permanent id, the arms of which it has
    trials in this sweep's space, and how many of its trials are not."""

    address: str
    id: str = ""
    arms: Mapping[str, PriorArm] = field(default_factory=dict)
    dropped: int = 0


@dataclass(frozen=True)
class PriorPoint:
    """A configuration that is tried first, its arm, and the earlier sweep that it comes from."""

    values: Configuration
    arm: str
    address: str


@dataclass(frozen=True)
class Prior:
    """Everything that a sweep takes from earlier ones, as its record keeps it."""

    sweeps: tuple[PriorSweep, ...] = ()
    points: tuple[PriorPoint, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values; `of_record` reads them back."""
        return asdict(self)

    def of_arm(self, arm: str) -> dict[str, PriorArm]:
        """The earlier sweeps that know an arm, by address."""
        return {sweep.address: sweep.arms[arm] for sweep in self.sweeps if arm in sweep.arms}


def of_record(kept: Mapping[str, Any]) -> Prior:
    """What a record keeps of earlier sweeps; nothing of a sweep without."""
    sweeps = [
        PriorSweep(
            sweep["address"],
            sweep["id"],
            {arm: _arm_of_record(own) for arm, own in sweep["arms"].items()},
            sweep["dropped"],
        )
        for sweep in kept.get("sweeps", ())
    ]
    return Prior(tuple(sweeps), tuple(PriorPoint(**point) for point in kept.get("points", ())))


def _arm_of_record(kept: Mapping[str, Any]) -> PriorArm:
    return PriorArm(tuple(PlacedTrial(**trial) for trial in kept["trials"]), kept["warm"])


def prior_from(sweeps: Sequence[PriorSweep], search: SearchSpec, space: Space) -> Prior:
    """What a sweep takes from earlier ones: how many trials TPE is given of each, and which
    configurations are tried first."""
    knowing = Counter(arm for sweep in sweeps for arm in sweep.arms)
    share = shares(search, space)
    weight = search.prior_weight if is_warmed(search, space) else 0.0
    warm = {arm: math.ceil(weight * share[arm] / count) for arm, count in knowing.items()}
    weighed = tuple(
        replace(
            sweep,
            arms={
                arm: replace(own, warm=min(warm[arm], len(own.trials)))
                for arm, own in sweep.arms.items()
            },
        )
        for sweep in sweeps
    )
    return Prior(weighed, tuple(_points(weighed, space, share)))


def _points(
    sweeps: Sequence[PriorSweep], space: Space, share: Mapping[str, int]
) -> Iterator[PriorPoint]:
    """Of each arm in turn the best configurations of the earlier sweeps, by place; those that are
    tried first anyway are none."""
    found = [list(_best(sweeps, arm, space, share[arm])) for arm in space.strategies]
    for index in range(max(map(len, found), default=0)):
        yield from (own[index] for own in found if index < len(own))


def _best(sweeps: Sequence[PriorSweep], arm: str, space: Space, share: int) -> Iterator[PriorPoint]:
    known = {configuration_of({v.scoped: v.published for v in space.searched[arm]})}
    most = min(math.ceil(POINTS_SHARE * share), share - 1)
    candidates = [(t, s.address) for s in sweeps if arm in s.arms for t in s.arms[arm].trials]
    for trial, address in sorted(candidates, key=lambda found: found[0].place):
        if len(known) > most:
            return
        if (own := configuration_of(trial.values)) not in known:
            known.add(own)
            yield PriorPoint(trial.values, arm, address)


def spread(trials: Sequence[PlacedTrial], count: int) -> list[PlacedTrial]:
    """At most so many of the trials, evenly spread over their order, the first among them."""
    if count >= len(trials):
        return list(trials)
    return [trials[index * len(trials) // count] for index in range(count)]


# --- places -----------------------------------------------------------------------------------


def placed(trials: Sequence[tuple[Configuration, Key]]) -> tuple[PlacedTrial, ...]:
    """An arm's trials by their place among all of them, the best first; of more than `MOST_TRIALS`
    evenly spread ones."""
    order = places([key for _, key in trials])
    found = [PlacedTrial(values, at) for (values, _), at in zip(trials, order, strict=True)]
    return tuple(spread(sorted(found, key=lambda trial: trial.place), MOST_TRIALS))


def places(keys: Sequence[Key]) -> list[float]:
    """The place of each key among all: the share below it and half of its equals."""
    ordered = sorted(keys)
    return [(bisect_left(ordered, k) + bisect_right(ordered, k)) / (2 * len(keys)) for k in keys]


def key_of(is_complete: bool, epochs: int, value: float) -> Key:
    """The order of trials: complete ones by value, then those that were pruned, later ones first;
    so Optuna's TPE has it."""
    return (0.0, 0.0, value) if is_complete else (1.0, -float(epochs), value)


def key_of_trial(trial: FrozenTrial) -> Key | None:
    """The same of a trial of a study; None of one that has not ended or has no value."""
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or trial.values is None:
        return None
    is_complete = trial.state == TrialState.COMPLETE
    return key_of(is_complete, trial.last_step or 0, trial.values[0])


# --- whether an earlier sweep is believed -------------------------------------------------------


def believed(arm: PriorArm, searched: Sequence[SearchedValue], own: Sequence[FrozenTrial]) -> bool:
    """Whether an earlier sweep's order of an arm's configurations is that of the sweep's own trials
    as far as these tell (docs/algorithms.md, D86).

    It is while Kendall's tau between what it predicts for the own trials and what was seen is at
    least `LEAST_TAU`.

    Args:
        own: the arm's; those that have not ended are left out.
    """
    seen = [(trial.params, key) for trial in own if (key := key_of_trial(trial)) is not None]
    if len(seen) < 2:
        return True
    predicted = prediction(arm, searched, [values for values, _ in seen])
    tau = kendalltau(predicted, places([key for _, key in seen])).statistic
    return not tau < LEAST_TAU  # not a number where nothing can be compared


def prediction(
    arm: PriorArm, searched: Sequence[SearchedValue], configurations: Sequence[Configuration]
) -> NDArray[np.float64]:
    """An earlier sweep's place for each configuration: the mean of its nearest trials'.

    Numbers lie in their range (0 to 1, on a logarithmic scale where it has one); options that
    differ are 1 apart.
    """
    known = _coordinates(searched, [trial.values for trial in arm.trials])
    asked = _coordinates(searched, configurations)
    distances = np.zeros((len(asked), len(known)))
    for index, value in enumerate(searched):
        apart = asked[:, None, index] - known[None, :, index]
        distances += apart != 0 if isinstance(value.distribution, Choice) else apart**2
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBOURS]
    found: NDArray[np.float64] = np.array([t.place for t in arm.trials])[nearest].mean(axis=1)
    return found


def _coordinates(
    searched: Sequence[SearchedValue], configurations: Sequence[Configuration]
) -> NDArray[np.float64]:
    """A row for each configuration."""
    rows = [
        [_coordinate(v.distribution, own[v.scoped]) for v in searched] for own in configurations
    ]
    return np.array(rows, dtype=float).reshape(len(configurations), len(searched))


def _coordinate(distribution: Distribution, value: Any) -> float:
    """Where a number lies in its range, 0 to 1; of an option its index."""
    if isinstance(distribution, Choice):
        return float(distribution.options.index(value))
    low, high = distribution.bounds
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))
