"""Run the probe over ssh, as `ray up` connects: its code is sent on standard input."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysel.service.doctor import probe
from raysel.service.doctor.cluster_facts import parse_facts

CONNECT_SECONDS = 8
_SECONDS = 60


@dataclass(frozen=True)
class Login:
    """How to log in to a machine.

    Attributes:
        proxy: an ssh ProxyCommand; empty where the machine is reached directly.
    """

    host: str
    user: str
    key: str = ""
    proxy: str = ""

    def command(self, remote: str) -> list[str]:
        """The ssh command that runs `remote` there; no question is asked, nothing is kept."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_SECONDS),
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "INFO",
            "IdentitiesOnly": "yes",
        }
        if not self.key:
            del options["IdentitiesOnly"]
        if self.proxy:
            options["ProxyCommand"] = self.proxy
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        identity = ["-i", str(Path(self.key).expanduser())] if self.key else []
        return ["ssh", *flags, *identity, f"{self.user}@{self.host}", remote]

    def through(self, other: Login) -> Login:
        """The same machine reached by way of another, as the head reaches its workers."""
        words = [word.replace("%", "%%") for word in other.command("")[:-2]]
        proxy = shlex.join([*words, "-W", "%h:%p", f"{other.user}@{other.host}"])
        return Login(self.host, self.user, self.key, proxy)


@dataclass(frozen=True)
class Asked:
    """Result of the probe over ssh.

    Attributes:
        facts: what the probe reported; None if it did not run.
        ahead: seconds that its clock is ahead of ours, and how far that may be off.
        failure: ssh's error output if it did not run.
    """

    name: str
    login: Login
    facts: Mapping[str, Any] | None
    ahead: tuple[float, float] | None = None
    failure: str = ""


def ask(name: str, login: Login, packages: list[str]) -> Asked:
    """Run the probe there; never longer than a minute."""
    question = shlex.quote(json.dumps({"packages": packages, "places": ["/tmp"]}))
    # a login shell, as Ray's own commands run in
    remote = f"bash --login -c {shlex.quote(f'python3 - {question}')}"
    before = time.time()
    try:
        ran = subprocess.run(
            login.command(remote),
            input=Path(probe.__file__).read_text(encoding="utf-8"),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Asked(name, login, None, failure=f"no answer within {_SECONDS} s")
    except FileNotFoundError:
        return Asked(name, login, None, failure="there is no ssh on this machine")
    facts = parse_facts(ran.stdout)
    if facts is None:
        failure = ran.stderr.strip() or f"exit {ran.returncode}"
        return Asked(name, login, None, failure=failure)
    half = (time.time() - before) / 2
    return Asked(name, login, facts, (facts["clock"] - before - half, half))
