"""A sound cluster of a head and two workers, as `node_probe.cluster` reports it, for faults.

What cannot be had on one machine (another clock, another version of Ray, a full disk) is planted
in what a node tells; that a node tells the truth is tested in `test_probe.py` and on a real Ray.
"""

from __future__ import annotations

from typing import Any

from raysel.service.doctor.examine import evaluate
from raysel.service.doctor.finding import Finding
from raysel.service.doctor.machine import PACKAGES, Machine, machine
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec

GIB = 2**30
VERSIONS = {"python": "3.11.7"} | dict.fromkeys(PACKAGES, "1.0") | {"ray": "2.60.0"}
URI = "http://mlflow:5000"
SPEC = f"""
name: x
task: {{data: digits}}
model: {{name: resnet10t}}
strategies: {{full: }}
storage: /mnt/share
tracking: {{uri: "{URI}"}}
"""


def sweep(*overrides: str) -> Spec:
    """A sweep that fits onto the cluster."""
    return parse(SPEC, overrides)


def facts() -> dict[str, Any]:
    """What a sound machine tells."""
    disk = {"total": 500 * GIB, "used": 100 * GIB, "free": 400 * GIB}
    return {
        "host": "x",
        "versions": dict(VERSIONS),
        "disks": {"/tmp": dict(disk), "/mnt/share": dict(disk) | {"used": 101 * GIB}},
        "shared_memory": {"total": 16 * GIB, "used": 0, "free": 16 * GIB},
        "token": {
            "mode": "token",
            "path": "/home/ray/.ray/auth_token",
            "permissions": 0o600,
            "in_environment": False,
        },
        "cuda": {"devices": 1, "build": "12.6", "error": None},
        "clock": 0.0,
    }


def node(kind: str, number: int) -> dict[str, Any]:
    """A node with a GPU."""
    return {
        "id": f"{number:06d}",
        "name": f"{kind} 10.0.0.{number}",
        "address": f"10.0.0.{number}",
        "head": kind == "head",
        "alive": True,
        "lost": False,
        "resources": {"CPU": 8.0, "GPU": 1.0, "object_store_memory": 8.0 * GIB},
        "labels": {},
        "facts": facts(),
        "clock": [0.01, 0.02],
        "written": "",
        "read": {"head 10.0.0.2": "", "worker 10.0.0.3": "", "worker 10.0.0.4": ""},
    }


def cluster() -> dict[str, Any]:
    """What a sound cluster tells."""
    return {
        "nodes": [node("worker", 3), node("head", 2), node("worker", 4)],
        "storage": "/mnt/share",
        "growth": {"kinds": [], "unknown": False},
        "record": None,
        "tracker": {"error": "", "words": f"{URI} takes runs (MLflow 1.2)", "version": "1.2"},
    }


def client() -> Machine:
    """The machine of who asks."""
    return machine("this machine", facts())


def found(reported: dict[str, Any], spec: Spec | None = None) -> list[Finding]:
    """What the doctor says of a cluster, with its sweep."""
    return evaluate(reported, client(), spec or sweep())


def worst(reported: dict[str, Any], spec: Spec | None = None) -> list[str]:
    """The lines that are not ok."""
    return [one.line() for one in found(reported, spec) if one.level != "ok"]
