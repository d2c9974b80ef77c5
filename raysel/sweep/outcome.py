"""What one life of a sweep's driver leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysel.models.build import ModelConfig
from raysel.record.layout import SweepFolder
from raysel.tasks.data import Task


@dataclass(frozen=True)
class Outcome:
    """What a session leaves, for reports and hand-over.

    Attributes:
        results: the content of `results.json`.
        weights: the initial weights of every trial; None where it ended before they were there.
        cause: why it ended before it was complete.
        resume: the command that goes on with it.
        failed: it ended because its trials fail, one like the other.
        checkpoint: gives a confirm run's, wherever it lies; None where it has gone.
    """

    folder: SweepFolder
    results: dict[str, Any]
    task: Task
    model_config: ModelConfig
    weights: dict[str, Any] | None
    complete: bool
    cause: str | None
    resume: str
    failed: bool
    tracking_uri: str
    checkpoint: Callable[[str], dict[str, Any] | None]


Publish = Callable[[Outcome], Path | None]
"""Makes report and model from the outcome, before the sweep is called finished; the folder of the
best model, if there is one."""
