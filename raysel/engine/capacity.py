"""Whether a trial fits onto a node of the cluster, and how many of them run at a time.

A trial runs in one process on one node: the sum of all nodes' resources does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raysel.common.errors import Problem
from raysel.spec.sweep import ResourcesSpec

_KIND = {"CPU": "cpus", "GPU": "gpus"}
_SLACK = 1e-9


@dataclass(frozen=True)
class Node:
    """A node, or a kind of nodes that the autoscaler may start.

    Attributes:
        name: `head`, `worker`, or the autoscaler's node type.
        resources: the node's resources, by Ray's names.
        labels: Ray's and the user's.
        count: number of such nodes, present or possible.
    """

    name: str
    resources: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)
    count: int = 1


def bundle(resources: ResourcesSpec) -> dict[str, float]:
    """The resources of a trial, by Ray's names."""
    asked = {"CPU": float(resources.cpus), "GPU": float(resources.gpus)}
    return {name: value for name, value in asked.items() if value} | dict(resources.custom)


def of_task(resources: ResourcesSpec) -> dict[str, Any]:
    """The same as the options of a task: `ray.remote(**of_task(...))(function)`."""
    asked = {
        "num_cpus": resources.cpus,
        "num_gpus": resources.gpus,
        "resources": dict(resources.custom),
    }
    return asked | ({"label_selector": dict(resources.labels)} if resources.labels else {})


ASKED_AHEAD = 8
"""Trials to request beyond those that fit, if nodes of unknown size may join."""


def concurrent(nodes: Iterable[Node], resources: ResourcesSpec, grows: bool = False) -> int:
    """Number of concurrent trials on all nodes; at least 1, since a node may still join.

    Args:
        grows: an autoscaler starts nodes only for waiting trials: what fits
            now is no limit.
    """
    fits = sum(node.count * _fits(node, resources) for node in nodes)
    if grows:
        return resources.max_concurrent_trials or fits + ASKED_AHEAD
    return max(1, min(fits, resources.max_concurrent_trials or fits))


def too_large(nodes: Sequence[Node], resources: ResourcesSpec) -> list[Problem]:
    """Why a trial fits onto no node; empty if it fits."""
    if any(_fits(node, resources) for node in nodes):
        return []
    has = f"the cluster has {_listed(nodes)}"
    single = [*_too_much(nodes, resources), *_labels(nodes, resources)]
    if single:
        return [Problem(f"resources.{key}", f"{asked}; {has}") for key, asked in single]
    whole = _words(bundle(resources), resources.labels)
    return [Problem("resources", f"no node has {whole} together; {has}")]


def _fits(node: Node, resources: ResourcesSpec) -> int:
    """How many trials one such node holds."""
    if not all(selected(node.labels.get(k), v) for k, v in resources.labels.items()):
        return 0
    shares = [node.resources.get(n, 0) / value for n, value in bundle(resources).items()]
    return int(min(shares) + _SLACK)


def _too_much(nodes: Sequence[Node], resources: ResourcesSpec) -> Iterator[tuple[str, str]]:
    for name, value in bundle(resources).items():
        if all(node.resources.get(name, 0) < value - _SLACK for node in nodes):
            key = _KIND.get(name, f"custom.{name}")
            yield key, f"a trial asks for {_quantity(name, value)}"


def _labels(nodes: Sequence[Node], resources: ResourcesSpec) -> Iterator[tuple[str, str]]:
    for name, wanted in resources.labels.items():
        if not any(selected(node.labels.get(name), wanted) for node in nodes):
            yield f"labels.{name}", f'a trial asks for a node with "{wanted}"'


def selected(label: str | None, wanted: str) -> bool:
    """Whether a node's label is one that Ray's selector `wanted` takes: `a`, `!a`, `in(a, b)`,
    `!in(a, b)`."""
    listed = re.fullmatch(r"(!?)in\((.*)\)", wanted)
    if listed:
        names = [name.strip() for name in listed[2].split(",")]
        return (label in names) != bool(listed[1])
    if wanted.startswith("!"):
        return label != wanted[1:]
    return label == wanted


def _listed(nodes: Sequence[Node]) -> str:
    """`head (2 CPUs), 3 × worker (8 CPUs, 1 GPU)`."""
    counts: dict[str, int] = {}
    for node in nodes:
        own = {n: v for n, v in node.labels.items() if not n.startswith("ray.io/node-")}
        words = f"{node.name} ({_words(_shown(node.resources), own) or 'nothing for trials'})"
        counts[words] = counts.get(words, 0) + node.count
    shown = [f"{count} × {words}" if count > 1 else words for words, count in counts.items()]
    return ", ".join(shown) or "no node"


_HIDDEN = ("memory", "object_store_memory", "node:")


def _shown(resources: Mapping[str, float]) -> dict[str, float]:
    """The resources without those that no trial requests."""
    return {n: v for n, v in resources.items() if v and not n.startswith(_HIDDEN)}


def _words(quantities: Mapping[str, float], labels: Mapping[str, str]) -> str:
    words = [_quantity(name, value) for name, value in quantities.items()]
    return ", ".join(words + [f"{name}={value}" for name, value in labels.items()])


def _quantity(name: str, value: float) -> str:
    return f"{value:g} {name}{'s' * (name in _KIND and value != 1)}"
