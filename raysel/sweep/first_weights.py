"""The weights that every trial of a sweep begins with."""

from __future__ import annotations

import raysel.sweep.ray_env  # noqa: F401

import math
import time
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
from raysel.training.source import (
    SourceModel,
    StepProgress,
    keep_source_model,
    kept_source_model,
    source_model,
)

_TOLD_EVERY = 1.0
"""Seconds between two reports of the worker that trains."""


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
    progress: StepProgress,
) -> FirstWeights | None:
    """Those of a source model, which is trained where none is kept.

    Args:
        code: what the worker that trains has to know.
        cache: the folder of source models.
        stop: ends the training.
        progress: is told now and then how many of how many steps are done.

    Returns:
        None where the sweep was to stop before they were there.
    """
    model = _source_model(spec, task, blueprint, code, cache, stop, progress)
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
    progress: StepProgress,
) -> SourceModel | None:
    seed, cpus = spec.task.split.seed, spec.resources.cpus
    kept = kept_source_model(task, blueprint, seed, cpus, cache)
    if kept is not None:
        return kept
    # with a trial's resources, on a worker: the driver's machine may have no GPU
    remote = ray.remote(**of_task(spec.resources))(_train_source)
    task = replace(task, test=None)  # type: ignore[arg-type]  # sealed parts stay here
    steps = ray.remote(num_cpus=0)(_step_count()).remote()
    arguments = (task, blueprint, seed, cpus, cache)
    training = remote.remote(code, spec.resources.gpus, steps, *arguments)
    asked = steps.get.remote()
    while training not in (ended := ray.wait([training, asked], timeout=0.2)[0]):
        if stop.asked:  # it has no epoch that could be gone on from
            ray.cancel(training, force=True)
            return None
        if ended:
            done, total = ray.get(asked)
            if total:
                progress(done, total)
            time.sleep(0.2)
            asked = steps.get.remote()
    model: SourceModel = ray.get(training)
    ray.kill(steps)
    if kept_source_model(task, blueprint, seed, cpus, cache) is None:
        keep_source_model(model, task, blueprint, seed, cpus, cache)  # the worker's disk has it
    return model


def _step_count() -> type:
    """The class of an actor that knows how far the training on a worker is.

    Made in a function, so that Ray sends it by value: the actor's process imports neither raysel
    nor torch, which would take seconds of a core that trains.
    """

    class StepCount:
        def __init__(self) -> None:
            self.steps = (0, 0)

        def set(self, done: int, total: int) -> None:
            self.steps = (done, total)

        def get(self) -> tuple[int, int]:
            return self.steps

    return StepCount


def _train_source(
    code: tuple[user_code.Source, ...],
    gpus: float,
    steps: Any,
    task: Task,
    blueprint: Blueprint,
    seed: int,
    threads: int,
    cache: Path,
) -> SourceModel:
    """`source_model` on a worker, to which the model may be known by the user's code alone."""
    user_code.load(code)
    keep_to_share(gpus)
    last = -math.inf

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _TOLD_EVERY:
            last = time.monotonic()
            steps.set.remote(done, total)

    return source_model(task, blueprint, seed, threads, cache, progress)
