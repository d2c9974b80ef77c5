"""Data, weights and resources that a sweep file names and this machine lacks.

The file itself may be valid: a sweep is often checked on one machine and run on another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from raysel.common.errors import Problem
from raysel.engine.capacity import Node, too_large
from raysel.models.weight_sources import why_absent, why_not_available
from raysel.spec.sweep import Spec
from raysel.tasks.opened_task import OpenedTask

WITHOUT_DATA = "--without-data"


def absences(spec: Spec, task: OpenedTask) -> list[Problem]:
    """What `raysel run` would not find here: data, a split file, weights."""
    return [*_data(spec, task), *_weights(spec)]


def resource_warnings(spec: Spec) -> list[Problem]:
    """Why a trial fits onto no node here; empty if RAY_ADDRESS names a cluster."""
    if os.environ.get("RAY_ADDRESS"):
        return []
    cpus = {"CPU": float(os.cpu_count() or 1)}
    if not too_large([Node("this machine", cpus)], spec.resources):
        return []  # before torch is asked for the GPUs
    way_on = "raysel run refuses it here; on a cluster: raysel submit FILE --address ADDRESS"
    return [
        Problem(problem.path, f"{problem.message}. {way_on}")
        for problem in too_large([Node("this machine", cpus | _gpus())], spec.resources)
    ]


def _gpus() -> dict[str, float]:
    import torch  # noqa: PLC0415  (slow)

    return {"GPU": float(torch.cuda.device_count())}


def _data(spec: Spec, task: OpenedTask) -> Iterator[Problem]:
    if task.absent is None:
        return
    yield Problem("task.data", task.absent)
    indices = spec.task.split.indices
    if indices is not None and not Path(indices).is_file():
        yield Problem("task.split.indices", f"there is no file {indices}")


def _weights(spec: Spec) -> Iterator[Problem]:
    weights, begun = spec.model.weights, spec.source.weights
    if why := why_absent(weights):
        yield Problem("model.weights", why)
    elif weights == "source" and (why := why_absent(begun)):
        yield Problem("source.weights", why)
    elif weights == "pretrained":
        reasons = filter(None, map(why_not_available, spec.model.names))
        yield from (Problem("model.weights", reason) for reason in reasons)
