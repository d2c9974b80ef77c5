"""The inputs of a sweep's trials: the task, the model's layers, the initial weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from raysel.common.errors import user_error
from raysel.common.locations import user_cache
from raysel.models.build import ModelConfig
from raysel.models.data_config import model_input
from raysel.models.fit_weights import fitted_file
from raysel.models.layers import Partition, partition_of, shapes_of
from raysel.models.pretrained import pretrained_weights
from raysel.models.weight_sources import weights_file, why_absent
from raysel.models.weights import matching_weights
from raysel.search.arms import most_shots, of_model
from raysel.search.space import Space
from raysel.search.validate import needs_source, reads_source
from raysel.search.validate_model import cost_of, space_over
from raysel.spec import user_code
from raysel.spec.arms import label_of
from raysel.spec.model import PackageWeights
from raysel.spec.objective import SOURCE_ERROR
from raysel.spec.sweep import Spec
from raysel.sweep.results import SourceFacts
from raysel.tasks.data import Task
from raysel.tasks.data_summary import DataSummary
from raysel.tasks.datasets import is_pictures
from raysel.tasks.decoding import cache_folder
from raysel.tasks.load_task import load_task
from raysel.tasks.model_input import ModelInput
from raysel.tasks.opened_task import TaskShape
from raysel.tasks.shots import shortage
from raysel.tasks.split_file import digest_of
from raysel.training.source_model import SourceModel, SourceTraining
from raysel.training.trial_worker import PhaseContext

Weights = dict[str, np.ndarray]
"""Initial weights by name; without the classifier where none fits."""


@dataclass(frozen=True)
class SweepInputs:
    """What the trials of a sweep work on.

    Of several models each has inputs of its own: those of the sweep are the first one's, beside
    its spec and `by_model`. Splits and examples are the same for all.

    Attributes:
        code: the user's own files, which are loaded.
        weights: the initial ones; None until they are made.
        more_weights: those of the second source model, the third and so on.
        source: of the source model that they come from, if any.
        by_model: of a sweep of several models those of each; else empty.
    """

    spec: Spec
    code: tuple[user_code.Source, ...]
    task: Task
    layers: Partition
    model_config: ModelConfig
    weights: Weights | None = None
    more_weights: tuple[Weights, ...] = ()
    source: SourceFacts | None = None
    by_model: Mapping[str, SweepInputs] = field(default_factory=dict)

    @cached_property
    def space(self) -> Space:
        """The search space over the models' layers."""
        if not self.by_model:
            return Space(self.spec, self.layers.names)
        layers = {model: own.layers.names for model, own in self.by_model.items()}
        costs = {model: own.cost or 1.0 for model, own in self.by_model.items()}
        return space_over(self.spec, layers, costs)

    @property
    def cost(self) -> float | None:
        """See `raysel.search.validate_model.cost_of`."""
        task = self.task
        return cost_of(self.spec, TaskShape(task.channels, task.image_size, len(task.classes)))

    @property
    def each(self) -> tuple[SweepInputs, ...]:
        """Those of each model."""
        return tuple(self.by_model.values()) or (self,)

    def of_model(self, model: str) -> SweepInputs:
        """Those of a trial's model, by its name; of a sweep of one model, which trials do not name,
        the sweep's."""
        return self.by_model[model] if self.by_model else self

    def of_arm(self, arm: str) -> SweepInputs:
        """Those of an arm's model."""
        return self.of_model(self.space.models.get(arm, ""))

    @property
    def every_layer(self) -> tuple[str, ...]:
        """Names of the layers in forward order, of several models of all: layers of one name are
        listed once."""
        return tuple(dict.fromkeys(name for own in self.each for name in own.layers.names))

    @property
    def layers_by_model(self) -> dict[str, tuple[str, ...]]:
        """The names of each model's layers; empty of one model."""
        return {model: own.layers.names for model, own in self.by_model.items()}

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Number of parameters of each of them; nothing of several models."""
        return () if self.by_model else tuple(layer.size for layer in self.layers.layers)

    @property
    def label(self) -> str:
        """Of the model among several, for names of trainings: `resnet18-`; else empty."""
        of_several = any(arm.model for arm in self.spec.strategies.values())
        return f"{label_of(self.model_config.name)}-" if of_several else ""

    def mapped(self, change: Callable[[SweepInputs], SweepInputs]) -> SweepInputs:
        """The same with each model's inputs changed."""
        if not self.by_model:
            return change(self)
        every = {model: change(own) for model, own in self.by_model.items()}
        return replace(next(iter(every.values())), spec=self.spec, by_model=every)

    def seeded(self, index: int) -> SweepInputs:
        """What the source model of a number is trained with: from the second on another seed."""
        split = self.spec.task.split
        split = split.model_copy(update={"seed": split.seed + index})
        task = self.spec.task.model_copy(update={"split": split})
        return replace(self, spec=self.spec.model_copy(update={"task": task}))

    def with_source(self, models: Sequence[SourceModel]) -> SweepInputs:
        """The same with the weights of the source models."""
        first = models[0]
        weights, *more = (
            {name: tensor.numpy() for name, tensor in model.weights.items()} for model in models
        )
        facts = SourceFacts(validation_accuracy=first.accuracy, seconds=first.seconds)
        return replace(self, weights=weights, more_weights=tuple(more), source=facts)

    def shared(self, folder: Path) -> PhaseContext:
        """The context of the search's trials, without the test part; their files go into the
        sweep's `folder`."""
        if self.by_model:
            every = {model: own.shared(folder) for model, own in self.by_model.items()}
            return replace(next(iter(every.values())), by_model=every)
        assert self.weights is not None
        spec, task = self.spec, self.task
        return PhaseContext(
            model_config=self.model_config,
            partition=self.layers,
            weights=self.weights,
            train=task.train,
            validation=task.validation,
            source=task.source_train if needs_source(spec) else None,
            test=None,
            mean=task.mean,
            std=task.std,
            objective=spec.objective,
            keep_best=False,
            trace_every=spec.trace.every_n_steps,
            threads=spec.resources.cpus,
            folder=folder,
            gpus=spec.resources.gpus,
            classes=task.classes,
            code=self.code,
            diagnostics=spec.trace.diagnostics,
            draws=task.draws,
            more_weights=self.more_weights,
            features=feature_folder(spec),
            source_validation=(
                task.source_validation if SOURCE_ERROR in spec.objective.metrics else None
            ),
        )


