"""Calls to every node of the cluster: whether each can store what its trials write, and files
that only a node's own disk has."""

from __future__ import annotations

import raysel.engine.ray_env  # noqa: F401

import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray

from raysel.common.errors import OperationalError
from raysel.engine.node_probe import listed_nodes, probe_storage, run_on_every_node
from raysel.record.layout import SweepFolder, write_whole
from raysel.training import checkpoint
from raysel.training.trial_files import TOKEN

PROBE_SECONDS = 180.0
"""Timeout for a node to write and read a few bytes, including the start of a process."""

BRING_SECONDS = 300.0
"""Timeout for the nodes to send a checkpoint."""


def new_token(folder: SweepFolder) -> str:
    """Write a new token into the driver's folder, by which a node recognises the folder."""
    token = secrets.token_hex(16)
    write_whole(folder.path / TOKEN, token)
    return token


def check_storage(folder: SweepFolder) -> str | None:
    """Write and read on every node, where there are others than the driver's own.

    Returns:
        A note for the user; None if every node sees the storage.

    Raises:
        OperationalError: a node cannot keep what its trials write, or does not answer.
    """
    mine, others = _nodes()
    if not others:
        return None
    remedy = "mount it there, or set storage: s3://…"
    _probed([*mine, *others], str(folder.path), f"cannot write {folder.path.parent}", remedy)
    here = [node["name"] for node in mine]
    blind = [node["name"] for node in others if any(node["read"].get(name) for name in here)]
    if folder.bucket is not None:
        remedy = "give it the credentials too"
        _probed([*mine, *others], folder.bucket.uri, f"cannot use {folder.bucket}", remedy)
        return None
    if not blind:
        return None
    names = ", ".join(blind[:5]) + (" …" if len(blind) > 5 else "")
    return (
        f"{len(blind)} of {len(others) + 1} nodes ({names}) do not see {folder.path.parent}: trials"
        " of a lost node begin anew; a shared folder or storage: s3://… keeps them"
    )


def _probed(nodes: list[dict[str, Any]], place: str, problem: str, remedy: str) -> None:
    """Probe a storage; a node must read at least what itself has written."""
    probe_storage(nodes, place, PROBE_SECONDS)
    for node in nodes:
        name, written, read = node["name"], node["written"], node["read"]
        if written is None or read is None:
            raise OperationalError(name, f"did not answer within {PROBE_SECONDS:g} s")
        if error := written or read[name]:
            raise OperationalError("storage", f"{name} {problem} ({error}); {remedy}")


def brought(folder: Path, trial: str) -> list[dict[str, Any]]:
    """A trial's checkpoints on the disks of the other nodes: more than one if it was begun on
    one of them and ended on another."""
    found = []
    place = folder / "trials" / trial / checkpoint.NAME
    replies = run_on_every_node(_nodes()[1], BRING_SECONDS, _read, lambda _: (place,))
    for content in replies.values():
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
    run_on_every_node(_nodes()[1], PROBE_SECONDS, _remove, lambda _: (folder / "trials",))


def _nodes() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The driver's own node, and the others that run trials."""
    mine = ray.get_runtime_context().get_node_id()
    alive = [node for node in listed_nodes() if node["alive"]]
    others = [node for node in alive if node["id"] != mine and node["resources"].get("CPU")]
    return [node for node in alive if node["id"] == mine], others


# --- what runs on a node -------------------------------------------------------------------------


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _remove(trials: Path) -> None:
    for folder in trials.glob("*"):
        checkpoint.InFolder(folder).remove()
