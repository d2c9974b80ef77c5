"""Trials as the driver decides on them: assignments, their sources, phases and the request to stop.

Nothing here knows of Ray; `raysel.engine.tune` runs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from raysel.record.failure_kind import FailureKind
from raysel.spec.trial_config import TrialConfig
from raysel.training.source_run import SourceContext
from raysel.training.trial_worker import PhaseContext

Message = TypeVar("Message", contravariant=True)


@dataclass(frozen=True)
class Assignment:
    """A trial to run: its id in the record, its configuration, and how many of its epochs the
    record has."""

    trial: str
    config: TrialConfig
    reported_epochs: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As a worker takes it."""
        config = self.config.model_dump(mode="json")
        return {"trial": self.trial, "config": config, "reported_epochs": self.reported_epochs}


@dataclass(frozen=True)
class RangeAssignment:
    """A range test to run: a name among the trials, the configuration whose learning rates are
    tested, and its steps at most."""

    trial: str
    config: TrialConfig
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """As a worker takes it."""
        config = self.config.model_dump(mode="json")
        return {"trial": self.trial, "config": config, "range_steps": self.steps}


@dataclass(frozen=True)
class SourceAssignment:
    """A source model to train: a name among the trials, and its number."""

    trial: str
    index: int

    def to_dict(self) -> dict[str, Any]:
        """As a worker takes it."""
        return {"trial": self.trial, "source_model": self.index}


AnyAssignment = Assignment | RangeAssignment | SourceAssignment
"""What a worker may be given."""


class TrialSource(Protocol[Message]):
    """Decides which trials run, and takes their messages: an `EpochMessage` for each epoch, or
    those of a source model's training. A call that changes the record is written to the event log
    before it returns."""

    def next_trial(self) -> AnyAssignment | None:
        """The next trial to run, None when there is none left."""
        ...

    def epoch(self, trial: str, message: Message) -> bool:
        """Take a message; return whether the trial is to stop."""
        ...

    def failed(self, trial: str, kind: FailureKind, cause: str) -> None:
        """The trial failed for good."""
        ...


@dataclass(frozen=True)
class Phase:
    """Trials that share a context: those of the search, or of a round of the confirm phase; or the
    trainings of source models and the range tests before them.

    Attributes:
        size: how many trials it has at most.
        last: no phase follows, so workers without a trial end at once.
        next_size: how many trials are known to follow: so many workers start while this one's run.
    """

    source: TrialSource[Any]
    context: PhaseContext | SourceContext
    size: int
    last: bool = False
    next_size: int = 0


@dataclass(frozen=True)
class Wait:
    """In the place of a phase: the lane waits for another one, until `is_over`."""

    is_over: Callable[[], bool]


@dataclass(frozen=True)
class Lane:
    """The phases of one sweep, run one after the other, beside the lanes of other sweeps.

    Attributes:
        phases: asked for the next one when the trials of the one before have ended.
        events: receives the trials' files and the losses of workers.
        stop: ends this lane; of a sweep alone it ends the run.
        name: of the lane among others; empty of a sweep alone.
        ended: called once, when its trials have ended or it was stopped.
    """

    phases: Iterator[Phase | Wait]
    events: WorkerEvents
    stop: StopRequest
    name: str = ""
    ended: Callable[[], None] = lambda: None


class WorkerEnvironmentError(Exception):
    """Raised when a worker's environment (such as a full disk) makes the whole sweep impossible."""


class WorkerEvents(Protocol):
    """Receives worker events that do not affect scheduling."""

    def receive(self, trial: str, name: str, content: bytes) -> None:
        """Keep a file of a trial that ran where the driver does not see its folder."""
        ...

    def worker_lost(self, trial: str) -> None:
        """The trial's worker or node was lost; the trial goes on elsewhere."""
        ...


class StopRequest:
    """A request to stop the engine: asked once, in order; asked twice, at once.

    Args:
        above: the request to stop a suite, which stops each of its cells.

    Nothing more is written after an `error`.
    """

    def __init__(self, above: StopRequest | None = None) -> None:
        self._above = above
        self._orderly = threading.Event()
        self._at_once = threading.Event()
        self._cause = ""
        self._error: Exception | None = None

    @property
    def cause(self) -> str:
        """Why, in words."""
        return self._cause or (self._above.cause if self._above else "")

    @property
    def error(self) -> Exception | None:
        """A failure of the driver itself."""
        return self._error or (self._above.error if self._above else None)

    def ask(self, cause: str) -> None:
        """Running trials end their epoch; asked again, nothing is waited for."""
        self._cause = self._cause or cause
        (self._at_once if self._orderly.is_set() else self._orderly).set()

    def fail(self, error: Exception) -> None:
        """Stop at once: the event log cannot be written."""
        self._error = self._error or error
        self._cause = self._cause or str(error)
        self._orderly.set()
        self._at_once.set()

    @property
    def asked(self) -> bool:
        """Whether no more trial and no more epoch is to begin."""
        return self._orderly.is_set() or (self._above is not None and self._above.asked)

    @property
    def at_once(self) -> bool:
        """Whether running epochs are given up too."""
        return self._at_once.is_set() or (self._above is not None and self._above.at_once)
