"""Whether a sweep's trials fit onto the nodes."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.engine.capacity import Node, concurrent, too_large
from raysel.service.doctor.finding import Finding, error, ok, warning
from raysel.spec.sweep import ResourcesSpec


def check_resources(
    nodes: Sequence[Node], resources: ResourcesSpec, grows: bool = False
) -> list[Finding]:
    """Whether a trial fits onto a node.

    Args:
        grows: an autoscaler may start a node on which it fits.
    """
    level = warning if grows else error
    remedy = (
        "The autoscaler has to bring such a node: look at the kinds in the cluster file"
        if grows
        else "Ask for less under resources:, or start such a node"
    )
    found = [level("resources", str(problem), remedy) for problem in too_large(nodes, resources)]
    fit = concurrent(nodes, resources)
    return found or [ok("resources", f"{fit} trials at a time{', more on new nodes' * grows}")]
