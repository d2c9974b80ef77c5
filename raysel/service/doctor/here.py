"""This machine, and what a sweep file needs on it."""

from __future__ import annotations

import os
from dataclasses import asdict

from raysel.common.torchvision_compat import compiled_part_loads
from raysel.engine.capacity import Node
from raysel.engine.orphans import orphans
from raysel.mlflow_sync.process import environment
from raysel.record.layout import tracking_uri
from raysel.record.postgres_preflight import preflight
from raysel.service.doctor import probe
from raysel.service.doctor.checks.disks import check_disks
from raysel.service.doctor.checks.gpus import check_gpus
from raysel.service.doctor.checks.record_checks import check_record
from raysel.service.doctor.checks.resources import check_resources
from raysel.service.doctor.checks.storage_checks import check_storage
from raysel.service.doctor.checks.token import check_token_files
from raysel.service.doctor.checks.tracking_server import check_tracker
from raysel.service.doctor.checks.versions import check_torchvision, check_versions
from raysel.service.doctor.finding import Finding, warning
from raysel.service.doctor.machine import PACKAGES, Machine, machine
from raysel.spec.sweep import Spec

NAME = "this machine"
_TRACKER_SECONDS = 30


def check_local(spec: Spec | None) -> list[Finding]:
    """Packages, disks, GPUs, token file; with a sweep file its storage, record and MLflow."""
    mine = this_machine(spec)
    found = check_versions([mine], None) + check_disks([mine]) + check_token_files([mine])
    found += check_gpus([_as_ray_would(mine)]) + _orphans()
    found += check_torchvision(mine.versions, loads=compiled_part_loads())
    if spec is not None:
        found += check_resources([_node(mine)], spec.resources)
        found += _storage(spec) + _record(spec) + _tracker(spec)
    return found


def this_machine(spec: Spec | None) -> Machine:
    """Its facts."""
    places = ["/tmp"]
    if spec is not None and "://" not in spec.storage:
        places.append(spec.storage)
    return machine(NAME, probe.facts(list(PACKAGES), places))


def _as_ray_would(mine: Machine) -> Machine:
    """The machine with the GPUs that a local Ray would offer: those of the driver."""
    seen = mine.cuda.devices if mine.cuda else 0
    return Machine(mine.name, mine.versions, cuda=mine.cuda, resources={"GPU": seen})


def _node(mine: Machine) -> Node:
    cpus, gpus = os.cpu_count() or 1, mine.cuda.devices if mine.cuda else 0
    return Node(NAME, {"CPU": float(cpus), "GPU": float(gpus)})


def _orphans() -> list[Finding]:
    left = orphans()
    if not left:
        return []
    pids = " ".join(str(process.pid) for process in left[:20])
    words = f"{len(left)} were left by a raysel driver that was killed"
    return [warning("processes", words, f"The next raysel run ends them, or: kill {pids}")]


def _storage(spec: Spec) -> list[Finding]:
    mark = f".raysel-doctor-{os.getpid()}"
    written = probe.write_mark(spec.storage, mark)
    read = probe.read_marks(spec.storage, [] if written else [mark])
    probe.remove_mark(spec.storage, mark)
    return check_storage(spec.storage, [Machine(NAME, {}, written=written, read=read)])


def _record(spec: Spec) -> list[Finding]:
    if spec.database_url is None:
        return []
    return check_record(spec.database_url, asdict(preflight(spec.database_url, spec.name)))


def _tracker(spec: Spec) -> list[Finding]:
    uri, experiment = tracking_uri(spec), spec.tracking.experiment or spec.name
    health = probe.run_module(
        "raysel.mlflow_sync.preflight", [uri, experiment], _TRACKER_SECONDS, environment(os.environ)
    )
    return check_tracker(uri, health, probe.versions(["mlflow"]).get("mlflow", ""))
