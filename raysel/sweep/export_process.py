"""The process that exports a sweep's record: to MLflow, and to Optuna's database for dashboards.

    python -m raysel.sweep.export_process RECORD_URL … --folder=FOLDER

takes the arguments of `raysel.mlflow_sync.worker`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raysel.record.events import Record
from raysel.record.layout import SweepFolder

EXPORTER = "raysel.sweep.export_process"
"""The module to run."""


def study_view(record: Record, folder: Path) -> Callable[[], bool]:
    """Exports the search's study into the sweep's folder."""
    from raysel.search.study_database import StudyDatabase  # noqa: PLC0415

    return StudyDatabase(record, SweepFolder(folder).study).export


if __name__ == "__main__":
    from raysel.mlflow_sync.worker import run

    run(study_view)
