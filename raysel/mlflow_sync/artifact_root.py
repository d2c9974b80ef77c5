"""Artifact locations: where MLflow looks for a sweep's files, and where they are now.

In a store without a server MLflow keeps an absolute path with every experiment and every run,
and its API cannot change it. After the storage was moved MLflow would find none
of the files, and would write new ones below the old path.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy.engine import make_url

from raysel.common.locations import sqlite_file

SERVERS = ("http://", "https://", "databricks")
"""Prefixes of artifact URIs for which a server decides where files are stored."""

_EXPERIMENTS = sa.table("experiments", sa.column("experiment_id"), sa.column("artifact_location"))
_RUNS = sa.table("runs", sa.column("experiment_id"), sa.column("artifact_uri"))


def as_uri(root: str) -> str | None:
    """The URI of a folder for artifacts; None if MLflow is to decide."""
    if not root:
        return None
    return root if "://" in root else Path(root).absolute().as_uri()


def is_moved(uri: str, location: str, root: str) -> bool:
    """Whether an experiment's files are in `root` and no longer where MLflow looks.

    A store that lies beside `root` has moved with it. With another one, an address that leads to
    no folder any more is an old one.

    Args:
        uri: MLflow's tracking URI.
        location: the experiment's `artifact_location`.
        root: the folder of the storage for MLflow's files, or a URI.
    """
    wanted = as_uri(root)
    if uri.startswith(SERVERS) or wanted is None or not wanted.startswith("file:"):
        return False
    if not location.startswith("file:") or location.rstrip("/") == wanted.rstrip("/"):
        return False
    file = sqlite_file(uri)
    beside = file is not None and file.absolute().parent == Path(root).absolute().parent
    return beside or not Path(local_file_uri_to_path(location)).parent.is_dir()


def move(uri: str, experiment_id: str, location: str, root: str) -> None:
    """Replace `location` by `root` in the artifact URIs of an experiment and its runs.

    Raises:
        sqlalchemy.exc.DBAPIError: the store does not answer.
    """
    wanted = as_uri(root)
    assert wanted is not None
    old = location.rstrip("/")
    runs = _RUNS.c
    below = sa.func.substr(runs.artifact_uri, 1, len(old) + 1) == f"{old}/"
    moved = sa.literal(wanted) + sa.func.substr(runs.artifact_uri, len(old) + 1)
    engine = sa.create_engine(make_url(uri), poolclass=sa.NullPool)
    number = int(experiment_id)
    with engine.begin() as connection:
        connection.execute(
            sa.update(_EXPERIMENTS)
            .where(_EXPERIMENTS.c.experiment_id == number)
            .values(artifact_location=wanted)
        )
        connection.execute(
            sa.update(_RUNS).where(runs.experiment_id == number, below).values(artifact_uri=moved)
        )
