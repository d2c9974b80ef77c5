"""The weights that every trial of a sweep begins with."""

from __future__ import annotations

import raysel.sweep.ray_env  # noqa: F401

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from raysel import user_code
from raysel.models.build import Blueprint
from raysel.spec import Spec
from raysel.sweep.engine import StopRequest
from raysel.sweep.placing import of_task
from raysel.tasks.data import Task
from raysel.training.share import keep_to_share
from raysel.training.source import SourceModel, keep_source_model, kept_source_model, source_model


@dataclass(frozen=True)
class FirstWeights:
    """Arrays by name, and the source model that they are, if they are one's."""

    arrays: dict[str, Any]
    source: SourceModel | None

    @property
    def source_facts(self) -> dict[str, float] | None:
        """What is told of the source model."""
        if self.source is None:
            return None
        return {"validation_accuracy": self.source.accuracy, "seconds": self.source.seconds}


def of_the_source(
    spec: Spec,
    task: Task,
    blueprint: Blueprint,
    code: tuple[user_code.Source, ...],
    cache: Path,
    stop: StopRequest,
) -> FirstWeights | None:
    """Those of a source model, which is trained where none is kept.

    Args:
        code: what the worker that trains has to know.
        cache: the folder of source models.
        stop: ends the training.

    Returns:
        None where the sweep was to stop before they were there.
    """
    model = _source_model(spec, task, blueprint, code, cache, stop)
    if model is None:
        return None
    return FirstWeights({name: tensor.numpy() for name, tensor in model.weights.items()}, model)


def _source_model(
    spec: Spec,
    task: Task,
    blueprint: Blueprint,
    code: tuple[user_code.Source, ...],
    cache: Path,
    stop: StopRequest,
) -> SourceModel | None:
    seed, cpus = spec.task.split.seed, spec.resources.cpus
    kept = kept_source_model(task, blueprint, seed, cpus, cache)
    if kept is not None:
        return kept
    # with a trial's resources, on a worker: the driver's machine may have no GPU
    remote = ray.remote(**of_task(spec.resources))(_train_source)
    task = replace(task, test=None)  # type: ignore[arg-type]  # sealed parts stay here
    training = remote.remote(code, spec.resources.gpus, task, blueprint, seed, cpus, cache)
    while not ray.wait([training], timeout=0.2)[0]:
        if stop.asked:  # it has no epoch that could be gone on from
            ray.cancel(training, force=True)
            return None
    model: SourceModel = ray.get(training)
    if kept_source_model(task, blueprint, seed, cpus, cache) is None:
        keep_source_model(model, task, blueprint, seed, cpus, cache)  # the worker's disk has it
    return model


def _train_source(code: tuple[user_code.Source, ...], gpus: float, *arguments: Any) -> SourceModel:
    """`source_model` on a worker, to which the model may be known by the user's code alone."""
    user_code.load(code)
    keep_to_share(gpus)
    return source_model(*arguments)
