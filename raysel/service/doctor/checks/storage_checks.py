"""The folder or bucket of the sweeps: every node writes there and reads what others wrote."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.service.doctor.finding import Finding, error, ok, warning
from raysel.service.doctor.machine import Machine, joined


def check_storage(storage: str, nodes: Sequence[Machine]) -> list[Finding]:
    """Evaluate a test: every node wrote a file, and all others tried to read it."""
    failed = [node for node in nodes if node.written != ""]
    if failed:
        return [_unwritable(storage, node) for node in failed]
    apart = [(node.name, *unread) for node in nodes if (unread := _unread(node))]
    if apart:
        reader, writer, failure = apart[0]
        words = f"{storage} is not the same on all nodes: {reader} cannot read what {writer}"
        remedy = (
            "Mount one folder everywhere, or set storage: s3://…; else the trials of a lost node "
            "start anew"
        )
        return [warning("storage", f"{words} wrote ({failure})", remedy)]
    return [ok("storage", f"{storage} is written and read by {joined([n.name for n in nodes])}")]


def check_relative(storage: str, nodes: int) -> list[Finding]:
    """A relative path means another folder on every machine, and in every job."""
    if nodes < 2 or "://" in storage or storage.startswith("/"):
        return []
    remedy = "Set storage: to a folder that all nodes see (/mnt/…), or to s3://…"
    return [warning("storage", f'"{storage}" is relative, {nodes} nodes share it', remedy)]


def _unwritable(storage: str, node: Machine) -> Finding:
    if node.written is None:
        words = f"{storage}: {node.name} did not answer in time"
        return error("storage", words, "Look at that mount: a dead file server makes it hang")
    words = f"{storage}: {node.name} cannot write ({node.written})"
    return error("storage", words, "Mount it there for Ray's user, or set storage: s3://…")


def _unread(node: Machine) -> tuple[str, str] | None:
    return next(((name, error) for name, error in (node.read or {}).items() if error), None)
