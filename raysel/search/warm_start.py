"""TPE that is given trials of earlier sweeps beside the sweep's own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from raysel.record.state import NOTED, WARM
from raysel.search.allocation import arm_of_trial
from raysel.search.prior import (
    Configuration,
    PlacedTrial,
    Prior,
    believed,
    key_of_trial,
    places,
)
from raysel.search.space import STRATEGY, Space
from raysel.search.study_view import seen_as


class WarmStarted(BaseSampler):
    """A sampler that sees the study with trials of the earlier sweeps that are believed.

    In what it sees, a trial's value is its place among the trials of its arm, and of its sweep: the
    values themselves are not comparable. Earlier trials come before all others, so that Optuna's
    weights, which fall with age, fall for them first. Where no earlier sweep is believed it sees
    the study as it is.
    """

    def __init__(self, sampler: BaseSampler, prior: Prior, space: Space) -> None:
        self._sampler, self._prior, self._space = sampler, prior, space
        self._seen: Study | None = None
        self._addresses: list[str] = []

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """That of the sampler."""
        return self._sampler.infer_relative_search_space(self._with_prior(study, trial), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """That of the sampler."""
        return self._sampler.sample_relative(self._noting(study, trial), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """That of the sampler."""
        seen = self._noting(study, trial)
        return self._sampler.sample_independent(seen, trial, param_name, param_distribution)

    def _with_prior(self, study: Study, trial: FrozenTrial) -> Study:
        """What the sampler sees: as it was at the first question about this trial."""
        if self._seen is None:
            trials = study.get_trials(deepcopy=False)
            by_arm = _by_arm(self._space, trials)
            used = [
                (sweep.address, arm, own.given)
                for sweep in self._prior.sweeps
                for arm, own in sweep.arms.items()
                if own.warm and believed(own, self._space.searched[arm], by_arm[arm])
            ]
            wanted = _arm_of(self._space, trial)
            self._addresses = [address for address, arm, _ in used if arm == wanted]
            earlier = [t for _, arm, given in used for t in _earlier(self._space, arm, given)]
            for index, one in enumerate(earlier):
                one.number = index - len(earlier)
            placed = {number: t for own in by_arm.values() for number, t in _placed(own).items()}
            rest = [placed.get(t.number, t) for t in trials]
            self._seen = seen_as(study, lambda _: [*earlier, *rest]) if used else study
        return self._seen

    def _noting(self, study: Study, trial: FrozenTrial) -> Study:
        """What the sampler sees; the trial keeps of which earlier sweeps it comes."""
        seen = self._with_prior(study, trial)
        if self._addresses:
            note = {"as": WARM, "sweeps": self._addresses}
            study._storage.set_trial_system_attr(trial._trial_id, NOTED, note)
        return seen


def _arm_of(space: Space, trial: FrozenTrial) -> str | None:
    return arm_of_trial(trial) if len(space.strategies) > 1 else space.strategies[0]


def _by_arm(space: Space, trials: Sequence[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    found: dict[str, list[FrozenTrial]] = {arm: [] for arm in space.strategies}
    for trial in trials:
        if (arm := _arm_of(space, trial)) is not None:
            found[arm].append(trial)
    return found


def _placed(own: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """An arm's trials that have a value, by number, each with its place for its value."""
    keys = [(trial, key) for trial in own if (key := key_of_trial(trial)) is not None]
    placed = {}
    for (trial, _), place in zip(keys, places([key for _, key in keys]), strict=True):
        placed[trial.number] = copy.copy(trial)
        placed[trial.number].state, placed[trial.number].values = TrialState.COMPLETE, [place]
    return placed


def _earlier(space: Space, arm: str, given: Sequence[PlacedTrial]) -> list[FrozenTrial]:
    """Earlier trials as the study's, with their places among those that are given."""
    distributions: dict[str, BaseDistribution] = {}
    found = []
    for trial, place in zip(given, places([(0.0, 0.0, t.place) for t in given]), strict=True):
        values = in_study(space, arm, trial.values)
        distributions = distributions or _distributions(space, values)
        found.append(
            create_trial(
                state=TrialState.COMPLETE,
                value=place,
                params=values,
                distributions=distributions,
            )
        )
    return found


def in_study(space: Space, arm: str, values: Configuration) -> dict[str, Any]:
    """A configuration with the choice of its arm, where there are several."""
    return ({STRATEGY: arm} if len(space.strategies) > 1 else {}) | dict(values)


def _distributions(space: Space, values: Configuration) -> dict[str, BaseDistribution]:
    trial = FixedTrial(dict(values))
    space.suggest(trial)
    return dict(trial.distributions)
