"""What a layer-selection strategy is: a weight for every layer at every step.

A strategy answers one question: at this step, with what weight w_l >= 0 does each layer l
move? The optimizer then uses the learning rate lr * w_l for layer l; w_l = 0 leaves the
layer's parameters untouched, bit for bit. A new strategy is one class in one file with
`@register` (`raysel.strategies.registry`) above it; the sweep file, the search space, the loop
and the report find it by its name.

Shapes: L layers of the partition, T tensors that may move.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from raysel.common.deferred_torch import Tensor, nn, torch
from raysel.models.partition_types import Partition
from raysel.spec.sweep import Choice, FloatRange, IntRange, TrainingOverride
from raysel.spec.training import BatchNorm
from raysel.strategies.parameter import Parameter

Need = Literal["source_inputs", "source_labels"]
"""What a strategy must have beside the target's training data."""

Domain = Literal["target", "source"]


# --- what a strategy declares ---------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a strategy costs beside an ordinary training step, in words and units."""

    before: str = "nothing"
    during: str = "nothing"
    memory: str = "nothing"


# --- what a strategy sees ---------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One training step, after backward and before the update.

    The gradients are as backward left them (unclipped, unscaled); the optimizer's state
    has already taken them in.

    Attributes:
        number: counts the trial's steps from 1.
        parameters: T tensors that may move, in forward order.
        gradients: T gradients of the parameters' shapes; None where the step gave none.
        squared_norms: [T] float64, sum of squares of each gradient (0 where it is None).
        layer_of: [T] int64, the layer of each tensor.
        layer_count: L.
        momentum_buffers: T sums of past gradients with decay `momentum`, if the optimizer
            keeps exactly those (SGD, no L2 decay, no clipping), else None.
        momentum: that decay.
        finite: None where the step is known to be finite; on an accelerator a 0-dim bool
            tensor: where it is false, a strategy must leave its statistics as they are.
        seed: the trial's, for strategies that draw.
    """

    number: int
    parameters: list[nn.Parameter]
    gradients: list[Tensor | None]
    squared_norms: Tensor
    layer_of: Tensor
    layer_count: int
    momentum_buffers: list[Tensor] | None
    momentum: float
    finite: Tensor | None = None
    seed: int = 0

    @property
    def has_gradient(self) -> Tensor | None:
        """[T] bool: which tensors got a gradient at this step; None where all of them did."""
        had = tuple(gradient is not None for gradient in self.gradients)
        return None if all(had) else _flags(had, self.device)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.squared_norms.device

    def layers_with(self, has_gradient: Tensor) -> Tensor:
        """[L] bool: which layers have a tensor among `has_gradient` [T]."""
        return self.by_layer(has_gradient) > 0

    def by_layer(self, values: Tensor) -> Tensor:
        """Sum per-tensor values [..., T] into per-layer ones [..., L], float64."""
        shape = (*values.shape[:-1], self.layer_count)
        total = torch.zeros(shape, dtype=torch.float64, device=values.device)
        return total.index_add_(-1, self.layer_of, values.to(torch.float64))


@lru_cache(maxsize=16)
def _flags(values: tuple[bool, ...], device: torch.device) -> Tensor:
    """Made once: a copy to the device would wait for the host at every step."""
    return torch.tensor(values, device=device)


@dataclass(frozen=True)
class Decision:
    """A strategy's answer.

    Attributes:
        weights: [L] float32, >= 0. On the CPU they are known to the host and layers at 0
            are skipped; on an accelerator they are applied there without a host
            synchronisation. A strategy that knows its weights on the host returns a CPU
            tensor, whatever the model's device.
        scores: [L] what the weights were decided by, for the selection trace.
        transient: 0-dim, 1 where the decision still rests on a start value and not on the
            data (docs/algorithms.md, D6); None where there is no such thing.
    """

    weights: Tensor
    scores: Tensor | None = None
    transient: Tensor | None = None


class Batch(Protocol):
    """Inputs [n, c, h, w] and labels [n] on the model's device."""

    @property
    def images(self) -> Tensor:
        """[n, c, h, w], normalised."""
        ...

    @property
    def labels(self) -> Tensor:
        """[n] int64."""
        ...


