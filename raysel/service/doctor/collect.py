"""Collect facts: by a job of a cluster, by the Ray that this process is connected to, or over ssh.

Everywhere `raysel.engine.node_probe` runs, and its code is sent along.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysel.common import credentials
from raysel.common.errors import OperationalError
from raysel.engine import node_probe
from raysel.service.bundle import package_folder
from raysel.service.doctor.machine import PACKAGES
from raysel.service.endpoint import ClusterEndpoint

_JOB_SECONDS = 180.0
"""From a job's submission to its end."""


def by_job(endpoint: ClusterEndpoint, question: dict[str, Any]) -> dict[str, Any]:
    """Run the probe as a job of the cluster and return its facts.

    Raises:
        OperationalError: the job did not end in time, or without an answer.
    """
    from raysel.service.jobs import Cluster  # noqa: PLC0415

    cluster = Cluster(endpoint)
    job = f"raysel-doctor-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="raysel-") as folder:
        shutil.copy(node_probe.__file__, folder)
        argument = shlex.quote(json.dumps(question | {"cluster": True}))
        command = f"exec python {Path(node_probe.__file__).name} {argument}"
        cluster.submit(
            job, command, _environment(folder, endpoint.token), {"name": "raysel doctor"}
        )
    ended = cluster.wait(job, _JOB_SECONDS)
    if ended.live:
        cluster.stop(job)
        raise OperationalError(
            endpoint.url, f"doctor's own job {job} did not end in {_JOB_SECONDS:g} s"
        )
    log = cluster.log(job)
    facts: dict[str, Any] | None = parse_facts(log)
    if facts is None:
        last = (log.strip().splitlines() or [ended.message or "its log is empty"])[-1]
        see = f"its log: ray job logs --address {endpoint.url} {job}"
        raise OperationalError(endpoint.url, f"doctor's own job {job} failed ({last[:200]}); {see}")
    cluster.delete(job)
    return facts


def _environment(folder: str, token: str | None) -> dict[str, Any]:
    """The job's environment: raysel, which checks MLflow, and the sweep's credentials."""
    environment: dict[str, Any] = {"working_dir": folder, "py_modules": [str(package_folder())]}
    known = credentials.found(os.environ)
    if known and token:
        environment |= credentials.runtime_env(known, token)
    return environment


def by_tasks(question: dict[str, Any]) -> dict[str, Any]:
    """The same by tasks of the Ray that this process is connected to."""
    from ray import cloudpickle  # noqa: PLC0415

    # a node that lacks raysel must be able to say so
    cloudpickle.register_pickle_by_value(node_probe)
    try:
        return node_probe.cluster(question)
    finally:
        cloudpickle.unregister_pickle_by_value(node_probe)


def parse_facts(text: str) -> Any:
    """The probe's line of JSON in a job's output; None if there is none."""
    lines = [line for line in text.splitlines() if line.startswith(node_probe.MARK)]
    try:
        return json.loads(lines[-1][len(node_probe.MARK) :]) if lines else None
    except ValueError:
        return None


# --- over ssh, as `ray up` connects ---------------------------------------------------------------

CONNECT_SECONDS = 8
_SSH_SECONDS = 60


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
class SshReply:
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


def ask(name: str, login: Login, packages: list[str]) -> SshReply:
    """Run the probe there; never longer than a minute."""
    question = shlex.quote(json.dumps({"packages": packages, "places": ["/tmp"]}))
    # a login shell, as Ray's own commands run in
    remote = f"bash --login -c {shlex.quote(f'python3 - {question}')}"
    before = time.time()
    try:
        ran = subprocess.run(
            login.command(remote),
            input=Path(node_probe.__file__).read_text(encoding="utf-8"),
            capture_output=True,
            text=True,
            timeout=_SSH_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return SshReply(name, login, None, failure=f"no answer within {_SSH_SECONDS} s")
    except FileNotFoundError:
        return SshReply(name, login, None, failure="there is no ssh on this machine")
    facts = parse_facts(ran.stdout)
    if facts is None:
        failure = ran.stderr.strip() or f"exit {ran.returncode}"
        return SshReply(name, login, None, failure=failure)
    half = (time.time() - before) / 2
    return SshReply(name, login, facts, (facts["clock"] - before - half, half))


def ask_hosts(config: Mapping[str, Any]) -> list[SshReply]:
    """The head, and by way of it its workers, as Ray reaches them."""
    provider, auth = config["provider"], config.get("auth") or {}
    user, key = str(auth.get("ssh_user", "root")), str(auth.get("ssh_private_key") or "")
    address = str(provider.get("external_head_ip") or provider.get("head_ip"))
    head = Login(address, user, key, str(auth.get("ssh_proxy_command") or ""))
    asked = [ask(f"head {head.host}", head, list(PACKAGES))]
    if asked[0].facts is None:
        return asked  # a worker is asked by way of it
    for host in provider.get("worker_ips") or []:
        login = Login(str(host), user, key).through(head)
        asked.append(ask(f"worker {host}", login, list(PACKAGES)))
    return asked
