"""The outcome of one driver attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysel.record.layout import SweepFolder
from raysel.sweep.inputs import SweepInputs
from raysel.sweep.results import SweepResults


@dataclass(frozen=True)
class Outcome:
    """The outcome of a session, for reports and for publishing.

    Attributes:
        inputs: what the trials worked on; without weights where it ended before they were there.
        cause: why it ended before it was complete.
        resume: the command that resumes it.
        failed: it ended because its trials failed alike.
        checkpoint: loads a confirm run's checkpoint from wherever it is; None if it is gone.
        report: the page, once it is written.
        model: the folder of the best model; None where nothing was confirmed.
        changed: how the verdict differs from the one over the same runs that `results.json` had;
            empty where it does not.
    """

    folder: SweepFolder
    results: SweepResults
    inputs: SweepInputs
    complete: bool
    cause: str | None
    resume: str
    failed: bool
    tracking_uri: str
    checkpoint: Callable[[str], dict[str, Any] | None]
    report: Path | None = None
    model: Path | None = None
    changed: str = ""


Publish = Callable[[Outcome], Outcome]
"""Makes report and model from the outcome, before the sweep is called finished, and says where they
lie."""
