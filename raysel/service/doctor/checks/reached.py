"""Machines that `ray up` must reach by ssh."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.service.doctor.finding import Finding, error, ok
from raysel.service.doctor.machine import joined
from raysel.service.doctor.ssh import CONNECT_SECONDS, Asked

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


def check_hosts(asked: Sequence[Asked]) -> list[Finding]:
    """Whether every machine accepts the login and has a Python that raysel runs on."""
    found = [finding for one in asked for finding in _of(one)]
    return found or [ok("ssh", f"login accepted by {joined([one.name for one in asked])}")]


def _of(one: Asked) -> list[Finding]:
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
