"""The source models of a sweep on a cluster: the cached ones, and those that its workers train."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path

from raysel.common.errors import OperationalError
from raysel.engine.trial_source import Phase, SourceAssignment, Wait
from raysel.record.failure_kind import FailureKind
from raysel.sweep.inputs import SweepInputs, source_training
from raysel.sweep.progress_reporter import ProgressReporter
from raysel.sweep.source_gate import refuse_weak
from raysel.training.source_model import (
    SourceModel,
    StepProgress,
    read_source_model,
    source_file,
    write_source_model,
)
from raysel.training.source_run import (
    SourceContext,
    SourceErrorMessage,
    SourceMessage,
    SourceModelMessage,
    SourceProgressMessage,
)

SOURCE = "source-"
"""What the names of the trainings begin with; no trial's name does."""


def source_phases(
    inputs: SweepInputs,
    cache: Path,
    reporter: ProgressReporter,
    in_training: set[Path],
    next_size: int,
) -> Generator[Phase | Wait, None, SweepInputs]:
    """The phases that make the initial weights, one a model; the inputs with them.

    Args:
        cache: the folder of source models.
        in_training: files of the source models that cells of a suite train now.
        next_size: see `SourceModels.phase`.
    """
    trained = {}
    for own in inputs.each:
        trained[own.model_config.name] = yield from _trained(
            own, cache, reporter, in_training, next_size
        )
    return inputs.mapped(lambda own: own.with_source(trained[own.model_config.name]))


def _trained(
    inputs: SweepInputs,
    cache: Path,
    reporter: ProgressReporter,
    in_training: set[Path],
    next_size: int,
) -> Generator[Phase | Wait, None, list[SourceModel]]:
    """The source models of one model, where they are not cached."""
    source = SourceModels(inputs, cache, reporter.source_training)
    while not in_training.isdisjoint(missing := source.missing):
        yield Wait(partial(in_training.isdisjoint, missing))
        source = SourceModels(inputs, cache, reporter.source_training)
    in_training |= missing
    try:
        if (phase := source.phase(next_size)) is not None:
            yield phase
    finally:
        in_training -= missing
    task = inputs.task
    examples = len(task.source_train or ()) + len(task.source_validation or ())
    for model in source.models:
        reporter.source(model, inputs.spec, examples)
    return source.models


class SourceModels:
    """Assigns the trainings of a sweep's source models; see `raysel.engine.trial_source`.

    Args:
        cache: the folder of source models.
        progress: called now and then with the steps done and the total, of all trainings.
    """

    def __init__(self, inputs: SweepInputs, cache: Path, progress: StepProgress) -> None:
        spec = inputs.spec
        numbers = range(spec.confirm.source_seeds)
        self._spec = spec
        self._prefix = SOURCE + inputs.label
        self._context = SourceContext(
            task=replace(inputs.task, test=None),  # type: ignore[arg-type]  # sealed parts stay here
            model_config=inputs.model_config,
            trainings=tuple(source_training(inputs.seeded(index)) for index in numbers),
            cache=cache,
            code=inputs.code,
            gpus=spec.resources.gpus,
        )
        self._files = {index: self._file(index) for index in numbers}
        found = {index: self._cached(index) for index in numbers}
        self._models = {index: model for index, model in found.items() if model is not None}
        self._waiting = deque(index for index in numbers if index not in self._models)
        self._progress = progress
        self._steps: dict[str, SourceProgressMessage] = {}

    @property
    def models(self) -> list[SourceModel]:
        """Those that are there, in the order of their numbers."""
        return [self._models[index] for index in sorted(self._models)]

    @property
    def missing(self) -> set[Path]:
        """The files of those that are to be trained, by which sweeps that train the same know each
        other."""
        return {self._files[index] for index in self._waiting}

    def phase(self, next_size: int) -> Phase | None:
        """The phase in which they are trained; None where all are cached.

        Args:
            next_size: how many trials come after it, for which workers start meanwhile.

        Raises:
            OperationalError: a cached one is worth less than `source.gate`; none is trained then.
        """
        for model in self.models:
            refuse_weak(model, self._spec)
        if not self._waiting:
            return None
        self._steps = {self._name(index): SourceProgressMessage(0, 0) for index in self._waiting}
        return Phase(self, self._context, len(self._waiting), next_size=next_size)

    def next_trial(self) -> SourceAssignment | None:
        """The next training, None when all have begun."""
        if not self._waiting:
            return None
        index = self._waiting.popleft()
        return SourceAssignment(self._name(index), index)

    def epoch(self, trial: str, message: SourceMessage) -> bool:
        """Take a message of a training; return whether it has ended.

        Raises:
            Exception: the training's own.
            OperationalError: the model is worth less than `source.gate`; the trainings that have
                not ended are not awaited, each of which may take an hour.
        """
        if isinstance(message, SourceErrorMessage):
            raise message.error
        if isinstance(message, SourceProgressMessage):
            self._steps[trial] = message
            self._report()
            return False
        self._keep(int(trial.removeprefix(self._prefix)), message)
        return True

    def failed(self, trial: str, kind: FailureKind, cause: str) -> None:
        """The training lost its worker again and again.

        Raises:
            OperationalError: always.
        """
        raise OperationalError("source", f"the training on the source part failed: {cause}")

    def _report(self) -> None:
        total = max(steps.total for steps in self._steps.values()) * len(self._steps)
        if total:
            self._progress(sum(steps.done for steps in self._steps.values()), total)

    def _keep(self, index: int, message: SourceModelMessage) -> None:
        name, of_all = self._name(index), max(steps.total for steps in self._steps.values())
        self._steps[name] = SourceProgressMessage(of_all, of_all)
        self._models[index] = message.model
        if self._cached(index) is None:  # the worker's disk has it
            write_source_model(message.model, self._files[index])
        refuse_weak(message.model, self._spec)

    def _cached(self, index: int) -> SourceModel | None:
        return read_source_model(self._files[index])

    def _file(self, index: int) -> Path:
        """The file of a source model; it takes a hash of all source examples."""
        context = self._context
        how = context.trainings[index]
        return source_file(context.task, context.model_config, how, context.cache)

    def _name(self, index: int) -> str:
        return f"{self._prefix}{index}"
