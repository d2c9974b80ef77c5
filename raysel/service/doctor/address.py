"""The job API at its address, asked without Ray's client: bounded, and with and without a token."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import requests

from raysel.common.credentials import cluster_token
from raysel.common.errors import user_error
from raysel.service.doctor.checks.token import Entrance
from raysel.service.endpoint import bearer, host_of

_SECONDS = 8


@dataclass(frozen=True)
class EndpointReply:
    """Reply of the address.

    Attributes:
        ahead: seconds that the head's clock is ahead of ours, and how far that may be off (HTTP
            has whole seconds); None where it did not say.
    """

    entrance: Entrance
    ahead: tuple[float, float] | None = None


def probe_endpoint(address: str) -> EndpointReply:
    """Request the version of a cluster's Ray, without and with this machine's token.

    Raises:
        UserError: the address is none of a job API.
    """
    address = checked(address)
    try:
        before = time.time()
        bare = _version(address, {})
        ahead = _ahead(bare, before, time.time())
        token = cluster_token(os.environ)
        ours = _version(address, bearer(token)) if token else None
    except requests.RequestException as error:
        return EndpointReply(Entrance(address, error=_words(error)))
    sent = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    status = None if ours is None else ours.status_code  # an answer of 403 is false by itself
    return EndpointReply(Entrance(address, "", bare.status_code, status, sent), ahead)


def checked(address: str) -> str:
    """The address of a job API, without its last slash.

    Raises:
        UserError: it is none.
    """
    parts = host_of(address)
    if parts is None or parts.scheme not in ("http", "https"):
        raise user_error("--address", f'"{address}" is no address; give http://HEAD:8265')
    if parts.password or parts.username:
        raise user_error("--address", "holds a secret; Ray's token is taken from ~/.ray/auth_token")
    return address.rstrip("/")


def _version(address: str, headers: dict[str, str]) -> requests.Response:
    return requests.get(
        f"{address}/api/version", headers=headers, timeout=_SECONDS, allow_redirects=False
    )


def _ahead(response: requests.Response, before: float, after: float) -> tuple[float, float] | None:
    try:
        theirs = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None
    return theirs + 0.5 - (before + after) / 2, 0.5 + (after - before) / 2


def _words(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "shows a certificate that is not trusted"
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return "cannot be found: the host is not known"
    if isinstance(error, requests.Timeout):
        return f"does not answer within {_SECONDS} s"
    return "does not answer"
