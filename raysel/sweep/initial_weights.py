"""The weights that every trial of a sweep begins with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raysel.engine.source_training import train_on_worker
from raysel.engine.tune import StopRequest
from raysel.models.build import ModelConfig
from raysel.spec import user_code
from raysel.spec.sweep import Spec
from raysel.sweep.results import SourceFacts
from raysel.tasks.data import Task
from raysel.training.source_model import (
    SourceModel,
    StepProgress,
    cache_source_model,
    cached_source_model,
)


@dataclass(frozen=True)
class FirstWeights:
    """Arrays by name, and the source model that they come from, if any."""

    arrays: dict[str, Any]
    source: SourceModel | None

    @property
    def source_facts(self) -> SourceFacts | None:
        """What is reported about the source model."""
        if self.source is None:
            return None
        facts = self.source
        return SourceFacts(validation_accuracy=facts.accuracy, seconds=facts.seconds)


def of_the_source(
    spec: Spec,
    task: Task,
    model_config: ModelConfig,
    code: tuple[user_code.Source, ...],
    cache: Path,
    stop: StopRequest,
    progress: StepProgress,
) -> FirstWeights | None:
    """The weights of a source model, which is trained if none is cached.

    Args:
        code: the user's code that the training worker must load.
        cache: the folder of source models.
        stop: ends the training.
        progress: called now and then with the steps done and the total.

    Returns:
        None if the sweep was stopped before they were trained.
    """
    model = _source_model(spec, task, model_config, code, cache, stop, progress)
    if model is None:
        return None
    return FirstWeights({name: tensor.numpy() for name, tensor in model.weights.items()}, model)


def _source_model(
    spec: Spec,
    task: Task,
    model_config: ModelConfig,
    code: tuple[user_code.Source, ...],
    cache: Path,
    stop: StopRequest,
    progress: StepProgress,
) -> SourceModel | None:
    seed, cpus = spec.task.split.seed, spec.resources.cpus
    kept = cached_source_model(task, model_config, seed, cpus, cache)
    if kept is not None:
        return kept
    task = replace(task, test=None)  # type: ignore[arg-type]  # sealed parts stay here
    model = train_on_worker(spec, task, model_config, code, cache, stop, progress)
    if model is None:
        return None
    if cached_source_model(task, model_config, seed, cpus, cache) is None:
        cache_source_model(model, task, model_config, seed, cpus, cache)  # the worker's disk has it
    return model
