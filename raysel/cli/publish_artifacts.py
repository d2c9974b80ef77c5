"""Write the artifacts of a finished sweep: the report and the best model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from raysel.export.best_model import save_best
from raysel.record.mlflow_page import mlflow_lines
from raysel.report.page import write_report
from raysel.report.suite_page import write_suite_report
from raysel.sweep.outcome import Outcome


def publish_suite(storage: str, name: str) -> Path:
    """Write the page of a suite; see `raysel.sweep.start_suite.PublishSuite`."""
    return write_suite_report(storage, name)


def publish_artifacts(outcome: Outcome) -> Outcome:
    """Write both; see `raysel.sweep.outcome.Publish`."""
    folder = outcome.folder.path
    report = write_report(outcome.results, folder, mlflow_lines(folder, outcome.tracking_uri))
    return replace(outcome, report=report, model=save_best(outcome))
