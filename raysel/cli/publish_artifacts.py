"""Write the artifacts of a finished sweep: the report and the best model."""

from __future__ import annotations

from dataclasses import replace

from raysel.common.tracking_uri import mlflow_hint
from raysel.export.best_model import save_best
from raysel.report.page import write_report
from raysel.sweep.outcome import Outcome


def publish_artifacts(outcome: Outcome) -> Outcome:
    """Write both; see `raysel.sweep.outcome.Publish`."""
    hint = mlflow_hint(outcome.tracking_uri)
    report = write_report(outcome.results, outcome.folder.path, hint)
    return replace(outcome, report=report, model=save_best(outcome))
