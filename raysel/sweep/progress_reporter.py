"""The interface of progress reporters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raysel.record.events import Event
from raysel.record.state import TrialState
from raysel.spec.sweep import Spec
from raysel.tasks.data_summary import DataSummary
from raysel.training.source_model import SourceModel


class ProgressReporter(Protocol):
    """Shows the progress of a sweep to the user."""

    def began(self, spec: Spec, trials: int, strategies: int, concurrent: int) -> None:
        """What will be done."""
        ...

    def data(self, summary: DataSummary) -> None:
        """What was read, before pictures are decoded."""
        ...

    def decoding(self, done: int, total: int) -> None:
        """Progress of decoding a part's pictures."""
        ...

    def note(self, text: str) -> None:
        """A note about the data."""
        ...

    def source_training(self, done: int, total: int) -> None:
        """Progress of training the source model."""
        ...

    def source(self, model: SourceModel, spec: Spec, examples: int) -> None:
        """The source model is there."""
        ...

    def phase(self, name: str, total: int, ended: Sequence[TrialState]) -> None:
        """A phase of `total` trials begins, some of which ended in an earlier attempt."""
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
