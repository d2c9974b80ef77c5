"""Create a new MLflow store in a SQLite file atomically.

MLflow makes its tables by some fifty migrations, in seconds. A process that ends in between (a
full disk, a sweep that is over, SIGKILL) would leave a file that every MLflow takes for an older
version's.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from raysel.common.locations import mlflow_uri, sqlite_file
from raysel.mlflow_sync.connection import readable_uri
from raysel.mlflow_sync.store_schema import lost_store
from raysel.record.database import make_private


def ensure_store(uri: str) -> None:
    """Create the SQLite file of a tracking URI if it is missing or empty; leave other stores
    alone."""
    file = sqlite_file(uri)
    if file is None or not lost_store(uri):
        return
    file = file.resolve()  # of a link, the file that it leads to
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(file.parent):
        if not lost_store(uri):  # another sweep's process has made it
            return
        partial = file.with_name(f".{file.name}.partial")
        partial.unlink(missing_ok=True)  # of one that did not come to its end
        make_private(partial)
        # MLflow's own experiment "Default" would lie below the working folder, whose name it
        # writes into its SQL as it stands
        root = (file.parent.absolute() / "mlruns").as_uri()
        SqlAlchemyStore(readable_uri(mlflow_uri(partial)), root).engine.dispose()
        partial.replace(file)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time; the lock goes with its process and leaves no file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