def read_inputs(
    spec: Spec,
    code: tuple[user_code.Source, ...],
    decoding: Callable[[int, int], None] | None = None,
    opened: Callable[[DataSummary], None] | None = None,
    splits: int = 0,
) -> SweepInputs:
    """The inputs without weights; see `task_of`."""
    user_code.load(code)
    every: dict[str, SweepInputs] = {}
    known: dict[ModelInput, Task] = {}
    for model in spec.model.names:
        own = of_model(spec, model)
        wanted = model_input(model) if is_pictures(spec.task) else ModelInput()
        if wanted not in known:
            known[wanted] = task_of(own, decoding, None if known else opened, splits)
        task = known[wanted]
        config = model_config_of(own, task)
        every[model] = SweepInputs(own, code, task, layers_of(own, task), config)
    if len({digest_of(task.record) for task in known.values()}) > 1:
        words = f"the data give {spec.model.name} different splits; give one of them"
        raise user_error("model.name", words)
    first = next(iter(every.values()))
    return first if len(every) == 1 else replace(first, spec=spec, by_model=every)


def task_of(
    spec: Spec,
    decoding: Callable[[int, int], None] | None = None,
    opened: Callable[[DataSummary], None] | None = None,
    splits: int = 0,
) -> Task:
    """The task as the sweep's model takes it, of several the first.

    Args:
        decoding: called with the number of decoded pictures and the total.
        opened: called with what was read, before that.
        splits: number of splits to draw again for the confirm phase.

    Raises:
        UserError: the data are missing, or not what the file says, or fewer than it asks for.
    """
    task = load_task(
        spec.task,
        model_input(spec.model.names[0]),
        reads_source(spec),
        decoding,
        opened,
        splits,
        spec.source.augmentation,
    )
    shots = most_shots(spec)
    if shots is not None and (problem := shortage(task.train.labels, task.classes, shots)):
        raise user_error("training.shots", problem)
    return task


