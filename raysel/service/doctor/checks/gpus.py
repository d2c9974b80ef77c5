"""GPUs that Ray hands out, and that torch can use."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.service.doctor.finding import Finding, error, ok, warning
from raysel.service.doctor.machine import Machine


def check_gpus(nodes: Sequence[Machine]) -> list[Finding]:
    """Whether torch sees as many GPUs on each node as Ray believes to be there."""
    found = [finding for node in nodes for finding in _of(node)]
    if found:
        return found
    count = sum(node.resources.get("GPU", 0) for node in nodes)
    return [
        ok("gpus", f"{count:g} for torch as for Ray" if count else "none found by torch or by Ray")
    ]


def _of(node: Machine) -> list[Finding]:
    believed = node.resources.get("GPU", 0)
    seen = node.cuda.devices if node.cuda else 0
    if seen < believed:
        return [
            error("gpus", f"{node.name}: Ray hands out {believed:g}, torch sees {seen}", _why(node))
        ]
    if seen and not believed:
        remedy = f"Start Ray there with --num-gpus={seen}"
        return [warning("gpus", f"{node.name}: torch sees {seen}, Ray none", remedy)]
    return []


def _why(node: Machine) -> str:
    cuda = node.cuda
    if cuda is None or cuda.error:
        return "torch does not run there: python -c 'import torch' shows why"
    if cuda.build is None:
        return "Install a torch that is built for CUDA there"
    return (
        f"Look at the driver: torch is built for CUDA {cuda.build}, nvidia-smi shows the driver's"
    )
