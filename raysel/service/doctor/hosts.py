"""A cluster file of `ray up`: its keys, the files that it names, the machines that it names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from raysel.common.errors import user_error
from raysel.common.user_files import read_regular
from raysel.service.doctor import ssh
from raysel.service.doctor.checks.clock import check_clocks
from raysel.service.doctor.checks.cluster_file import (
    check_autoscaler,
    check_grammar,
    check_kinds,
    check_security,
)
from raysel.service.doctor.checks.cluster_paths import check_paths
from raysel.service.doctor.checks.disks import check_disks
from raysel.service.doctor.checks.reached import check_hosts
from raysel.service.doctor.finding import Finding
from raysel.service.doctor.machine import PACKAGES, Machine, machine
from raysel.spec.reader import MOST_BYTES


def cluster_file(path: Path) -> Mapping[str, Any] | None:
    """The content of a cluster file of `ray up`; None where the file is something else.

    Raises:
        UserError: it belongs to Kubernetes.
    """
    try:
        text = read_regular(path, MOST_BYTES).decode("utf-8")
        content = next(iter(yaml.safe_load_all(text)), None)
    except (OSError, ValueError, RecursionError, yaml.YAMLError, LookupError, TypeError):
        return None  # the reader of sweep files reports what is wrong
    if not isinstance(content, Mapping):
        return None
    if "apiVersion" in content:
        message = "is for Kubernetes: kubectl apply it, then raysel doctor --address URL"
        raise user_error(str(path), message)
    provider = content.get("provider")
    if "cluster_name" not in content and not isinstance(provider, Mapping):
        return None
    return {**content, "provider": provider if isinstance(provider, Mapping) else {}}


def examine_file(config: Mapping[str, Any]) -> list[Finding]:
    """The file itself; of a local cluster its machines, over ssh."""
    if found := check_kinds(config):
        return found
    found = check_grammar(config) + check_security(config) + check_paths(config)
    found += check_autoscaler(config, os.environ)
    if config["provider"].get("type") != "local":
        return found
    asked = ask_hosts(config)
    found += check_hosts(asked)
    machines = [machine(one.name, one.facts, {"clock": one.ahead}) for one in asked if one.facts]
    return found + (_of(machines) if machines else [])


def _of(machines: list[Machine]) -> list[Finding]:
    return check_disks(machines) + check_clocks(machines)


def ask_hosts(config: Mapping[str, Any]) -> list[ssh.Asked]:
    """The head, and by way of it its workers, as Ray reaches them."""
    provider, auth = config["provider"], config.get("auth") or {}
    user, key = str(auth.get("ssh_user", "root")), str(auth.get("ssh_private_key") or "")
    address = str(provider.get("external_head_ip") or provider.get("head_ip"))
    head = ssh.Login(address, user, key, str(auth.get("ssh_proxy_command") or ""))
    asked = [ssh.ask(f"head {head.host}", head, list(PACKAGES))]
    if asked[0].facts is None:
        return asked  # a worker is asked by way of it
    for host in provider.get("worker_ips") or []:
        login = ssh.Login(str(host), user, key).through(head)
        asked.append(ssh.ask(f"worker {host}", login, list(PACKAGES)))
    return asked
