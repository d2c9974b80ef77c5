"""MLflow: reachable, writable, of a matching version."""

from __future__ import annotations

from collections.abc import Mapping

from raysel.service.doctor.finding import Finding, error, ok, warning


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
        return [error("mlflow", words, _sentence(remedy) or f"Start it, or look at {_KEY}")]
    version = health["version"]
    if version and _major(version) != _major(client):
        words = f"{uri} is MLflow {version}, ours is {client}"
        return [warning("mlflow", words, f"Install mlflow {version} on the head")]
    return [ok("mlflow", health["words"])]


_KEY = "tracking.uri"


def _major(version: str) -> str:
    return version.split(".")[0]


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
