"""What `raysel doctor` looks at: this machine, a cluster, a cluster file, each for one sweep."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from raysel.common.errors import OperationalError, user_error
from raysel.common.text import first_line
from raysel.common.user_files import read_regular
from raysel.engine import node_probe
from raysel.engine.capacity import Node
from raysel.engine.ray_processes import orphans
from raysel.mlflow_sync.process import environment
from raysel.record.layout import tracking_uri
from raysel.record.postgres_preflight import preflight
from raysel.service.doctor import collect
from raysel.service.doctor.access_checks import check_entrance, check_hosts, check_token_modes
from raysel.service.doctor.cluster_file import (
    check_autoscaler,
    check_grammar,
    check_kinds,
    check_paths,
    check_security,
)
from raysel.service.doctor.finding import Finding, any_error, capital, error, warning
from raysel.service.doctor.machine import PACKAGES, Machine, machine
from raysel.service.doctor.machine_checks import (
    check_clocks,
    check_disks,
    check_gpus,
    check_nodes,
    check_shared_memory,
    check_token_files,
    check_torchvision,
    check_versions,
)
from raysel.service.doctor.sweep_checks import (
    check_record,
    check_relative,
    check_resources,
    check_storage,
    check_tracker,
)
from raysel.service.endpoint import address_of, probe_auth
from raysel.service.storage import lasting
from raysel.spec.reader import MOST_BYTES
from raysel.spec.sweep import Spec

NAME = "this machine"

SECONDS = 30.0
"""Timeout of one call to all nodes, and of MLflow, in seconds."""


# --- this machine ----------------------------------------------------------------------------


def check_local(spec: Spec | None) -> list[Finding]:
    """Packages, disks, GPUs, token file; with a sweep file its storage, record and MLflow."""
    from raysel.common.torchvision_compat import compiled_part_loads  # noqa: PLC0415

    mine = this_machine(spec)
    found = check_versions([mine], None) + check_disks([mine]) + check_token_files([mine])
    found += check_gpus([mine]) + _orphans()
    found += check_torchvision(mine.versions, loads=compiled_part_loads())
    if spec is not None:
        found += check_resources([Node(NAME, mine.resources)], spec.resources)
        found += _storage(spec) + _record(spec) + _tracker(spec)
    return found


def this_machine(spec: Spec | None) -> Machine:
    """Its facts, with the resources that a local Ray would offer: the GPUs of the driver."""
    places = ["/tmp"]
    if spec is not None and "://" not in spec.storage:
        places.append(spec.storage)
    facts = node_probe.facts(list(PACKAGES), places)
    gpus = facts["cuda"]["devices"] if facts["cuda"] else 0
    resources = {"CPU": float(os.cpu_count() or 1), "GPU": float(gpus)}
    return machine(NAME, facts, {"resources": resources})


def _orphans() -> list[Finding]:
    left = orphans()
    if not left:
        return []
    pids = " ".join(str(process.pid) for process in left[:20])
    words = f"{len(left)} were left by a raysel driver that was killed"
    return [warning("processes", words, f"The next raysel run ends them, or: kill {pids}")]


def _storage(spec: Spec) -> list[Finding]:
    mark = f".raysel-probe-{os.getpid()}"
    written = node_probe.write_mark(spec.storage, mark)
    read = node_probe.read_marks(spec.storage, [] if written else [mark])
    node_probe.remove_mark(spec.storage, mark)
    return check_storage(spec.storage, [Machine(NAME, {}, written=written, read=read)])


def _record(spec: Spec) -> list[Finding]:
    if spec.database_url is None:
        return []
    return check_record(spec.database_url, asdict(preflight(spec.database_url, spec.name)))


def _tracker(spec: Spec) -> list[Finding]:
    uri, experiment = tracking_uri(spec), spec.experiment
    health = node_probe.run_module(
        "raysel.mlflow_sync.preflight", [uri, experiment], SECONDS, environment(os.environ)
    )
    return check_tracker(uri, health, node_probe.versions(["mlflow"]).get("mlflow", ""))


# --- a cluster -------------------------------------------------------------------------------


def check_endpoint(address: str, spec: Spec | None) -> list[Finding]:
    """A cluster behind its job API.

    Raises:
        UserError: the address is none.
    """
    reply = probe_auth(address_of(address, os.environ), os.environ)
    found = check_entrance(reply, os.environ.get("RAY_AUTH_MODE", ""))
    if any_error(found) and not (reply.without == 200 and reply.is_ray):
        return found
    try:
        collected = collect.by_job(reply.accepted(), _of_a_job(question(spec)))
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
            collected = collect.by_tasks(question(spec))
    except OperationalError as refused:
        words, _, remedy = str(refused).partition("; ")
        return [error("address", words, capital(remedy))]
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
            asked["tracker"] = [spec.tracking.uri, spec.experiment]
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
        collected: the result of `node_probe.cluster`.
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
    from raysel.engine.connect import with_possible_nodes  # noqa: PLC0415

    growth = collected["growth"]
    nodes = with_possible_nodes(collected["nodes"], growth["kinds"])
    found = check_resources(nodes, spec.resources, growth["unknown"])
    found += check_relative(spec.storage, len(machines))
    found += check_storage(collected["storage"], machines)
    found += check_record(spec.database_url, collected["record"])
    if spec.tracking.uri:
        version = machines[0].versions.get("mlflow", "")
        found += check_tracker(spec.tracking.uri, collected["tracker"], version)
    return found


# --- a cluster file --------------------------------------------------------------------------


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
    asked = collect.ask_hosts(config)
    found += check_hosts(asked)
    machines = [machine(one.name, one.facts, {"clock": one.ahead}) for one in asked if one.facts]
    return found + (check_disks(machines) + check_clocks(machines) if machines else [])
