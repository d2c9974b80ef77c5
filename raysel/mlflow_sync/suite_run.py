"""MLflow's run above the runs of a suite's cells.

Every cell is exported by a process of its own, and none of them owns this run: each finds or makes
it, hangs the cell's run below it, and gives it the state that follows from all cells. Doing so
twice changes nothing; where two make it at once, the one that was made first stays.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from raysel.common.locations import SUITE_FILE
from raysel.mlflow_sync.runs import PARENT, RunImage, milliseconds
from raysel.record.state import SweepState

SUITE_RUN = "raysel.suite_run"
"""Tag of the suite's own run: the suite's id, or its name where it has none."""

_DESCRIPTION = "mlflow.note.content"


@dataclass(frozen=True)
class SuiteOfCell:
    """The suite that a sweep is a cell of.

    Attributes:
        key: its id; its name where its file has none, or cannot be read.
        cells: how many it has; None where its file cannot be read.
    """

    name: str
    key: str
    cells: int | None = None
    description: str = ""


def suite_of(sweep: SweepState) -> SuiteOfCell | None:
    """The suite of a cell; None of a sweep of its own."""
    name = sweep.name.rpartition("/")[0]
    if not name:
        return None
    stored = _stored(Path(sweep.folder).parent / SUITE_FILE) if sweep.folder else {}
    cells = stored.get("cells")
    return SuiteOfCell(
        name=name,
        key=str(stored.get("id") or name),
        cells=len(cells) if isinstance(cells, list) else None,
        description=str(stored.get("description") or ""),
    )


def _stored(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def find_suite_run(client: MlflowClient, experiment_id: str, suite: SuiteOfCell) -> Run | None:
    """The suite's run: of several the one that was made first."""
    found = client.search_runs([experiment_id], f"tags.`{SUITE_RUN}` = '{suite.key}'")
    return min(found, key=lambda run: (run.info.start_time, run.info.run_id), default=None)


def ensure_suite_run(client: MlflowClient, experiment_id: str, suite: SuiteOfCell) -> str:
    """The id of the suite's run, which is made where there is none."""
    known = find_suite_run(client, experiment_id, suite)
    if known is None:
        made = client.create_run(
            experiment_id,
            start_time=milliseconds(time.time()),
            tags={SUITE_RUN: suite.key, _DESCRIPTION: suite.description},
            run_name=suite.name,
        )
        known = find_suite_run(client, experiment_id, suite) or made
        if known.info.run_id != made.info.run_id:  # another cell's process was first
            client.delete_run(made.info.run_id)
    return str(known.info.run_id)


class SuiteRun:
    """The suite's run as one cell's exporter sees it: looked up once, and its state worked out anew
    only where the cell's own has changed."""

    def __init__(self, client: MlflowClient, experiment_id: str, suite: SuiteOfCell) -> None:
        self._client, self._experiment, self._suite = client, experiment_id, suite
        self._cell: RunImage | None = None

    @cached_property
    def id(self) -> str:
        """The id of the run, which is made where there is none."""
        return ensure_suite_run(self._client, self._experiment, self._suite)

    def follow(self, cell: RunImage) -> None:
        """Give it the state that follows from all cells, of which this one was just sent."""
        last = self._cell
        if last is None or (last.status, last.ended) != (cell.status, cell.ended):
            update_suite_run(self._client, self._experiment, self.id, self._suite)
            self._cell = cell


def update_suite_run(
    client: MlflowClient, experiment_id: str, run_id: str, suite: SuiteOfCell
) -> None:
    """Give the suite's run the state that follows from the cells' runs: RUNNING while one is,
    FINISHED when all are, else KILLED."""
    below = f"tags.`{PARENT}` = '{run_id}'"
    cells = [run.info for run in client.search_runs([experiment_id], below, max_results=10_000)]
    states = {info.status for info in cells}
    info = client.get_run(run_id).info
    if "RUNNING" in states or not cells:
        if info.status != "RUNNING":
            client.update_run(run_id, status="RUNNING")
        return
    all_done = states == {"FINISHED"} and len(cells) >= (suite.cells or 0)
    status = "FINISHED" if all_done else "KILLED"
    ended = max(info.end_time or 0 for info in cells)
    if (info.status, info.end_time) != (status, ended):
        client.set_terminated(run_id, status, ended)
