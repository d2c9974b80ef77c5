"""Run one trial in this process, without Ray: for a single trial, for debugging, and
to run a recorded trial again.

The lines that compute are the sweep's own (`raysel.training.trial`), with the same threads,
data and source model, so that the numbers are the same as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FixedTrial

from raysel.common.errors import OperationalError, nearest, user_error
from raysel.models.build import ModelConfig
from raysel.models.layers import Partition
from raysel.record.layout import SweepFolder
from raysel.search.space import STRATEGY, Space
from raysel.spec import user_code
from raysel.spec.sweep import Spec, TrialConfig
from raysel.sweep.inputs import (
    Weights,
    layers_of,
    model_config_of,
    ready_weights,
    shared_by_trials,
    task_of,
)
from raysel.tasks.data import Task
from raysel.tasks.data_summary import DataSummary
from raysel.training.source_model import (
    LINE_SECONDS,
    SourceModel,
    StepProgress,
    TrainingClock,
    cached_source_model,
    source_model,
)
from raysel.training.trial import PhaseContext, TrialRunner
from raysel.training.worker_messages import EnvironmentErrorMessage, EpochMessage, FailureMessage

Notify = Callable[[str], None]
"""Called with a line for each long step."""


@dataclass(frozen=True)
class TrialInputs:
    """The inputs of a sweep's trials, made or loaded in this process."""

    spec: Spec
    task: Task
    layers: Partition
    model_config: ModelConfig
    weights: Weights
    code: tuple[user_code.Source, ...]

    def shared(self, folder: Path, keep_best: bool = False) -> PhaseContext:
        """The context of a trial of the search; its files go into `folder`.

        Args:
            keep_best: remember the weights of the best epoch; no number depends on it.
        """
        shared = shared_by_trials(
            self.spec, self.task, self.layers, self.model_config, self.weights, folder, self.code
        )
        return replace(shared, keep_best=keep_best)


def prepare_inputs(
    spec: Spec,
    code: tuple[user_code.Source, ...],
    notify: Notify,
    opened: Callable[[DataSummary], None] | None = None,
) -> TrialInputs:
    """Load the task; read, find or train the initial weights.

    Args:
        opened: called with what was read, before pictures are decoded.
    """
    user_code.load(code)
    task = task_of(spec, opened=opened)
    for note in task.notes:
        notify(f"note     {note}")
    model_config = model_config_of(spec, task)
    weights = ready_weights(spec, model_config)
    if weights is None:
        model = _source_model(spec, task, model_config, notify)
        weights = {name: tensor.numpy() for name, tensor in model.weights.items()}
    return TrialInputs(spec, task, layers_of(spec, task), model_config, weights, code)


def _source_model(spec: Spec, task: Task, model_config: ModelConfig, notify: Notify) -> SourceModel:
    """The sweeps' own source model, from their cache or into it."""
    cache = SweepFolder.of(spec.storage, spec.name).source_cache
    arguments = (task, model_config, spec.task.split.seed, spec.resources.cpus, cache)
    model = cached_source_model(*arguments)
    if model is None:
        notify(f"source   training {spec.model.name} on the source part …")
        model = source_model(*arguments, progress=_throttled(notify))
    how = f"{model.seconds:.0f} s" if model.seconds else "kept from before"
    notify(f"source   {100 * model.accuracy:.1f} % validation accuracy ({how})")
    return model


def _throttled(notify: Notify) -> StepProgress:
    clock = TrainingClock(LINE_SECONDS)

    def progress(done: int, total: int) -> None:
        if line := clock.line(done, total):
            notify(f"source   {line}")

    return progress


def run(
    shared: PhaseContext,
    trial: str,
    config: TrialConfig,
    step_limit: int | None = None,
    halved_at_epoch: int | None = None,
) -> Iterator[tuple[EpochMessage | FailureMessage, TrialRunner]]:
    """Run a trial to its end and yield each message with the runner.

    The trial ends with its last epoch, a failure, or after `step_limit` optimizer steps.

    Args:
        halved_at_epoch: the epoch from which on the trial has half the batch.

    Raises:
        OperationalError: the disk is full, say.
    """
    before = torch.get_num_threads()
    steps = TrialRunner(shared, step_limit)
    try:
        steps.begin(trial, config)
        for epoch in itertools.count(1):
            if epoch == halved_at_epoch:
                steps.halve()
            message = steps.epoch()
            if isinstance(message, EnvironmentErrorMessage):
                raise OperationalError(str(shared.folder), message.cause)
            yield message, steps
            short = steps.run is not None and steps.run.step == step_limit
            failed = isinstance(message, FailureMessage)
            if failed or short or message.epoch >= config.training.epochs:
                return
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class First:
    """The first trial that a sweep gives a strategy.

    Attributes:
        searched: the values that the sweep would search.
    """

    config: TrialConfig
    searched: dict[str, Any]


def published(spec: Spec, layers: Partition, strategy: str | None) -> First:
    """The first trial that a sweep gives a strategy: the paper's own values.

    Args:
        strategy: its name; None takes the file's first one.

    Raises:
        UserError: the sweep has no such strategy.
    """
    space = Space(spec, layers.names)
    name = space.strategies[0] if strategy is None else strategy
    if name not in space.strategies:
        hint = nearest(name, space.strategies)
        raise user_error("--strategy", f'the sweep has no strategy "{name}"; {hint}')
    firsts = dict(zip(space.strategies, space.first_trials(), strict=True))
    config = space.suggest(FixedTrial({STRATEGY: name} | firsts[name]))
    return First(config, space.searched_values(config))
