"""Checks of what one sweep needs: resources, storage, its database, MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raysel.common.text import and_more
from raysel.engine.capacity import Node, concurrent, too_large
from raysel.service.doctor.finding import Finding, capital, error, ok, warning
from raysel.service.doctor.machine import Machine
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
    return [ok("storage", f"{storage} is written and read by {and_more([n.name for n in nodes])}")]


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


def check_record(record: str | None, found: Mapping[str, str] | None) -> list[Finding]:
    """Evaluate what `raysel.record.postgres_preflight` reported.

    Args:
        record: `database_url` of the sweep file; None for SQLite, of which nothing is said.
        found: None where it could not be asked.
    """
    if record is None:
        return []
    if found is None:
        remedy = "Install raysel there, or run doctor on the head"
        return [warning("record", f"{record} could not be tried on the head", remedy)]
    if found["error"]:
        remedy = found.get("remedy") or "Look at the network between the head and the database"
        return [error("record", found["error"], remedy)]
    return [ok("record", f"{record} takes the sweep's tables")]


def check_tracker(uri: str, health: Mapping[str, str] | None, client: str) -> list[Finding]:
    """Evaluate what `raysel.mlflow_sync.preflight` reported from where the driver would run.

    Args:
        health: None where it could not be asked.
        client: the version of MLflow there.
    """
    if health is None:
        remedy = "Install raysel there, or run doctor on the head"
        return [warning("mlflow", f"{uri} could not be tried on the head", remedy)]
    if failure := health["error"]:
        words, _, remedy = failure.partition("; ")
        return [error("mlflow", words, capital(remedy) or "Start it, or look at tracking.uri")]
    version = health["version"]
    if version and _major(version) != _major(client):
        words = f"{uri} is MLflow {version}, ours is {client}"
        return [warning("mlflow", words, f"Install mlflow {version} on the head")]
    return [ok("mlflow", health["words"])]


def _major(version: str) -> str:
    return version.split(".")[0]
