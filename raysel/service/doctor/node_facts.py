"""Facts of a cluster: through its job API, or joined by this process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from raysel.common.errors import OperationalError
from raysel.common.text import first_line
from raysel.engine.capacity import Node
from raysel.service.doctor import cluster_facts
from raysel.service.doctor.address import probe_endpoint
from raysel.service.doctor.checks.clock import check_clocks
from raysel.service.doctor.checks.disks import check_disks, check_shared_memory
from raysel.service.doctor.checks.gpus import check_gpus
from raysel.service.doctor.checks.node_checks import check_nodes
from raysel.service.doctor.checks.record_checks import check_record
from raysel.service.doctor.checks.resources import check_resources
from raysel.service.doctor.checks.storage_checks import check_relative, check_storage
from raysel.service.doctor.checks.token import (
    check_entrance,
    check_token_files,
    check_token_modes,
)
from raysel.service.doctor.checks.tracking_server import check_tracker
from raysel.service.doctor.checks.versions import check_versions
from raysel.service.doctor.finding import Finding, any_error, error
from raysel.service.doctor.here import this_machine
from raysel.service.doctor.machine import PACKAGES, Machine, machine
from raysel.service.storage import lasting
from raysel.spec.sweep import Spec

SECONDS = 30.0
"""Timeout of one call to all nodes, in seconds."""


def check_endpoint(address: str, spec: Spec | None) -> list[Finding]:
    """A cluster behind its job API.

    Raises:
        UserError: the address is none.
    """
    reply = probe_endpoint(address)
    found = check_entrance(reply.entrance)
    if reply.entrance.error or (any_error(found) and reply.entrance.without != 200):
        return found
    try:
        requires_token = reply.entrance.without != 200
        collected = cluster_facts.by_job(
            reply.entrance.address, requires_token, _of_a_job(question(spec))
        )
    except OperationalError as failure:
        return [*found, error("job", str(failure), "Look at the job's log: ray job logs")]
    if reply.ahead is not None:
        found += check_clocks([Machine("the head", {}, ahead=reply.ahead)])
    return found + evaluate(collected, this_machine(None), spec)


def check_cluster(spec: Spec | None) -> list[Finding]:
    """The cluster that RAY_ADDRESS names, to which this machine belongs."""
    from raysel.engine.connect import connected  # noqa: PLC0415

    address = os.environ["RAY_ADDRESS"]
    try:
        with connected():
            collected = cluster_facts.here(question(spec))
    except OperationalError as refused:
        words, _, remedy = str(refused).partition("; ")
        return [error("address", words, remedy[:1].upper() + remedy[1:])]
    except (ConnectionError, RuntimeError, ValueError) as lost:
        words = f"{address} was lost ({first_line(lost)})"
        return [error("address", words, "Ask again; does Ray run there still?")]
    return check_token_modes(machines_of(collected)) + evaluate(collected, None, spec)


def question(spec: Spec | None) -> dict[str, Any]:
    """The question to the nodes for a sweep."""
    asked: dict[str, Any] = {"packages": list(PACKAGES), "seconds": SECONDS}
    if spec is not None:
        asked["storage"] = spec.storage
        if spec.database_url is not None:
            asked["record"] = [spec.database_url, spec.name]
        if spec.tracking.uri:
            asked["tracker"] = [spec.tracking.uri, spec.tracking.experiment or spec.name]
    return asked


def _of_a_job(asked: dict[str, Any]) -> dict[str, Any]:
    """A relative storage is where a job's would be: below the home folder on the head."""
    storage = asked.get("storage")
    if storage is None or lasting(storage):
        return asked
    return asked | {"storage": f"~/raysel/{storage}"}


def machines_of(collected: Mapping[str, Any]) -> list[Machine]:
    """The nodes that answered, the head first."""
    nodes = sorted(collected["nodes"], key=lambda node: (not node["head"], node["name"]))
    return [machine(n["name"], n["facts"], n) for n in nodes if n["facts"] is not None]


def evaluate(
    collected: Mapping[str, Any], client: Machine | None, spec: Spec | None
) -> list[Finding]:
    """Evaluate the facts of the nodes.

    Args:
        collected: the result of `probe.cluster`.
        client: this machine, where it is none of the nodes.
    """
    found = check_nodes(collected["nodes"], SECONDS)
    machines = machines_of(collected)
    if not machines:
        return found
    found += check_versions(machines, client) + check_disks(machines)
    found += check_shared_memory(machines) + check_gpus(machines) + check_clocks(machines)
    found += check_token_files([*machines, *([client] if client else [])])
    return found + (_for_sweep(collected, machines, spec) if spec else [])


def _for_sweep(collected: Mapping[str, Any], machines: list[Machine], spec: Spec) -> list[Finding]:
    there = [
        Node("head" if node["head"] else "worker", node["resources"], node["labels"])
        for node in collected["nodes"]
        if node["alive"]
    ]
    found = check_resources(there, spec.resources, collected["grows"])
    found += check_relative(spec.storage, len(machines))
    found += check_storage(collected["storage"], machines)
    found += check_record(spec.database_url, collected["record"])
    if spec.tracking.uri:
        version = machines[0].versions.get("mlflow", "")
        found += check_tracker(spec.tracking.uri, collected["tracker"], version)
    return found