class Probe(Protocol):
    """Measured access to the model and to data, before training and between epochs.

    Whatever is done through it leaves the trained model's weights, buffers, flags and the
    random state as they were: the model is given as a copy.
    """

    partition: Partition
    fresh_head: bool
    """Whether the head was newly initialised, so that it says nothing about the source."""

    def model(self) -> AbstractContextManager[nn.Module]:
        """A copy of the model as it is now, in eval mode, to measure or to modify; every
        parameter that belongs to the partition requires a gradient."""
        ...

    def fine_tuned(self, epochs: int) -> AbstractContextManager[nn.Module]:
        """A copy that was fully fine-tuned on the target's training data for some epochs, as
        this trial trains, then put into eval mode (D23); 0 epochs is `model()`.
        """
        ...

    def batches(self, domain: Domain, count: int | None = None) -> Sequence[Batch]:
        """`count` training batches (all of them if None), drawn by the trial's seed and the epoch:
        the same at every call before the next epoch."""
        ...


# --- the contract ----------------------------------------------------------------------------


class Strategy(ABC):
    """How one method chooses layers. Subclasses declare the class attributes, then implement
    `decide` and whatever else they need."""

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str]
    """Citation and equation."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    published: ClassVar[TrainingOverride] = TrainingOverride()
    """How the paper trains: tried first, and taken whole by `training: published`."""
    batch_norm: ClassVar[BatchNorm] = "train"
    """The paper's own mode (D4), used by `training.batch_norm: published` alone."""
    differs: ClassVar[str] = ""
    """Where it departs from its paper or the release, and what of `published` is raysel's."""
    cost: ClassVar[Cost] = Cost()

    @classmethod
    def needs_with(cls, given: Mapping[str, Any]) -> frozenset[Need]:
        """What it needs with some parameters; `needs`, unless one of them says more.

        Args:
            given: of an arm in the sweep file: constants, distributions, or `search`.
        """
        return cls.needs

    @classmethod
    def problem(cls, partition: Partition) -> str | None:
        """Why it cannot choose among a model's layers, in words; None where it can.

        Known before a sweep: a strategy of attention alone has nothing to move in a ResNet.
        """
        return None

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        """
        Args:
            partition: the model's layers.
            values: a value for each declared parameter; defaults fill what is missing.
        """
        self.partition = partition
        self.values = {p.name: values.get(p.name, p.default) for p in self.parameters}

    @classmethod
    def refine(cls, partition: Partition) -> Partition:
        """The partition that this strategy works on; the sweep's own unless it wants finer."""
        return partition

    def trainable(self) -> list[int]:
        """Indices of the layers that may ever move; all others are frozen before training."""
        return list(range(len(self.partition)))

    def trainable_parameters(self) -> frozenset[str]:
        """Names of the parameters that may ever move: those of the trainable layers."""
        return self.partition.parameters_of(self.trainable())

    def active(self, epoch: int, epochs: int) -> list[int]:
        """Indices of the layers that may move in this epoch of `epochs`.

        The others are inactive: they get no gradient, their optimizer state stays as it is, and the
        backward pass ends above the lowest active layer. Asked after `epoch_start`.
        """
        return self.trainable()

    def active_parameters(self, epoch: int, epochs: int) -> frozenset[str]:
        """Names of the parameters that may move in this epoch: those of the active layers."""
        active = self.partition.parameters_of(self.active(epoch, epochs))
        return active & self.trainable_parameters()

    def needs_gradients(self, number: int, seed: int) -> Sequence[int] | None:
        """Indices of the layers whose gradients step `number` (from 1) needs; None: of all that
        are active. `seed` is the trial's, as in `Step`.

        Asked before each step, of a strategy that can do without some: the others get no
        gradient at this step, the optimizer's state of theirs stays as it is, and the backward
        pass ends above the lowest layer that is named. What the answer rests on must be known to
        the host; a strategy that reads it from the device says how often.
        """
        return None

    def prepare(self, probe: Probe) -> None:
        """Called once before training."""

    def epoch_start(self, epoch: int, epochs: int, probe: Probe) -> None:
        """Called before each epoch (counted from 1) of `epochs`."""

    @abstractmethod
    def decide(self, step: Step) -> Decision:
        """The weight of every layer at this step, [L] float32."""

    def take_notes(self) -> list[str]:
        """What a reader of the trial should know of the last measurement, in a sentence each; asked
        after an epoch, whose record keeps them, and each given once."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Everything learnt, as tensors and plain values; empty for a static strategy."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""


__all__ = [
    "Batch",
    "Choice",
    "Cost",
    "Decision",
    "Domain",
    "FloatRange",
    "IntRange",
    "Need",
    "Parameter",
    "Probe",
    "Step",
    "Strategy",
    "TrainingOverride",
]

if not TYPE_CHECKING:  # strategy files that were written before the registry had a file of its own

    def __getattr__(name: str) -> Any:
        if name not in ("register", "registered"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("raysel.strategies.registry"), name)
