"""Checks of the ways in: the job API and its token, logins over ssh."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.common.text import and_more
from raysel.service.doctor.collect import CONNECT_SECONDS, SshReply
from raysel.service.doctor.finding import GENERATE, Finding, error, ok, warning
from raysel.service.doctor.machine import Machine
from raysel.service.endpoint import EndpointReply

OLDEST_PYTHON, FIRST_TOO_NEW = (3, 10), (3, 14)

_SAID = (
    # what ssh says -> what it means, what to do
    ("Permission denied", "refuses the key", "Put its public half into ~{user}/.ssh/authorized_"
     "keys there, or look at auth.ssh_user and auth.ssh_private_key"),
    ("Could not resolve", "has a name that is not known", "Look at provider.*_ip(s)"),
    ("timed out", f"does not answer within {CONNECT_SECONDS} s", "Look at the address and at the "
     "firewall; is it switched on?"),
    ("No route", "cannot be reached", "Look at the address and at the network"),
    ("refused", "has no sshd listening", "Start sshd there, or look at the port"),
    ("forwarding failed", "cannot be reached from the head", "Look at provider.worker_ips"),
    ("python3", "has no python3", "Install Python 3.10 to 3.13 there, with venv"),
)  # fmt: skip


def check_entrance(reply: EndpointReply, mode: str) -> list[Finding]:
    """Whether the job API is there, asks for a token, and takes ours.

    Args:
        mode: RAY_AUTH_MODE of this machine: Ray's own clients send the token with "token" only.
    """
    url = reply.url
    if reply.error:
        remedy = "Look at the address; through ssh: ssh -N -L 8265:127.0.0.1:8265 user@head"
        return [error("address", f"{url} {reply.error}", remedy)]
    if reply.without == 200 and reply.is_ray:
        words = f"{url} asks for no token: who reaches it runs code there"
        remedy = f"{GENERATE}, and start every node with RAY_AUTH_MODE=token"
        return [error("token", words, remedy)]
    if reply.without not in (401, 403):
        words = f"{url} answers, but not as Ray does ({reply.without})"
        return [error("address", words, "Look at the port: Ray's dashboard has 8265")]
    if reply.with_ours is None:
        words = f"{url} asks for a token, this machine has none"
        remedy = "Copy the head's ~/.ray/auth_token here (chmod 600), or set RAY_AUTH_TOKEN"
        return [error("token", words, remedy)]
    if reply.with_ours in (401, 403):
        words = f"{url} refuses this machine's token ({reply.with_ours})"
        return [error("token", words, "Copy the head's ~/.ray/auth_token here (chmod 600)")]
    if mode.lower() != "token":
        words = "Ray's own commands do not send it from this machine"
        return [warning("token", words, "export RAY_AUTH_MODE=token")]
    return [ok("token", f"{url} asks for it and takes ours")]


def check_token_modes(nodes: Sequence[Machine]) -> list[Finding]:
    """Whether the nodes' Ray was started to ask for a token."""
    off = [node for node in nodes if node.token.mode.lower() != "token"]
    if not off:
        return [ok("token", "on all nodes")]
    words = f"{off[0].name} runs without: who reaches its ports runs code there"
    return [error("token", words, f"{GENERATE}, and start every node with RAY_AUTH_MODE=token")]


def check_hosts(asked: Sequence[SshReply]) -> list[Finding]:
    """Whether every machine accepts the login and has a Python that raysel runs on."""
    found = [finding for one in asked for finding in _login(one)]
    return found or [ok("ssh", f"login accepted by {and_more([one.name for one in asked])}")]


def _login(one: SshReply) -> list[Finding]:
    if one.facts is None:
        for said, meaning, remedy in _SAID:
            if said in one.failure:
                words = f"{one.name} {meaning}"
                return [error("ssh", words, remedy.format(user=one.login.user))]
        said = one.failure.splitlines()[-1]
        return [error("ssh", f"{one.name}: {said}", "Try it by hand with ssh -v")]
    version = one.facts["versions"]["python"]
    numbers = tuple(map(int, version.split(".")[:2]))
    if OLDEST_PYTHON <= numbers < FIRST_TOO_NEW:
        return []
    remedy = "Install Python 3.10 to 3.13 there, with venv"
    return [error("python", f"{one.name} has Python {version}", remedy)]
