"""Room on the disks and in shared memory."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.service.doctor.finding import Finding, error, ok, warning
from raysel.service.doctor.machine import Disk, Machine, joined

GIB = 2**30

RAY_FULL = 0.95
"""Above this share Ray writes no object to the disk any more (local_fs_capacity_threshold)."""

LEAST_BYTES, FEW_BYTES = 1 * GIB, 5 * GIB
"""Below the first nothing can be kept; below the second hardly the checkpoints of a sweep."""


def check_disks(machines: Sequence[Machine]) -> list[Finding]:
    """Whether every disk that was looked at has room."""
    found = [
        finding
        for machine in machines
        for place, disk in _by_disk(machine).items()
        for finding in _room(machine.name, place, disk)
    ]
    if found:
        return found
    least = min((d.free for m in machines for d in m.disks.values()), default=0)
    return [ok("disk", f"{_gib(least)} and more free on {joined([m.name for m in machines])}")]


def _by_disk(machine: Machine) -> dict[str, Disk]:
    """Of two folders on one disk the first."""
    first: dict[Disk, str] = {}
    for place, disk in machine.disks.items():
        first.setdefault(disk, place)
    return {place: disk for disk, place in first.items()}


def _room(name: str, place: str, disk: Disk) -> list[Finding]:
    full = disk.used / max(disk.used + disk.free, 1)
    words = f"{name} has {_gib(disk.free)} free in {place} ({full:.0%} used)"
    if disk.free < LEAST_BYTES:
        return [error("disk", words, "Make room there: raysel gc frees caches and checkpoints")]
    if full > RAY_FULL:
        remedy = "Make room there: Ray keeps no object on a disk that is fuller than 95 %"
        return [error("disk", words, remedy)]
    if disk.free < FEW_BYTES:
        return [warning("disk", words, "Make room there before a long sweep")]
    return []


def check_shared_memory(nodes: Sequence[Machine]) -> list[Finding]:
    """Whether Ray's object store fits into /dev/shm; on a disk it is slow."""
    found = []
    for node in nodes:
        store = node.resources.get("object_store_memory", 0)
        memory = node.shared_memory
        if memory is None or memory.total >= store:
            continue
        found.append(
            warning(
                "shared memory",
                f"{node.name} has {_gib(memory.total)} in /dev/shm, Ray's object store wants "
                f"{_gib(store)} and goes to the disk",
                f"Give the container more (docker --shm-size={_gib(store, ceil=True)}g, in "
                "Kubernetes an emptyDir of medium Memory)",
            )
        )
    return found or [ok("shared memory", f"enough on {joined([n.name for n in nodes])}")]


def _gib(count: float, ceil: bool = False) -> str:
    return str(-int(-count // GIB)) if ceil else f"{count / GIB:.1f} GiB"
