"""Run one trial in this process, without Ray: for a single trial, for debugging, and
to run a recorded trial again.

The lines that compute are the sweep's own (`raysel.training.trial`), with the same threads,
data and source model, so that the numbers are the same as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from raysel.common.errors import OperationalError, nearest, user_error
from raysel.record.layout import SweepFolder
from raysel.search.arms import of_model, strategies_of
from raysel.search.space import Space
from raysel.spec import user_code
from raysel.spec.sweep import RANGE_STEPS, Spec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.inputs import SweepInputs, read_inputs, ready_weights, source_training
from raysel.sweep.source_gate import refuse_weak
from raysel.tasks.data import Task
from raysel.tasks.data_summary import DataSummary
from raysel.training.range_run import RangeRun
from raysel.training.source_model import (
    LINE_SECONDS,
    SourceModel,
    StepProgress,
    TrainingClock,
    cached_source_model,
    source_model,
)
from raysel.training.trial import TrialRun
from raysel.training.trial_worker import PhaseContext, TrialWorker
from raysel.training.worker_messages import EnvironmentErrorMessage, EpochMessage, FailureMessage

Notify = Callable[[str], None]
"""Called with a line for each long step."""


def prepare_inputs(
    spec: Spec,
    code: tuple[user_code.Source, ...],
    notify: Notify,
    opened: Callable[[DataSummary], None] | None = None,
    confirm: bool = False,
    refuse: Callable[[Task], None] | None = None,
) -> SweepInputs:
    """Load the task; read, find or train the initial weights.

    Args:
        opened: called with what was read, before pictures are decoded.
        confirm: also what confirm runs need: their splits and source models.
        refuse: called with the task before a source model is trained; it may raise.
    """
    splits = spec.confirm.most_splits if confirm else 0
    inputs = read_inputs(spec, code, opened=opened, splits=splits)
    if refuse is not None:
        refuse(inputs.task)
    for note in inputs.task.notes:
        notify(f"note     {note}")
    count = spec.confirm.source_seeds if confirm else 1

    def with_weights(own: SweepInputs) -> SweepInputs:
        ready = ready_weights(own.spec, own.model_config, lambda note: notify(f"note     {note}"))
        if ready is not None:
            return replace(own, weights=ready)
        return own.with_source([_source_model(own.seeded(i), notify) for i in range(count)])

    return inputs.mapped(with_weights)


def _source_model(inputs: SweepInputs, notify: Notify) -> SourceModel:
    """The sweeps' own source model, from their cache or into it."""
    spec = inputs.spec
    cache = SweepFolder.of(spec.storage, spec.name).source_cache
    arguments = (inputs.task, inputs.model_config, source_training(inputs), cache)
    model = cached_source_model(*arguments)
    if model is None:
        notify(f"source   training {spec.model_name} on the source part …")
        model = source_model(*arguments, progress=_throttled(notify))
    how = f"{model.seconds:.0f} s" if model.seconds else "kept from before"
    notify(f"source   {100 * model.accuracy:.1f} % validation accuracy ({how})")
    refuse_weak(model, spec)
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
) -> Iterator[tuple[EpochMessage | FailureMessage, TrialRun]]:
    """Run a trial to its end and yield each message with the run.

    The trial ends with its last epoch, a failure, or after `step_limit` optimizer steps.

    Args:
        halved_at_epoch: the epoch from which on the trial has half the batch.

    Raises:
        OperationalError: the disk is full, say.
    """
    before = torch.get_num_threads()
    try:
        steps = TrialRun(TrialWorker(shared, step_limit), trial, config)
        for epoch in itertools.count(1):
            if epoch == halved_at_epoch:
                steps.halve()
            message = steps.epoch()
            if isinstance(message, EnvironmentErrorMessage):
                raise OperationalError(str(shared.folder), message.cause)
            yield message, steps
            tuning = steps.tuning  # None after a failure
            if tuning is None or tuning.step == step_limit or tuning.is_over:
                return
    finally:
        torch.set_num_threads(before)


def run_range_test(shared: PhaseContext, config: TrialConfig) -> EpochMessage | FailureMessage:
    """What a range test before a search finds (`search.first: range_test`).

    Raises:
        OperationalError: the disk is full, say.
    """
    before = torch.get_num_threads()
    try:
        message = RangeRun(TrialWorker(shared), config, RANGE_STEPS).epoch()
    finally:
        torch.set_num_threads(before)
    if isinstance(message, EnvironmentErrorMessage):
        raise OperationalError(str(shared.folder), message.cause)
    assert isinstance(message, EpochMessage | FailureMessage)
    return message


@dataclass(frozen=True)
class First:
    """The first trial that a sweep gives a strategy.

    Attributes:
        searched: the values that the sweep would search.
    """

    config: TrialConfig
    searched: dict[str, Any]


def part_of(spec: Spec, strategy: str | None) -> tuple[Spec, str]:
    """An arm, and the part of the sweep that has its model: of one model the whole.

    Args:
        strategy: its name; None takes the file's first one.

    Raises:
        UserError: the sweep has no such strategy.
    """
    arms = strategies_of(spec)
    name = next(iter(arms)) if strategy is None else strategy
    if name not in arms:
        hint = nearest(name, arms)
        raise user_error("--strategy", f'the sweep has no strategy "{name}"; {hint}')
    return of_model(spec, arms[name].model or ""), name


def published(space: Space, strategy: str) -> First:
    """The first trial that a sweep gives a strategy: the paper's own values."""
    config = space.first_configuration(strategy)
    return First(config, space.searched_values(config))
