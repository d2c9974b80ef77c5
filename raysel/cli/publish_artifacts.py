"""Write the artifacts of a finished sweep: the report and the best model."""

from __future__ import annotations

from pathlib import Path

from raysel.common.tracking_uri import mlflow_hint
from raysel.export.best_model import save_best
from raysel.report.page import write_report
from raysel.sweep.outcome import Outcome


class PublishArtifacts:
    """Writes the report and the best model, and keeps their paths.

    Attributes:
        report: path of the report page.
        model: the folder of the best model; None where nothing was confirmed.
    """

    report: Path
    model: Path | None = None

    def __call__(self, outcome: Outcome) -> Path | None:
        """Called once, before the sweep is said to be finished."""
        hint = mlflow_hint(outcome.tracking_uri)
        self.report = write_report(outcome.results, outcome.folder.path, hint)
        self.model = save_best(outcome)
        return self.model
