"""The trials of `search.sampler: greedy`: which set of layers is tried next, from the record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from raysel.record.state import COMPLETE, ENDED, TrialState
from raysel.search.greedy import Round, TriedSet, current_round
from raysel.search.searched_value import SearchedValue
from raysel.search.space import STRATEGY, Space
from raysel.search.trial_budget import shares
from raysel.spec.sweep import Spec
from raysel.sweep.ranking import rank


@dataclass(frozen=True)
class Addition:
    """A set of layers to try.

    Attributes:
        values: all that the trial's values are, under the study's names.
        to_beat: the error below which the set is taken; None in the first round.
    """

    values: dict[str, Any]
    to_beat: float | None


class GreedySearch:
    """Grows the set of each arm that has one to choose, each within its share of the trials.

    All additions of a round are tried, at the same time where there are workers; the next round
    begins when they have ended. Which one comes next is a function of the trials alone.

    Args:
        examples: of the validation part.
    """

    def __init__(self, spec: Spec, space: Space, examples: int) -> None:
        self._metric, self._examples = spec.objective.metric, examples
        self._space, self._shares = space, shares(spec.search, space)

    def next_addition(self, trials: Iterable[TrialState]) -> Addition | None:
        """Of the arms whose round has sets without a trial the one with the fewest trials, the
        first in the file among equals; None where every arm waits or is done.

        Args:
            trials: of the search.
        """
        own: dict[str, list[TrialState]] = {arm: [] for arm in self._space.growing}
        for trial in trials:
            if trial.strategy in own:
                own[trial.strategy].append(trial)
        rounds = {arm: self._round(value, own[arm]) for arm, value in self._space.growing.items()}
        begun = {arm: len(own[arm]) for arm, found in rounds.items() if found and found.sets}
        if not begun:
            return None
        arm = min(begun, key=begun.__getitem__)
        found, value = rounds[arm], self._space.growing[arm]
        assert found is not None
        choice = {STRATEGY: arm} if len(self._space.strategies) > 1 else {}
        return Addition(choice | value.set_in_study(found.sets[0]), found.to_beat)

    def _round(self, value: SearchedValue, own: Sequence[TrialState]) -> Round | None:
        ranked = sorted(own, key=lambda trial: rank(trial, self._metric))
        tried = [
            TriedSet(
                value.named(str(trial.searched[value.name])),
                trial.value if trial.status == COMPLETE else None,
                trial.status in ENDED,
            )
            for trial in ranked
        ]
        most = self._shares[value.strategy]
        return current_round(value.layers, tried, self._examples, most)
