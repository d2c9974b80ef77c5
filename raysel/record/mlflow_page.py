"""The page of MLflow that shows a sweep: who exports the sweep notes its experiment beside it."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from pathlib import Path

from raysel.common.errors import OperationalError
from raysel.common.locations import sqlite_file
from raysel.common.tracking_uri import experiment_page, mlflow_hint
from raysel.common.user_files import MIB, read_regular
from raysel.record.layout import write_json

FILE = "mlflow.json"
"""In a sweep's folder: MLflow's address (`uri`) and the id of the experiment there."""


def note_experiment(folder: Path, uri: str, experiment: str) -> None:
    """Write down in which experiment a sweep's runs are.

    Raises:
        OSError: the file cannot be written.
    """
    noted = {"uri": uri, "experiment_id": experiment}
    if _noted(folder) != noted:
        write_json(folder / FILE, noted)


def noted_page(folder: Path, uri: str, port: int = 5000) -> str | None:
    """The address of the page that shows the trials of a sweep, or of a suite; None where none is
    known yet, or in another MLflow than `uri`.

    Args:
        port: of a server on this machine, where MLflow has none of its own.
    """
    for place in (folder, *sorted(path.parent for path in folder.glob(f"*/{FILE}"))):
        noted = _noted(place)
        if noted.get("uri") == uri and (experiment := noted.get("experiment_id")):
            return experiment_page(uri, experiment, port)
    return None


def refuse_other_folder(folder: Path, uri: str) -> None:
    """Refuse a store that a sweep has used, whose file is named relative to a working folder that
    is not this one: MLflow would make another one here.

    Raises:
        OperationalError: it is not here.
    """
    file = sqlite_file(uri)
    if file is None or file.is_absolute() or file.exists() or _noted(folder).get("uri") != uri:
        return
    words = f"is looked for in the working folder, {Path.cwd()}, and is not there; give this"
    lost = f"command where the sweep ran, or, if it is lost there: touch {shlex.quote(str(file))}"
    raise OperationalError(uri, f"{words} {lost}")


def mlflow_lines(folder: Path, uri: str) -> list[str]:
    """How to see a sweep, or a suite, in MLflow: a command, an address, or one after the other."""
    page = noted_page(folder, uri)
    first = [] if page and uri.startswith("http") else [mlflow_hint(uri)]
    return [*first, *([page] if page else [])]


def _noted(folder: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        content = json.loads(read_regular(folder / FILE, MIB))
        if isinstance(content, dict):
            return {str(key): str(value) for key, value in content.items()}
    return {}
