"""Whoever shows a sweep to a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raysel.record.events import Event
from raysel.record.state import TrialState
from raysel.spec.sweep import Spec
from raysel.tasks.data_summary import DataSummary
from raysel.training.source_model import SourceModel


class ProgressReporter(Protocol):
    """Whoever shows the sweep to a person."""

    def began(self, spec: Spec, trials: int, strategies: int, concurrent: int) -> None:
        """What will be done."""
        ...

    def data(self, summary: DataSummary) -> None:
        """What was read, before pictures are decoded."""
        ...

    def decoding(self, done: int, total: int) -> None:
        """So many pictures of a part are decoded."""
        ...

    def note(self, text: str) -> None:
        """Something that a person should know of the data."""
        ...

    def source_training(self, done: int, total: int) -> None:
        """So many steps of the source model's training are done."""
        ...

    def source(self, model: SourceModel, spec: Spec, examples: int) -> None:
        """The source model is there."""
        ...

    def phase(self, name: str, total: int, ended: Sequence[TrialState]) -> None:
        """A phase of `total` trials begins, some of which ended in an earlier life."""
        ...

    def event(self, event: Event) -> None:
        """An event was committed."""
        ...

    def stopping(self, cause: str) -> None:
        """The sweep is to end in order."""
        ...

    def finish(self) -> None:
        """Nothing more will come: leave the terminal as it was."""
        ...

    def tracker(self, words: str) -> None:
        """MLflow is away, or back; called from another thread."""
        ...

    def storage(self, words: str) -> None:
        """The bucket is away, or back; called from another thread."""
        ...
