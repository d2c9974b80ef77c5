"""The pruner's verdict, asked so that it can be asked again.

Optuna's successive halving notes in the trial which rungs it has reached while it is asked,
and lets a trial pass at a rung that stands noted. A driver that died between the verdict and
its event would thus let a hopeless trial live. Here the notes are held back until the verdict
has been recorded.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from optuna import Study
from optuna.trial import Trial


@dataclass
class Verdict:
    """Whether a trial is to end, and what the pruner wants noted in it."""

    prune: bool
    trial: Trial
    notes: dict[str, Any] = field(default_factory=dict)

    def note(self) -> None:
        """Write the notes into the study: the verdict stands in the record."""
        for name, value in self.notes.items():
            self.trial.study._storage.set_trial_system_attr(self.trial._trial_id, name, value)


def ask(trial: Trial) -> Verdict:
    """What the study's pruner says of a trial after its last report; nothing is written."""
    storage = _NotesHeldBack(trial.study._storage)
    study: Study = copy.copy(trial.study)
    study._storage = storage  # type: ignore[assignment]  # it stands in for the real one
    prune = study.pruner.prune(study, storage.get_trial(trial._trial_id))
    return Verdict(prune, trial, storage.notes)


class _NotesHeldBack:
    """A storage that keeps what a pruner notes of its trial to itself."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.notes: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.notes[key] = value
