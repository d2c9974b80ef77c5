"""Equal versions on all nodes: Ray refuses some differences, and results depend on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raysel.service.doctor.finding import Finding, error, ok, warning
from raysel.service.doctor.machine import PACKAGES, Machine, joined

_MUST_AGREE = ("ray", "raysel")
"""Nodes with another one cannot work together."""

_ON_CLIENT = ("ray", "raysel")
"""Packages whose versions must be equal on client and head: a client only submits."""


def check_versions(nodes: Sequence[Machine], client: Machine | None) -> list[Finding]:
    """The versions of every node against those of the first (the head), then the client's.

    Args:
        nodes: the head first.
        client: None where the client is the head.
    """
    head = nodes[0]
    sent = not any("raysel" in node.versions for node in nodes)
    found = [finding for node in nodes for finding in _missing(node, sent)]
    for node in nodes[1:]:
        found += _differing(node, head)
    if client is not None:
        found += _of_client(client, head)
    everyone = [*nodes, *([client] if client else [])]
    return found or [
        ok("versions", f"{_versions_of(head)} on {joined([m.name for m in everyone])}")
    ]


def check_torchvision(versions: Mapping[str, str], loads: bool) -> list[Finding]:
    """What to do for `import timm` outside raysel, where torchvision is of another build than
    torch; raysel itself makes it importable.

    Args:
        loads: whether torchvision's compiled part can be loaded.
    """
    if loads or not {"torch", "torchvision"} <= set(versions):
        return []
    words = (
        f"torchvision {versions['torchvision']} is of another build than torch"
        f" {versions['torch']}: raysel does without its compiled part, but a plain `import timm`"
        ' fails ("operator torchvision::nms does not exist"). For an exported model use the'
        " predict.py beside it; in Python: from raysel.models import timm"
    )
    return [ok("torchvision", words)]


def _versions_of(machine: Machine) -> str:
    names = ("raysel", "ray", "python", "torch", "timm")
    return ", ".join(f"{n} {machine.versions[n]}" for n in names if n in machine.versions)


def _missing(node: Machine, sent: bool) -> list[Finding]:
    """Packages missing on a node; raysel is `sent` with a job if no node has it."""
    missing = [n for n in PACKAGES if n not in node.versions and not (sent and n == "raysel")]
    if not missing:
        return []
    remedy = f"Install it there: pip install {' '.join(missing)}, into the Python that runs Ray"
    return [error("packages", f"{node.name} lacks {', '.join(missing)}", remedy)]


def _differing(node: Machine, head: Machine) -> list[Finding]:
    found = []
    for name in ("python", *PACKAGES):
        theirs, ours = node.versions.get(name), head.versions.get(name)
        if theirs is None or ours is None or theirs == ours:
            continue
        words = f"{node.name} has {name} {theirs}, the {head.name} {ours}"
        remedy = f"Install {name} {ours} there"
        if name in _MUST_AGREE or (name == "python" and _minor(theirs) != _minor(ours)):
            found.append(error("versions", words, remedy))
        else:
            remedy = f"{remedy}: a trial's numbers depend on where it runs"
            found.append(warning("versions", words, remedy))
    return found


def _of_client(client: Machine, head: Machine) -> list[Finding]:
    return [
        warning(
            "versions",
            f"this machine has {name} {client.versions[name]}, the {head.name} "
            f"{head.versions[name]}",
            f"Install {name} {head.versions[name]} here",
        )
        for name in _ON_CLIENT
        if name in client.versions
        and name in head.versions
        and client.versions[name] != head.versions[name]
    ]


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
