"""An Optuna study as samplers and pruners are to see it: with other trials than it has."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Sequence
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

Listed = Callable[[int], Sequence[FrozenTrial]]
"""The trials that are seen, by the study's number in its storage; asked each time."""


def seen_as(study: Study, listed: Listed) -> Study:
    """The study as if it had these trials; what is written goes to the study itself."""
    seen = copy.copy(study)
    seen._storage = _Storage(study._storage, listed)  # type: ignore[assignment]
    seen._thread_local = type(study._thread_local)()  # where it remembers all trials
    return seen


class _Storage:
    """A storage that lists other trials than it has."""

    def __init__(self, storage: Any, listed: Listed) -> None:
        self._storage, self._listed = storage, listed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._listed(study_id)
        found = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found
