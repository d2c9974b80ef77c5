"""MLflow's address, as a sweep file may name it: one that MLflow knows, and without a secret.

The address stands in the sweep's folder, in MLflow's own tags and in the arguments of the
writer's process, which everybody on the machine can read.
"""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from raysel.common.locations import is_read_alike, sqlite_file
from raysel.common.paths import path_problem
from raysel.common.urls import REFUSED, port_problem, secret_in

_SERVERS = ("http", "https")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_WAYS = "give sqlite:///PATH, or a server's http://HOST:PORT"


def validate_tracking_uri(uri: str) -> str:
    """The address itself.

    Raises:
        PydanticCustomError: it holds a secret, or is none that MLflow takes.
    """
    try:
        parts = urlsplit(uri)
        scheme, secret = parts.scheme.partition("+")[0], secret_in(uri)
    except ValueError:
        raise PydanticCustomError(REFUSED, f"is not an address; {_WAYS}") from None
    if scheme in _SERVERS and (secret or parts.username):
        raise PydanticCustomError(
            REFUSED,
            "holds a user or a password; put them into the variables "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    if secret:
        raise PydanticCustomError(
            REFUSED, f"holds {secret}; put it into PGPASSWORD or ~/.pgpass, or use a server"
        )
    if scheme in (*_SERVERS, *_DATABASES) and (wrong := port_problem(uri)):
        raise PydanticCustomError(REFUSED, f"{wrong}; {_WAYS}")
    if scheme == "sqlite" and _is_in_memory(uri):
        message = "is a database in memory, which is gone with the process; give sqlite:///PATH"
        raise PydanticCustomError(REFUSED, message)
    if scheme == "sqlite" and (wrong := path_problem(uri.partition("///")[2].partition("?")[0])):
        raise PydanticCustomError(REFUSED, f"the path of its file {wrong}")
    if uri.startswith("databricks") or scheme in (*_SERVERS, *_DATABASES):
        return uri
    if scheme in ("", "file"):
        raise PydanticCustomError(
            REFUSED, f'"{uri}" is a folder, in which MLflow keeps no record any more; {_WAYS}'
        )
    raise PydanticCustomError(REFUSED, f"MLflow knows no {scheme}://…; {_WAYS}")


def _is_in_memory(uri: str) -> bool:
    """Whether SQLAlchemy takes an address of SQLite for a database without a file."""
    file = uri.partition("//")[2].partition("/")[2]
    return not file.partition("?")[0] or ":memory:" in file or "mode=memory" in file


def mlflow_hint(uri: str) -> str:
    """How to see a sweep in MLflow: the server's address, or the command that opens its file."""
    if uri.startswith("http"):
        return uri
    file = sqlite_file(uri)
    if file is None or is_read_alike(file):
        return shlex.join(["mlflow", "ui", "--backend-store-uri", uri])
    # MLflow would make a folder by the escaped name
    there = shlex.join(["mlflow", "ui", "--backend-store-uri", f"sqlite:///{file.name}"])
    return f"cd {shlex.quote(str(file.parent))} && {there}"


TRIALS_VIEW = "raysel-trials"
"""The saved view that a sweep is opened with (`raysel.mlflow_sync.saved_views`)."""


def experiment_page(uri: str, experiment: str, port: int = 5000) -> str | None:
    """The address at which MLflow shows an experiment's trials, as the list of training runs;
    None for a hosted MLflow, whose pages lie elsewhere.

    Args:
        uri: MLflow's tracking URI.
        experiment: the experiment's id.
        port: of the server that `mlflow ui` starts, where `uri` is a database.
    """
    if uri.startswith("databricks"):
        return None
    server = uri.rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{port}"
    view = f"viewStateShareKey={TRIALS_VIEW}&workflowType=machine_learning"
    return f"{server}/#/experiments/{experiment}/runs?{view}"
