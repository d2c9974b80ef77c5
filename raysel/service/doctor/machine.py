"""The facts of one machine, as the checks read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raysel.sweep import manifest

PACKAGES = ("raysel", *manifest.PACKAGES)
"""Packages whose versions are compared: results depend on them, or they communicate."""


@dataclass(frozen=True)
class Disk:
    """A file system, in bytes."""

    total: int
    used: int
    free: int


@dataclass(frozen=True)
class Token:
    """Where a machine has Ray's token.

    Attributes:
        mode: RAY_AUTH_MODE, empty where it is not set.
        path: of the token file.
        permissions: of that file; None where there is none.
        in_environment: whether RAY_AUTH_TOKEN is set.
    """

    mode: str = ""
    path: str = "~/.ray/auth_token"
    permissions: int | None = None
    in_environment: bool = False


@dataclass(frozen=True)
class Cuda:
    """What torch sees.

    Attributes:
        build: the CUDA version that torch was built for; None for a build without.
    """

    devices: int
    build: str | None
    error: str | None = None


@dataclass(frozen=True)
class Machine:
    """One machine: the client, or a node.

    Attributes:
        name: `client`, `head 10.0.0.2`, `worker 10.0.0.7`.
        versions: of Python and of the packages that are there.
        disks: of the folders that were asked for.
        cuda: None where nobody expects a GPU.
        resources: its resources according to Ray.
        ahead: seconds that its clock is ahead of the head's (of the client's where there is no
            head), and how far that may be off; None where it was not measured.
        written: what went wrong with writing into the storage; None where it was not tried.
        read: the same with reading what others had written, by their names.
    """

    name: str
    versions: Mapping[str, str]
    disks: Mapping[str, Disk] = field(default_factory=dict)
    shared_memory: Disk | None = None
    token: Token = Token()
    cuda: Cuda | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    ahead: tuple[float, float] | None = None
    written: str | None = None
    read: Mapping[str, str] | None = None


def machine(name: str, facts: Mapping[str, Any], node: Mapping[str, Any] | None = None) -> Machine:
    """The facts of `node_probe.facts`, and what the cluster knows of the node."""
    node = node or {}
    memory, cuda, ahead = facts["shared_memory"], facts["cuda"], node.get("clock")
    return Machine(
        name=name,
        versions=facts["versions"],
        disks={place: Disk(**disk) for place, disk in facts["disks"].items()},
        shared_memory=memory and Disk(**memory),
        token=Token(**facts["token"]),
        cuda=cuda and Cuda(**cuda),
        resources=node.get("resources") or {},
        ahead=ahead and (ahead[0], ahead[1]),
        written=node.get("written"),
        read=node.get("read"),
    )
