"""The process that exports a sweep's record: to MLflow, and to Optuna's database for dashboards.

    python -m raysel.sweep.exporter RECORD_URL … --folder=FOLDER

takes the arguments of `raysel.tracking.writer`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raysel.sweep.folder import SweepFolder
from raysel.tracking.record import Record

EXPORTER = "raysel.sweep.exporter"
"""The module to run."""


def study_view(record: Record, folder: Path) -> Callable[[], bool]:
    """Exports the search's study into the sweep's folder."""
    from raysel.sweep.study_database import StudyDatabase  # noqa: PLC0415

    return StudyDatabase(record, SweepFolder(folder).study).export


if __name__ == "__main__":
    from raysel.tracking.writer import run

    run(study_view)
