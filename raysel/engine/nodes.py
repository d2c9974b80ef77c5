"""Calls to every node of the cluster: whether each can store what its trials write, and files
that only a node's own disk has."""

from __future__ import annotations

import raysel.engine.ray_env  # noqa: F401

import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysel.common.errors import OperationalError
from raysel.common.object_store import Bucket, said
from raysel.record.layout import SweepFolder, write_whole
from raysel.training import checkpoint
from raysel.training.trial_files import TOKEN, sees

PROBE_SECONDS = 180.0
"""Timeout for a node to write and read a few bytes, including the start of a process."""

BRING_SECONDS = 300.0
"""Timeout for the nodes to send a checkpoint."""


def new_token(folder: SweepFolder) -> str:
    """Write a new token into the driver's folder, by which a node recognises the folder."""
    token = secrets.token_hex(16)
    write_whole(folder.path / TOKEN, token)
    return token


def check_storage(folder: SweepFolder, token: str) -> str | None:
    """Write and read on every node but the driver's own, whose folder is in use already.

    Returns:
        A note for the user; None if every node sees the storage.

    Raises:
        OperationalError: a node cannot keep what its trials write, or does not answer.
    """
    nodes = _others()
    replies = _on(nodes, PROBE_SECONDS, _probe, folder.path, folder.bucket, token)
    blind = []
    for address, reply in replies.items():
        if reply is None:
            raise OperationalError(f"node {address}", f"did not answer within {PROBE_SECONDS:g} s")
        seen, problem = reply
        if problem:
            raise OperationalError("storage", f"node {address} {problem}")
        blind += [] if seen else [address]
    if not blind or folder.bucket is not None:
        return None
    names = ", ".join(blind[:5]) + (" …" if len(blind) > 5 else "")
    return (
        f"{len(blind)} of {len(nodes) + 1} nodes ({names}) do not see {folder.path.parent}: trials"
        " of a lost node begin anew; a shared folder or storage: s3://… keeps them"
    )


def brought(folder: Path, trial: str) -> list[dict[str, Any]]:
    """A trial's checkpoints on the disks of the other nodes: more than one if it was begun on
    one of them and ended on another."""
    found = []
    for content in _on(_others(), BRING_SECONDS, _read, folder / "trials" / trial).values():
        if content is None:
            continue
        with tempfile.TemporaryDirectory(prefix="raysel-") as scratch:
            file = Path(scratch) / checkpoint.NAME
            file.write_bytes(content)
            with suppress(checkpoint.DamagedCheckpoint):
                found.append(checkpoint.read(file, trial))
    return found


def tidied(folder: Path) -> None:
    """Remove the checkpoints on the disks of the other nodes."""
    _on(_others(), PROBE_SECONDS, _remove, folder / "trials")


def _others() -> dict[str, str]:
    """Address by id of the nodes that run trials, except the driver's own."""
    mine = ray.get_runtime_context().get_node_id()
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != mine and node["Resources"].get("CPU")
    }


def _on(
    nodes: dict[str, str], seconds: float, function: Callable[..., Any], *arguments: Any
) -> dict[str, Any]:
    """Replies by node address; None from a node that is silent or lost."""
    asked = {}
    for node, address in nodes.items():
        pinned = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=pinned)(function)
        asked[task.remote(*arguments)] = address
    replies: dict[str, Any] = {}
    deadline = time.monotonic() + seconds
    for reference, address in asked.items():
        try:
            reply = ray.get(reference, timeout=max(0.0, deadline - time.monotonic()))
        except ray.exceptions.RayError:
            ray.cancel(reference, force=True)
            reply = None
        replies[_unlike(address, replies)] = reply
    return replies


def _unlike(address: str, known: dict[str, Any]) -> str:
    """The address, made unique where several nodes share one."""
    count = sum(other.partition(" ")[0] == address for other in known)
    return f"{address} ({count + 1})" if count else address


# --- what runs on a node -------------------------------------------------------------------------


def _probe(folder: Path, bucket: Bucket | None, token: str) -> tuple[bool, str | None]:
    """Whether this node sees the driver's folder; the problem with its storage, if any."""
    name, content = f".probe-{secrets.token_hex(8)}", secrets.token_bytes(16)
    mend = "mount it there, or set storage: s3://…"
    try:
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        probe = folder / "trials" / name
        probe.write_bytes(content)
        same = probe.read_bytes() == content
        probe.unlink()
    except OSError as error:
        return False, f"cannot write {folder.parent} ({error.strerror}); {mend}"
    if not same:
        return False, f"does not read what it wrote into {folder.parent}; {mend}"
    try:
        if bucket is not None:
            bucket.put_bytes(content, name)
            same = bucket.get_bytes(name) == content
            bucket.delete([name])
    except OSError as error:
        return False, f"cannot use {bucket} ({said(error)}); give it the credentials too"
    return sees(folder, token), None if same else f"does not read what it wrote into {bucket}"


def _read(folder: Path) -> bytes | None:
    file = folder / checkpoint.NAME
    return file.read_bytes() if file.is_file() else None


def _remove(trials: Path) -> None:
    for folder in trials.glob("*"):
        checkpoint.remove(folder)
