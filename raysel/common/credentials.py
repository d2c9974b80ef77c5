"""Credentials on their way to a cluster, sealed with the cluster's own token.

Ray writes a job's environment into its logs and returns it to every client that asks for the job.
So the environment has passwords only sealed, and each process of the job opens them for itself.
Whoever has the token could run any code on the cluster, and learns nothing new.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from raysel.common.errors import UserError, user_error
from raysel.common.output import say_error
from raysel.common.user_files import MIB, read_regular

VARIABLE = "RAYSEL_CREDENTIALS"
"""The environment variable that carries them."""

NAMES = (
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("MLFLOW_S3_ENDPOINT_URL", "PGPASSWORD", "HF_TOKEN"),
)
"""What a sweep may need of its submitter's environment, and where such keys are valid."""

_SALT_BYTES = 16


def found(environment: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """What of `NAMES` and `more` an environment has."""
    return {name: environment[name] for name in (*NAMES, *more) if environment.get(name)}


def cluster_token(environment: Mapping[str, str]) -> str | None:
    """The token of the cluster, from where Ray reads it; None if there is none.

    Raises:
        UserError: what is there cannot be a token.
    """
    if given := environment.get("RAY_AUTH_TOKEN"):
        return _one_line("RAY_AUTH_TOKEN", os.fsencode(given))
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    try:
        return _one_line(str(path), read_regular(path, MIB))
    except OSError:
        return None


def _one_line(place: str, content: bytes) -> str | None:
    """Refused here and without a word of it: HTTP's own libraries would show the header."""
    token = content.strip().decode("latin-1")
    if not (token.isascii() and token.isprintable()):
        raise user_error(place, "is not a token: one line of ASCII, as ray get-auth-token makes it")
    return token or None


def seal(values: Mapping[str, str], token: str) -> str:
    """The values as text that says nothing without the token."""
    from cryptography.fernet import Fernet  # noqa: PLC0415

    salt = secrets.token_bytes(_SALT_BYTES)
    sealed = Fernet(_key(token, salt)).encrypt(json.dumps(dict(values)).encode())
    return base64.urlsafe_b64encode(salt).decode() + sealed.decode()


def unseal(text: str, token: str) -> dict[str, str]:
    """What was sealed.

    Raises:
        ValueError: it was sealed with another token, or is damaged.
    """
    from cryptography.fernet import Fernet, InvalidToken  # noqa: PLC0415

    length = len(base64.urlsafe_b64encode(bytes(_SALT_BYTES)))
    try:
        salt = base64.urlsafe_b64decode(text[:length])
        opened = Fernet(_key(token, salt)).decrypt(text[length:])
    except (InvalidToken, ValueError):
        raise ValueError("they were sealed with another token") from None
    values: dict[str, str] = json.loads(opened)
    return values


def runtime_env(values: Mapping[str, str], token: str) -> dict[str, Any]:
    """Ray's runtime environment in which every worker has the values."""
    return {
        "env_vars": {VARIABLE: seal(values, token)},
        "worker_process_setup_hook": f"{open_sealed.__module__}.{open_sealed.__name__}",
    }


def open_sealed(environment: MutableMapping[str, str] | None = None) -> None:
    """Put what the environment has sealed into it in clear, for this process and its children.

    Where that cannot be done a line says so: what needs a password will say the rest.
    """
    environment = os.environ if environment is None else environment
    text = environment.get(VARIABLE)
    if not text:
        return
    try:
        token = cluster_token(environment)
        if token is None:
            raise ValueError("this node has no token (RAY_AUTH_TOKEN, ~/.ray/auth_token)")
        environment.update(unseal(text, token))
    except (ValueError, UserError) as error:
        say_error(f"note     the submitter's credentials cannot be read: {error}")


def _key(token: str, salt: bytes) -> bytes:
    """Slow on purpose, for a token that a person made up can be guessed."""
    key = hashlib.scrypt(token.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)
    return base64.urlsafe_b64encode(key)
