"""Nodes that are alive and answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysel.service.doctor.finding import Finding, error, ok, warning
from raysel.service.doctor.machine import joined


def check_nodes(nodes: Sequence[Mapping[str, Any]], seconds: float) -> list[Finding]:
    """The nodes that Ray lists, of which some are dead or silent.

    Args:
        nodes: as `probe.cluster` reports them.
        seconds: how long they had.
    """
    alive = [node for node in nodes if node["alive"]]
    back = {node["address"] for node in alive}
    dead = [node["name"] for node in nodes if node["lost"] and node["address"] not in back]
    silent = [node["name"] for node in alive if node["facts"] is None]
    found = [
        error(
            "nodes",
            f"{name} does not run a task within {seconds:g} s",
            "Look at its raylet.out in /tmp/ray/session_latest/logs, or start its Ray again",
        )
        for name in silent
    ]
    if dead:
        words = f"lost: {joined(dead)}"
        found.append(warning("nodes", words, "Start Ray there again if the machine is there"))
    if found:
        return found
    cpus, gpus = (sum(n["resources"].get(kind, 0) for n in alive) for kind in ("CPU", "GPU"))
    return [ok("nodes", f"{len(alive)}, with {cpus:g} CPUs and {gpus:g} GPUs")]
