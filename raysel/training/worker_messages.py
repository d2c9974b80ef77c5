"""What a worker reports of its trial: an epoch, a failure, or an error of its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raysel.record.failure_kind import FailureKind

Files = Mapping[str, bytes]
"""Content by name of the trial's files that the driver does not see."""


@dataclass(frozen=True)
class EpochMessage:
    """An epoch that has ended; the last one of a trial that may be tested has the test metrics.

    Attributes:
        note: an incident in it, in words.
        halved_at_epoch: the epoch from which on the trial has half the batch, where it was halved.
    """

    epoch: int
    metrics: dict[str, float]
    note: str | None = None
    halved_at_epoch: int | None = None
    files: Files = field(default_factory=dict)

    @property
    def incident(self) -> dict[str, Any]:
        """The note, and the number that belongs to it; empty where nothing happened."""
        known = {"note": self.note, "halved_at_epoch": self.halved_at_epoch}
        return {name: value for name, value in known.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return {"epoch": self.epoch, "metrics": self.metrics, **self.incident}


@dataclass(frozen=True)
class FailureMessage:
    """The trial failed: a result and not an exception, because it would fail again in the same
    way."""

    epoch: int
    kind: FailureKind
    cause: str
    files: Files = field(default_factory=dict)


@dataclass(frozen=True)
class EnvironmentErrorMessage:
    """The worker's environment (a full disk, say) makes the whole sweep impossible."""

    cause: str
    files: Files = field(default_factory=dict)


WorkerMessage = EpochMessage | FailureMessage | EnvironmentErrorMessage
