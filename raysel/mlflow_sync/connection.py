"""MLflow's client for an address, and a sweep's runs by it.

A store in a SQLite file has its path read twice: MLflow makes the folder of the path as it stands
in the address, SQLAlchemy opens the file without the escapes. Where the two differ (`?`, `%20`),
the file is reached through a path that has nothing to escape.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from sqlalchemy.engine import make_url

from raysel.common.locations import is_read_alike, mlflow_uri, sqlite_file
from raysel.mlflow_sync.runs import SWEEP_ID, TRIAL_ID
from raysel.record.events import SWEEP


def client(uri: str) -> MlflowClient:
    """The client of a tracking URI; a SQLite file's folder must be there."""
    return MlflowClient(readable_uri(uri))


def runs_of(client: MlflowClient, experiment_id: str, sweep_id: str) -> dict[str, list[Run]]:
    """A sweep's runs by their trials, `SWEEP` for its own; of each the first one made comes
    first."""
    runs: dict[str, list[Run]] = {}
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id],
            f"tags.`{SWEEP_ID}` = '{sweep_id}'",
            order_by=["attributes.start_time ASC"],
            max_results=1000,
            page_token=token,
        )
        for run in page:
            runs.setdefault(run.data.tags.get(TRIAL_ID, SWEEP), []).append(run)
        token = page.token
        if not token:
            return runs


def readable_uri(uri: str) -> str:
    """An address of the same store that MLflow and SQLAlchemy read alike, in this process."""
    file = sqlite_file(uri)
    if file is None:
        return uri
    plain = file.absolute()
    if not is_read_alike(plain):
        plain = _open_folder(plain.parent) / plain.name
    query = make_url(uri).query
    return mlflow_uri(plain) + ("?" + uri.partition("?")[2] if query else "")


@cache
def _open_folder(folder: Path) -> Path:
    """A path of the folder through this process's table of open files; the folder itself where
    the system has none."""
    opened = Path(f"/proc/self/fd/{os.open(folder, os.O_RDONLY | os.O_DIRECTORY)}")
    return opened if opened.is_dir() else folder
