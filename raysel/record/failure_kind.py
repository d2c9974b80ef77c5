"""Why a trial failed, as the record keeps it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any


class FailureKind(str, Enum):
    """Why a trial failed; its `cause` says it for people."""

    DIVERGED = "diverged"
    """Its loss stayed non-finite."""
    ERROR = "error"
    """Its own lines raised."""
    NOT_FINITE = "not_finite"
    """It gave a number that the record refuses: an objective or a test metric."""
    WORKER_LOST = "worker_lost"
    """More workers were lost than a trial may lose without a new epoch."""
    CLOSED = "closed"
    """It was interrupted, and nobody will resume it."""

    @property
    def is_own(self) -> bool:
        """Whether the trial's own lines fail: run again, it would fail again in the same way."""
        return self in (FailureKind.DIVERGED, FailureKind.ERROR)


def failed_end(kind: FailureKind, cause: str) -> dict[str, Any]:
    """The payload of the end of a trial that failed."""
    return {"status": "FAILED", "failure": kind.value, "cause": cause, "value": None}


def failure_of(end: Mapping[str, Any]) -> FailureKind | None:
    """The kind of failure in a trial's end; None if it did not fail. Older records have a sentence
    only."""
    if end["status"] != "FAILED":
        return None
    if "failure" in end:
        return FailureKind(end["failure"])
    cause = str(end.get("cause") or "")
    if cause == "closed by raysel reconcile":
        return FailureKind.CLOSED
    if cause.startswith("worker lost"):
        return FailureKind.WORKER_LOST
    if "not finite at epoch" in cause or re.match(r"(test|confirm)/.* not finite$", cause):
        return FailureKind.NOT_FINITE
    return FailureKind.DIVERGED if cause.startswith("diverged") else FailureKind.ERROR


def halved_at_epoch(epoch: Mapping[str, Any]) -> int | None:
    """The epoch from which on a trial has half the batch, in the payload of an epoch that tells of
    it; None elsewhere. Older records have a sentence only."""
    if "halved_at_epoch" in epoch:
        return int(epoch["halved_at_epoch"])
    found = re.match(r"out of memory at batch \d+ in epoch (\d+)", str(epoch.get("note") or ""))
    return int(found[1]) if found else None
