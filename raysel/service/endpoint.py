"""The address of a cluster, and whether it accepts our token."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

from raysel.common.credentials import cluster_token
from raysel.common.errors import OperationalError, user_error
from raysel.common.urls import secret_in

TIMEOUT_SECONDS = 10.0

_WHERE = "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"


@dataclass(frozen=True)
class ClusterEndpoint:
    """A cluster's Jobs API that answers.

    Attributes:
        url: `http://127.0.0.1:8265`.
        token: Ray's token; None if the cluster asks for none.
    """

    url: str
    token: str | None

    @property
    def requires_token(self) -> bool:
        """Whether the cluster asks for a token. Without one, everyone can run code on it."""
        return self.token is not None

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a request."""
        return bearer(self.token) if self.token else {}


def address_of(given: str | None, environment: Mapping[str, str]) -> str:
    """The given address, else the one in the environment.

    Raises:
        UserError: nothing is named, or something else than the dashboard.
    """
    named = given or environment.get("RAY_API_SERVER_ADDRESS")
    if not named and environment.get("RAY_ADDRESS", "").startswith("http"):
        named = environment["RAY_ADDRESS"]
    if not named:
        raise user_error(
            "--address",
            "is missing: give the cluster's dashboard, http://127.0.0.1:8265, "
            "or set RAY_API_SERVER_ADDRESS",
        )
    url = named if "://" in named else f"http://{named}"
    if secret := secret_in(url):
        raise user_error("--address", f"holds {secret}; the token is enough")
    if not url.startswith(("http://", "https://")):
        raise user_error(
            "--address", f'"{named}" is not the dashboard; give http://HOST:8265 (Ray Jobs API)'
        )
    parts = host_of(url)
    if parts is None:
        raise user_error("--address", "is not an address; give http://HOST:8265")
    if parts.username is not None:
        raise user_error("--address", "holds a user or a password; the token is enough")
    return url.rstrip("/")


def host_of(url: str) -> SplitResult | None:
    """The parts of an address that names a host; None of another one. An invalid port is an error
    only when it is read."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


@dataclass(frozen=True)
class EndpointReply:
    """How a job API answers at its address, without a token and with this machine's.

    Attributes:
        without: HTTP status where no token is shown; 0 where there was no answer.
        with_ours: status with this machine's token; None where it has none, or none was asked for.
        token: this machine's.
        is_ray: whether the request that was accepted was answered by a Ray dashboard.
        error: why there was no answer; empty if there was one.
        ahead: seconds that the head's clock is ahead of ours, and how far that may be off (HTTP
            has whole seconds); None where it did not say.
    """

    url: str
    without: int = 0
    with_ours: int | None = None
    token: str | None = field(default=None, repr=False)
    is_ray: bool = False
    error: str = ""
    ahead: tuple[float, float] | None = None

    def accepted(self) -> ClusterEndpoint:
        """The endpoint that takes our requests.

        Raises:
            OperationalError: it does not answer, is no Ray, or does not take the token; in one
                line.
        """
        status = self.without if self.with_ours is None else self.with_ours
        if self.error:
            raise OperationalError(self.url, self.error)
        if status in (401, 403):
            why = "it asks for a token" if self.with_ours is None else "it does not take this token"
            raise OperationalError(self.url, f"{status}, {why}: set {_WHERE} to the cluster's")
        if status != 200:
            raise OperationalError(self.url, f"answers {status}; is it a Ray dashboard?")
        if not self.is_ray:
            raise OperationalError(self.url, "is not a Ray dashboard; Ray's default port is 8265")
        return ClusterEndpoint(self.url, None if self.with_ours is None else self.token)


def probe_auth(url: str, environment: Mapping[str, str]) -> EndpointReply:
    """Request the cluster's version, first without a token, so that an open one gets none.

    Raises:
        UserError: what should be the token cannot be one.
    """
    before = time.time()
    try:
        status, is_ray, date = _version(url, {})
        ahead = _ahead(date, before, time.time())
        if status not in (401, 403) or (token := cluster_token(environment)) is None:
            return EndpointReply(url, status, is_ray=is_ray, ahead=ahead)
        with_ours, is_ray, _ = _version(url, bearer(token))
    except OSError as error:
        return EndpointReply(url, error=_why_silent(getattr(error, "reason", error)))
    return EndpointReply(url, status, with_ours, token, is_ray, ahead=ahead)


class _NoDetour(urllib.request.HTTPRedirectHandler):
    """Do not follow redirects: the token is for this address only."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


_OPENER = urllib.request.build_opener(_NoDetour)


def _version(url: str, headers: dict[str, str]) -> tuple[int, bool, str]:
    """The status, whether the answer is that of a Ray dashboard, and the server's date."""
    request = urllib.request.Request(f"{url}/api/version", headers=headers)
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            date = str(response.headers.get("Date", ""))
            reply = json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, False, str(error.headers.get("Date", ""))
    except (http.client.HTTPException, ValueError):
        return 200, False, ""  # ssh, Ray's own port, a page for people
    return 200, isinstance(reply, dict) and "ray_version" in reply, date


def _why_silent(error: object) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "shows a certificate that is not trusted"
    if isinstance(error, socket.gaierror):
        return "cannot be found: the host is not known"
    if isinstance(error, TimeoutError):
        return f"does not answer within {TIMEOUT_SECONDS:g} s"
    return f"does not answer: {error}"


def _ahead(date: str, before: float, after: float) -> tuple[float, float] | None:
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    return theirs + 0.5 - (before + after) / 2, 0.5 + (after - before) / 2


def bearer(token: str) -> dict[str, str]:
    """The header with the token."""
    return {"Authorization": f"Bearer {token}"}
