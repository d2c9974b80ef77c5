"""Checks of machines and nodes: versions, disks, shared memory, GPUs, clocks, token files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysel.common.text import and_more
from raysel.service.doctor.finding import Finding, error, ok, warning
from raysel.service.doctor.machine import PACKAGES, Cuda, Disk, Machine, Token

GIB = 2**30

RAY_FULL = 0.95
"""Above this share Ray writes no object to the disk any more (local_fs_capacity_threshold)."""

LEAST_BYTES, FEW_BYTES = 1 * GIB, 5 * GIB
"""Below the first nothing can be kept; below the second hardly the checkpoints of a sweep."""

NOTED_SECONDS, MUCH_SECONDS = 2.0, 30.0
"""How far a clock may be off before it is noted, and before it is an error."""

_MUST_AGREE = ("ray", "raysel")
"""Nodes with another one cannot work together, nor a client, which only submits."""


def check_nodes(nodes: Sequence[Mapping[str, Any]], seconds: float) -> list[Finding]:
    """The nodes that Ray lists, of which some are dead or silent.

    Args:
        nodes: as `node_probe.cluster` reports them.
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
        words = f"lost: {and_more(dead)}"
        found.append(warning("nodes", words, "Start Ray there again if the machine is there"))
    if found:
        return found
    cpus, gpus = (sum(n["resources"].get(kind, 0) for n in alive) for kind in ("CPU", "GPU"))
    return [ok("nodes", f"{len(alive)}, with {cpus:g} CPUs and {gpus:g} GPUs")]


def check_versions(nodes: Sequence[Machine], client: Machine | None) -> list[Finding]:
    """The versions of every node against those of the first (the head), then the client's.

    Args:
        nodes: the head first.
        client: None where the client is the head.
    """
    head = nodes[0]
    sent = not any("raysel" in node.versions for node in nodes)
    found = [finding for node in nodes for finding in _missing(node, sent)]
    found += [finding for node in nodes[1:] for finding in _differing(node, head)]
    everyone = [*nodes, *([client] if client else [])]
    found += _of_client(client, head) if client else []
    names = ("raysel", "ray", "python", "torch", "timm")
    all_alike = ", ".join(f"{n} {head.versions[n]}" for n in names if n in head.versions)
    return found or [ok("versions", f"{all_alike} on {and_more([m.name for m in everyone])}")]


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
        for name in _MUST_AGREE
        if name in client.versions
        and name in head.versions
        and client.versions[name] != head.versions[name]
    ]


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def check_disks(machines: Sequence[Machine]) -> list[Finding]:
    """Whether every disk that was looked at has room; of two folders on one disk the first."""
    found: list[Finding] = []
    for machine in machines:
        places = {disk: place for place, disk in reversed([*machine.disks.items()])}
        for disk, place in places.items():
            found += _room(machine.name, place, disk)
    if found:
        return found
    least = min((d.free for m in machines for d in m.disks.values()), default=0)
    return [ok("disk", f"{_gib(least)} and more free on {and_more([m.name for m in machines])}")]


def _room(name: str, place: str, disk: Disk) -> Iterator[Finding]:
    full = disk.used / max(disk.used + disk.free, 1)
    words = f"{name} has {_gib(disk.free)} free in {place} ({full:.0%} used)"
    if disk.free < LEAST_BYTES:
        yield error("disk", words, "Make room there: raysel gc frees caches and checkpoints")
    elif full > RAY_FULL:
        remedy = "Make room there: Ray keeps no object on a disk that is fuller than 95 %"
        yield error("disk", words, remedy)
    elif disk.free < FEW_BYTES:
        yield warning("disk", words, "Make room there before a long sweep")


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
    return found or [ok("shared memory", f"enough on {and_more([n.name for n in nodes])}")]


def _gib(count: float, ceil: bool = False) -> str:
    return str(-int(-count // GIB)) if ceil else f"{count / GIB:.1f} GiB"


def check_gpus(nodes: Sequence[Machine]) -> list[Finding]:
    """Whether torch sees as many GPUs on each node as Ray believes to be there."""
    found = [finding for node in nodes for finding in _gpus_of(node)]
    if found:
        return found
    count = sum(node.resources.get("GPU", 0) for node in nodes)
    words = f"{count:g} for torch as for Ray" if count else "none found by torch or by Ray"
    return [ok("gpus", words)]


def _gpus_of(node: Machine) -> Iterator[Finding]:
    believed, cuda = node.resources.get("GPU", 0), node.cuda
    seen = cuda.devices if cuda else 0
    if seen < believed:
        words = f"{node.name}: Ray hands out {believed:g}, torch sees {seen}"
        yield error("gpus", words, _why_unseen(cuda))
    elif seen and not believed:
        remedy = f"Start Ray there with --num-gpus={seen}"
        yield warning("gpus", f"{node.name}: torch sees {seen}, Ray none", remedy)


def _why_unseen(cuda: Cuda | None) -> str:
    """What to do where torch sees fewer GPUs than Ray hands out."""
    if cuda is None or cuda.error:
        return "torch does not run there: python -c 'import torch' shows why"
    if cuda.build is None:
        return "Install a torch that is built for CUDA there"
    built = f"torch is built for CUDA {cuda.build}"
    return f"Look at the driver: {built}, nvidia-smi shows the driver's"


def check_clocks(machines: Sequence[Machine]) -> list[Finding]:
    """How far each clock is from the first machine's, where that could be measured."""
    known = [(m.name, *m.ahead) for m in machines if m.ahead is not None]
    found = []
    for name, ahead, blur in known:
        off = abs(ahead) - blur
        if off <= NOTED_SECONDS:
            continue
        way = "ahead" if ahead > 0 else "behind"
        words = f"{name} is {abs(ahead):.0f} s {way}"
        remedy = "Let it keep time: timedatectl set-ntp true, or chrony"
        found.append((error if off > MUCH_SECONDS else warning)("clock", words, remedy))
    if found or not known:
        return found
    return [ok("clock", f"within {NOTED_SECONDS:g} s on {len(known)} machines")]


def check_token_files(machines: Sequence[Machine]) -> list[Finding]:
    """Whether a token file can be read by others on its machine (Ray writes it so)."""
    open_ones = [m for m in machines if _readable_by_others(m.token)]
    return [
        warning(
            "token",
            f"{m.token.path} on {m.name} can be read by others ({m.token.permissions or 0:04o})",
            f"chmod 600 {m.token.path}",
        )
        for m in open_ones
    ]


def _readable_by_others(token: Token) -> bool:
    if token.in_environment:  # Ray does not look at the file then
        return False
    return token.permissions is not None and bool(token.permissions & 0o077)
