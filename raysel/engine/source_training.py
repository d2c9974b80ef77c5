"""The training of the source model on a worker, with a trial's resources."""

from __future__ import annotations

import raysel.engine.ray_env  # noqa: F401

import math
import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from raysel.engine.capacity import of_task
from raysel.engine.trial_source import StopRequest
from raysel.models.build import ModelConfig
from raysel.spec import user_code
from raysel.spec.sweep import Spec
from raysel.tasks.data import Task
from raysel.training.gpu_share import keep_to_share
from raysel.training.source_model import (
    SourceModel,
    SourceTraining,
    StepProgress,
    source_model,
)

_REPORT_SECONDS = 1.0
"""Seconds between two progress reports of the training worker."""


def train_on_worker(
    spec: Spec,
    task: Task,
    model_config: ModelConfig,
    code: tuple[user_code.Source, ...],
    how: SourceTraining,
    cache: Path,
    stop: StopRequest,
    progress: StepProgress,
) -> SourceModel | None:
    """Train the source model on a worker.

    Args:
        code: the user's code that the worker must load.
        how: it is trained.
        cache: the folder of source models.
        stop: ends the training.
        progress: called now and then with the steps done and the total.

    Returns:
        None if the sweep was stopped before training ended.

    Raises:
        UserError: the user's own model failed.
    """
    # with a trial's resources, on a worker: the driver's machine may have no GPU
    remote = ray.remote(**of_task(spec.resources))(_train_source)
    steps = ray.remote(num_cpus=0)(_step_count()).remote()
    arguments = (task, model_config, how, cache)
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
    try:
        model: SourceModel = ray.get(training)
    except RayTaskError as error:
        raise error.cause from error  # Ray's own begins with a line about its process
    ray.kill(steps)
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
    model_config: ModelConfig,
    how: SourceTraining,
    cache: Path,
) -> SourceModel:
    """`source_model` on a worker, to which the model may be known by the user's code alone."""
    user_code.load(code)
    keep_to_share(gpus)
    last = -math.inf

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _REPORT_SECONDS:
            last = time.monotonic()
            steps.set.remote(done, total)

    return source_model(task, model_config, how, cache, progress)
