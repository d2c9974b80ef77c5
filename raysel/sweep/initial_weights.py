"""The source model of a sweep on a cluster: the cached one, or one that a worker trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from raysel.engine.source_training import train_on_worker
from raysel.engine.trial_source import StopRequest
from raysel.sweep.inputs import SweepInputs, source_training
from raysel.training.source_model import (
    SourceModel,
    StepProgress,
    cache_source_model,
    cached_source_model,
)


def of_the_source(
    inputs: SweepInputs, cache: Path, stop: StopRequest, progress: StepProgress, index: int = 0
) -> SourceModel | None:
    """A source model of a sweep, which is trained if none is cached.

    Args:
        cache: the folder of source models.
        stop: ends the training.
        progress: called now and then with the steps done and the total.
        index: which of the source models (`confirm.source_seeds`).

    Returns:
        None if the sweep was stopped before it was trained.
    """
    inputs = inputs.seeded(index)
    spec, model_config = inputs.spec, inputs.model_config
    how = source_training(inputs)
    kept = cached_source_model(inputs.task, model_config, how, cache)
    if kept is not None:
        return kept
    task = replace(inputs.task, test=None)  # type: ignore[arg-type]  # sealed parts stay here
    model = train_on_worker(spec, task, model_config, inputs.code, how, cache, stop, progress)
    if model is None:
        return None
    if cached_source_model(task, model_config, how, cache) is None:
        cache_source_model(model, task, model_config, how, cache)  # the worker's disk has it
    return model
