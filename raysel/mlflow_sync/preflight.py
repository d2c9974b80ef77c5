"""Whether MLflow can be reached and written to, as the writer would: one run, made and deleted.

`python -m raysel.mlflow_sync.preflight URI EXPERIMENT` prints the result as a line of JSON; in a
process of its own, because MLflow's import is slow and its client lacks some timeouts.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from raysel.common.credentials import open_sealed
from raysel.common.locations import sqlite_file
from raysel.common.user_files import why_not_made
from raysel.mlflow_sync.error_messages import explain
from raysel.mlflow_sync.process import environment
from raysel.mlflow_sync.store import check_store, lost_store, readable_uri

EXPERIMENT = "raysel-doctor"
"""Where the run is made; it is deleted again."""


@dataclass(frozen=True)
class Health:
    """Result of the check of MLflow.

    Attributes:
        error: why it accepts no runs, its address first; empty if it does.
        words: a description of the store if all is well.
        version: the server's, empty where there is none.
    """

    error: str = ""
    words: str = ""
    version: str = ""


def examine(uri: str, experiment: str) -> Health:
    """Connect, check the tables' version, write a run with a metric and a file.

    Args:
        experiment: the sweep's, for words about permissions.
    """
    if new := _new_file(uri):
        return new
    tries = _Tries(uri)
    try:
        check_store(uri)
        tries.write()
    except Exception as error:
        return Health(error=explain(error, uri, experiment, tries.of_files).words)
    kind = f"MLflow {tries.version}" if tries.version else "its tables are of this MLflow"
    return Health(words=f"{uri} takes runs ({kind})", version=tries.version)


class _Tries:
    """One run with a metric, and with a file where a server takes it; deleted in the end.

    Attributes:
        of_files: whether files are tried now.
        version: the server's; empty where there is none between us and the database.
    """

    def __init__(self, uri: str) -> None:
        self._uri, self._is_server = uri, uri.startswith(("http://", "https://"))
        self.of_files, self.version = False, ""

    def write(self) -> None:
        """Raises whatever goes wrong."""
        client = MlflowClient(readable_uri(self._uri))
        run = client.create_run(self._experiment(client), run_name="a run to try").info.run_id
        try:
            client.log_metric(run, "tried", 1.0)
            if self._is_server:
                self.of_files = True
                client.log_text(run, "tried", "tried.txt")
                self.version = _server_version(self._uri)
        finally:
            client.delete_run(run)

    def _experiment(self, client: MlflowClient) -> str:
        if found := client.get_experiment_by_name(EXPERIMENT):
            return str(found.experiment_id)
        # without a server no file is written, and no folder is to be made where we stand
        files = None if self._is_server else f"mlflow-artifacts:/{EXPERIMENT}"
        return str(client.create_experiment(EXPERIMENT, artifact_location=files))


def _server_version(uri: str) -> str:
    """What a server says of itself, to whoever may come in; empty where it does not."""
    try:
        host = get_default_host_creds(uri)
        response = http_request(host, "/version", "GET", timeout=10, max_retries=0)
    except MlflowException:
        return ""
    return str(response.text).strip()[:40] if response.ok else ""


def _new_file(uri: str) -> Health | None:
    """A SQLite file that will be made, if there is none yet, or an empty one."""
    path, lost = sqlite_file(uri), lost_store(uri)
    if path is None or lost is None:
        return None
    if why := why_not_made(path.parent):
        return Health(error=f"{uri} cannot be made: {why}; give another tracking.uri")
    emptied = path.exists()
    will = f"{lost}: it will be made anew" if emptied else "will be made"
    return Health(words=f"{path} {will} by MLflow {mlflow.__version__}")


def main() -> None:
    """Print the result on standard output."""
    open_sealed()
    os.environ.update(environment(os.environ))
    print(json.dumps(asdict(examine(*sys.argv[1:3]))), flush=True)


if __name__ == "__main__":
    main()
