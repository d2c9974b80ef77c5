"""The address of a cluster, and whether it accepts our token."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
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
        raise user_error("--address", "is no address; give http://HOST:8265")
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


class _NoDetour(urllib.request.HTTPRedirectHandler):
    """Do not follow redirects: the token is for this address only."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


_OPENER = urllib.request.build_opener(_NoDetour)


def probe_auth(url: str, environment: Mapping[str, str]) -> ClusterEndpoint:
    """Request the cluster's version, first without a token, so that an open one gets none.

    Raises:
        OperationalError: it does not answer, is no Ray, or does not take the token; in one line.
        UserError: what should be the token cannot be one.
    """
    if (refused := _refusal(url, {})) is None:
        return ClusterEndpoint(url, None)
    token = cluster_token(environment)
    if token is None:
        raise OperationalError(
            url, f"{refused}, it asks for a token: set {_WHERE} to the cluster's"
        )
    if (refused := _refusal(url, bearer(token))) is not None:
        raise OperationalError(
            url, f"{refused}, it does not take this token: set {_WHERE} to the cluster's"
        )
    return ClusterEndpoint(url, token)


def _refusal(url: str, headers: dict[str, str]) -> int | None:
    """401 or 403 if the cluster requires another token, None if it accepts the request."""
    request = urllib.request.Request(f"{url}/api/version", headers=headers)
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            reply = json.loads(response.read())
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return error.code
        raise OperationalError(url, f"answers {error.code}; is it a Ray dashboard?") from None
    except OSError as error:
        raise OperationalError(url, f"does not answer: {getattr(error, 'reason', error)}") from None
    except (http.client.HTTPException, ValueError):
        reply = None  # ssh, Ray's own port, a page for people
    if not isinstance(reply, dict) or "ray_version" not in reply:
        raise OperationalError(url, "is not a Ray dashboard; Ray's default port is 8265")
    return None


def bearer(token: str) -> dict[str, str]:
    """The header with the token."""
    return {"Authorization": f"Bearer {token}"}