def feature_folder(spec: Spec) -> Path | None:
    """Where a node keeps the frozen layers' output: `features` in `task.cache`, or below the user's
    cache folder; None where `training.cache_features` is off."""
    if spec.training.cache_features == "off":
        return None
    if spec.task.cache is not None:
        return cache_folder(spec.task) / "features"
    return user_cache() / "features"


def layers_of(spec: Spec, task: Task) -> Partition:
    """The layers of the sweep's model for its task.

    Raises:
        UserError: the file of the model's weights is not there.
    """
    if why := why_absent(spec.model.weights):
        raise user_error("model.weights", why)
    return partition_of(
        spec.model_name,
        spec.model.partition,
        len(task.classes),
        channels=task.channels,
        head=spec.model.head,
        image_size=task.image_size,
        adapter=spec.model.adapter,
    )


def model_config_of(spec: Spec, task: Task) -> ModelConfig:
    """The sweep's model for its task."""
    model = spec.model
    size = task.image_size
    return ModelConfig(
        spec.model_name, len(task.classes), task.channels, size, model.head, model.adapter
    )


def ready_weights(
    spec: Spec, model_config: ModelConfig, note: Callable[[str], None]
) -> Weights | None:
    """Initial weights that need no training; None where a source model must be made.

    Args:
        note: called with each sentence on how a file's weights were fitted.

    Raises:
        UserError: `model.weights` names a file that cannot be read or does not fit.
        OperationalError: timm's pretrained weights cannot be fetched.
    """
    wanted = spec.model.weights
    return None if wanted == "source" else _named_weights(wanted, model_config, note)


def source_training(inputs: SweepInputs) -> SourceTraining:
    """How the sweep's source model is trained.

    Raises:
        UserError: `source.weights` names a file that cannot be read or does not fit.
        OperationalError: timm's pretrained weights cannot be fetched.
    """
    spec, source = inputs.spec, inputs.spec.source
    cut = None if source.strategy == "full" else layers_of(spec.without_adapter, inputs.task)
    drawn = source.weights == "random"
    return SourceTraining(
        seed=spec.task.split.seed,
        threads=spec.resources.cpus,
        spec=source,
        partition=cut,
        initial=None if drawn else _named_weights(source.weights, inputs.model_config),
    )


def _named_weights(
    wanted: str | PackageWeights,
    model_config: ModelConfig,
    note: Callable[[str], None] = lambda note: None,
) -> Weights:
    """`pretrained`, or those of a file, as far as they fit the model."""
    model = shapes_of(
        model_config.name,
        model_config.classes,
        model_config.channels,
        model_config.head,
        model_config.image_size,
    )
    if wanted == "pretrained":
        found = matching_weights(pretrained_weights(model_config), model)
    else:
        fitted = fitted_file(weights_file(wanted), model)
        found = fitted.weights
        for sentence in fitted.notes:
            note(sentence)
    return {name: tensor.numpy() for name, tensor in found.items()}


@contextmanager
def tested(shared: PhaseContext, task: Task, spec: Spec) -> Iterator[PhaseContext]:
    """The context of the confirm runs, with the test part, and with the source's validation part
    where they begin with the source's model and head."""
    with task.test.opened() as test:
        yield replace(
            shared,
            test=test,
            source_validation=task.source_validation if spec.model.weights == "source" else None,
            keep_best=spec.confirm.epoch == "best",
            test_every_epoch=spec.confirm.test_every_epoch,
        )


@contextmanager
def all_tested(shared: PhaseContext, inputs: SweepInputs) -> Iterator[PhaseContext]:
    """The same of a sweep's inputs, of several models for each."""
    with ExitStack() as stack:

        def unsealed(context: PhaseContext, own: SweepInputs) -> PhaseContext:
            return stack.enter_context(tested(context, own.task, own.spec))

        if not inputs.by_model:
            yield unsealed(shared, inputs)
            return
        every = {m: unsealed(shared.by_model[m], own) for m, own in inputs.by_model.items()}
        yield replace(next(iter(every.values())), by_model=every)
