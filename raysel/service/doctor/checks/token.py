"""Ray's token: without one, everyone with network access can run code (CVE-2023-48022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raysel.service.doctor.finding import Finding, error, ok, warning
from raysel.service.doctor.machine import Machine, Token

GENERATE = "ray get-auth-token --generate, then chmod 600 ~/.ray/auth_token"


@dataclass(frozen=True)
class Entrance:
    """How the job API answers at its address.

    Attributes:
        error: why it could not be reached; empty if it could.
        without: HTTP status where no token is shown.
        with_ours: status with this machine's token; None where it has none.
        sent: whether Ray's own clients here would show the token (RAY_AUTH_MODE=token).
    """

    address: str
    error: str = ""
    without: int = 0
    with_ours: int | None = None
    sent: bool = False


def check_entrance(entrance: Entrance) -> list[Finding]:
    """Whether the job API is there, asks for a token, and takes ours."""
    if entrance.error:
        remedy = "Look at the address; through ssh: ssh -N -L 8265:127.0.0.1:8265 user@head"
        return [error("address", f"{entrance.address} {entrance.error}", remedy)]
    if entrance.without == 200:
        words = f"{entrance.address} asks for no token: who reaches it runs code there"
        remedy = f"{GENERATE}, and start every node with RAY_AUTH_MODE=token"
        return [error("token", words, remedy)]
    if entrance.without not in (401, 403):
        words = f"{entrance.address} answers, but not as Ray does ({entrance.without})"
        return [error("address", words, "Look at the port: Ray's dashboard has 8265")]
    if entrance.with_ours is None:
        words = f"{entrance.address} asks for a token, this machine has none"
        remedy = "Copy the head's ~/.ray/auth_token here (chmod 600), or set RAY_AUTH_TOKEN"
        return [error("token", words, remedy)]
    if entrance.with_ours in (401, 403):
        words = f"{entrance.address} refuses this machine's token ({entrance.with_ours})"
        return [error("token", words, "Copy the head's ~/.ray/auth_token here (chmod 600)")]
    if not entrance.sent:
        words = "Ray's own commands do not send it from this machine"
        return [warning("token", words, "export RAY_AUTH_MODE=token")]
    return [ok("token", f"{entrance.address} asks for it and takes ours")]


def check_token_files(machines: Sequence[Machine]) -> list[Finding]:
    """Whether a token file can be read by others on its machine (Ray writes it so)."""
    open_ones = [m for m in machines if _readable_by_others(m.token)]
    return [
        warning(
            "token",
            f"{m.token.path} on {m.name} can be read by others ({m.token.permissions or 0:04o})",
            f"chmod 600 {m.token.path}",
        )
        for m in open_ones
    ]


def check_token_modes(nodes: Sequence[Machine]) -> list[Finding]:
    """Whether the nodes' Ray was started to ask for a token."""
    off = [node for node in nodes if node.token.mode.lower() != "token"]
    if not off:
        return [ok("token", "on all nodes")]
    words = f"{off[0].name} runs without: who reaches its ports runs code there"
    return [error("token", words, f"{GENERATE}, and start every node with RAY_AUTH_MODE=token")]


def _readable_by_others(token: Token) -> bool:
    if token.in_environment:  # Ray does not look at the file then
        return False
    return token.permissions is not None and bool(token.permissions & 0o077)
