"""Translate failures of MLflow into one line with a remedy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from urllib3.exceptions import NameResolutionError

from raysel.common.disk_errors import of_a_file
from raysel.common.errors import OperationalError
from raysel.common.text import first_line
from raysel.mlflow_sync.store import WAY_ON, UnusableStore


@dataclass(frozen=True)
class Reason:
    """Why a call failed.

    Attributes:
        words: one line, MLflow's address first; without a secret.
        lasting: it will not go away by itself: the user has to act.
        files_only: MLflow answers, but its artifact store failed.
    """

    words: str
    lasting: bool = False
    files_only: bool = False


def explain(error: BaseException, uri: str, experiment: str, of_files: bool = False) -> Reason:
    """Explain why a call failed.

    Args:
        error: what the call raised.
        uri: MLflow's tracking URI.
        experiment: the experiment's name.
        of_files: whether the call was to store a file.
    """
    chain = list(_chain(error))
    if words := _lasting(chain, uri, experiment):
        return Reason(f"{uri} {words}", lasting=True)
    if any(_of(error, NameResolutionError) for error in chain):
        host = urlsplit(uri).hostname
        return Reason(f'{uri} cannot be found: the host "{host}" is not known', lasting=True)
    if of_files and not any(isinstance(e, _SILENCE) for e in chain):
        return Reason(f"{uri} takes no files now ({first_line(error)})", files_only=True)
    if status := _status(chain):
        return Reason(f"{uri} answers with an error ({status})")
    for cause in chain:
        if isinstance(cause, DBAPIError):
            return Reason(f"{uri} does not answer ({first_line(cause.orig or cause)})")
    for cause in chain:
        if isinstance(cause, OSError) and cause.filename is not None:  # a file here, no server
            return Reason(of_a_file(cause) or f"{cause.filename}: {first_line(cause)}")
    return Reason(f"{uri} does not answer")


@contextmanager
def mlflow_errors(uri: str, experiment: str) -> Iterator[None]:
    """Translate failures of MLflow into one-line errors.

    Raises:
        OperationalError: in the place of what its client raises.
    """
    try:
        yield
    except (MlflowException, UnusableStore, OSError, DBAPIError, ImportError) as error:
        reason = explain(error, uri, experiment)
        raise OperationalError(uri, reason.words.removeprefix(f"{uri} ")) from error


_SILENCE = (requests.exceptions.ConnectionError, requests.exceptions.Timeout, DBAPIError)


_DAMAGED = ("malformed", "not a database")  # in SQLite's messages


def _lasting(chain: list[BaseException], uri: str, experiment: str) -> str | None:
    """What the user has to fix, as words that follow MLflow's address."""
    for error in chain:
        if isinstance(error, UnusableStore):
            return str(error)
        if isinstance(error, ModuleNotFoundError | NoSuchModuleError):
            return f"needs a driver that is not installed ({first_line(error)})"
        if isinstance(error, DBAPIError) and any(one in str(error.orig) for one in _DAMAGED):
            return f"is damaged ({first_line(error.orig or error)}); {WAY_ON}"
        if isinstance(error, requests.exceptions.SSLError):
            return (
                "shows a certificate that is not trusted; "
                "name the right one in MLFLOW_TRACKING_SERVER_CERT_PATH"
            )
    status = _status(chain)
    if status == 401:
        return _unauthorised()
    if status == 403:
        return _forbidden(" ".join(map(str, chain)), uri, experiment)
    if status in (404, 405):
        return f"answers, but not as MLflow does ({status}); look at tracking.uri"
    return None


def _unauthorised() -> str:
    if os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return "refuses the token (401); look at MLFLOW_TRACKING_TOKEN"
    if os.environ.get("MLFLOW_TRACKING_USERNAME") and os.environ.get("MLFLOW_TRACKING_PASSWORD"):
        return (
            "refuses this user or password (401); "
            "look at MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return (
        "wants a user and a password (401); "
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )


def _forbidden(answer: str, uri: str, experiment: str) -> str:
    if "Invalid Host header" in answer:
        place = urlsplit(uri).netloc
        return f"is not to be called by this name (403); start it with --allowed-hosts {place}"
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    who = f"the user {user}" if user else "this user"
    return f'does not let {who} write into the experiment "{experiment}" (403)'


def _status(chain: list[BaseException]) -> int | None:
    """The HTTP status, which MLflow's client has in its message only."""
    for error in chain:
        response = getattr(error, "response", None)
        if response is not None and getattr(response, "status_code", None):
            return int(response.status_code)
        if found := re.search(r"(?:error code|too many) (\d{3})\b", str(error)):
            return int(found[1])
        if isinstance(error, MlflowException) and error.error_code in _CODES:
            return _CODES[error.error_code]
    return None


_CODES = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _of(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether requests wrapped an error of urllib3's `kind`."""
    inner = error.args[0] if error.args else None
    return isinstance(getattr(inner, "reason", inner), kind)
