"""What a layer-selection strategy is: a weight for every layer at every step.

A strategy answers one question: at this step, with what weight w_l >= 0 does each layer l
move? The optimizer then uses the learning rate lr * w_l for layer l; w_l = 0 leaves the
layer's parameters untouched, bit for bit. A new strategy is one class in one file with
`@register` above it; the sweep file, the search space, the loop and the report find it
by its name.

Shapes: L layers of the partition, T tensors that may move.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from raysel.errors import nearest
from raysel.models.layers import Partition
from raysel.spec import Choice, Distribution, FloatRange, IntRange, TrainingOverride
from raysel.training_spec import BatchNorm

Need = Literal["source_inputs", "source_labels"]
"""What a strategy must have beside the target's training data."""

Domain = Literal["target", "source"]


# --- what a strategy declares ---------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """One parameter of a strategy.

    Attributes:
        default: the paper's value; None where the user must give one.
        kind: `float`, `int`, `bool`, `choice` (of `options`), or `layers`: one or several
            layer names of the model, joined by `+`.
        low, high: the accepted range of a number; the ends belong to it unless `open_ends`.
        optional: whether None is a value (the strategy then computes its own).
        published: the paper's value where the default is computed.
        search: what the word `search` in a sweep file stands for; for `layers` it is
            every layer of the model.
    """

    name: str
    kind: Literal["float", "int", "bool", "choice", "layers"]
    default: Any
    help: str
    low: float = -math.inf
    high: float = math.inf
    open_ends: bool = False
    options: tuple[str, ...] = ()
    optional: bool = False
    published: Any = None
    search: Distribution | None = None

    def problem(self, value: Any, layers: Iterable[str]) -> str | None:
        """What is wrong with `value` for a model with these `layers`; None if nothing is."""
        if value is None and self.optional:
            return None
        if self.kind == "layers":
            return self._layers_problem(value, list(layers))
        if self.kind == "bool":
            return None if isinstance(value, bool) else f"{value!r} is not true or false"
        if self.kind == "choice":
            known = value in self.options
            return None if known else f'"{value}" is unknown; {nearest(str(value), self.options)}'
        return self._number_problem(value)

    def _number_problem(self, value: Any) -> str | None:
        whole = self.kind == "int"
        accepted = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, accepted):
            return f"{value!r} is not a {'whole ' if whole else ''}number; {self._paper()}"
        inside = self.low < value < self.high if self.open_ends else self.low <= value <= self.high
        return None if inside else f"{value:g} is outside {self.interval()}; {self._paper()}"

    def _layers_problem(self, value: Any, layers: list[str]) -> str | None:
        if not isinstance(value, str) or not value:
            return f"give one of {', '.join(layers)}, or several joined by +"
        for name in value.split("+"):
            if name not in layers:
                return f'the model has no layer "{name}"; it has {", ".join(layers)}'
        return None

    def _paper(self) -> str:
        if self.default is None:
            return "there is no default"
        return f"the paper uses {self.default}"

    def interval(self) -> str:
        """The accepted range as it is written: `(0, 1)`, `[1, 6]`, `[0, inf)`."""
        left = "(" if self.open_ends or math.isinf(self.low) else "["
        right = ")" if self.open_ends or math.isinf(self.high) else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"


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
        finite: None where the step is known to be sound; on an accelerator a 0-dim bool
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
    def present(self) -> Tensor | None:
        """[T] bool: which tensors got a gradient at this step; None where all of them did."""
        had = [gradient is not None for gradient in self.gradients]
        return None if all(had) else torch.tensor(had, device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.squared_norms.device

    def reached(self, present: Tensor) -> Tensor:
        """[L] bool: which layers have a tensor among `present` [T]."""
        return self.by_layer(present) > 0

    def by_layer(self, values: Tensor) -> Tensor:
        """Sum [T] per-tensor values into [L] per-layer ones, float64."""
        total = torch.zeros(self.layer_count, dtype=torch.float64, device=values.device)
        return total.index_add_(0, self.layer_of, values.to(torch.float64))


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
            data (bias-variance guidance, errata 25); None where there is no such thing.
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
    random state as they were: the model is handed out as a copy.
    """

    partition: Partition
    fresh_head: bool
    """Whether the head was initialised anew, so that it says nothing about the source."""

    def model(self) -> AbstractContextManager[nn.Module]:
        """A copy of the model as it is now, in eval mode, to measure or to wreck; every
        parameter that belongs to the partition requires a gradient."""
        ...

    def fine_tuned(self, epochs: int) -> AbstractContextManager[nn.Module]:
        """A copy that was fully fine-tuned on the target's training data for some epochs, as
        this trial trains, then put into eval mode (D23); 0 epochs is `model()`.
        """
        ...

    def batches(self, domain: Domain, count: int | None = None) -> Sequence[Batch]:
        """`count` training batches (all of them if None), the same at every call."""
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
    cost: ClassVar[Cost] = Cost()

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
        layers = (self.partition.layers[index] for index in self.trainable())
        return frozenset(name for layer in layers for name in layer.parameters)

    def active(self, epoch: int, epochs: int) -> list[int]:
        """Indices of the layers that may move in this epoch of `epochs`.

        The others rest: they get no gradient, their optimizer state stays as it is, and the
        backward pass ends above the lowest active layer. Asked after `epoch_start`.
        """
        return self.trainable()

    def active_parameters(self, epoch: int, epochs: int) -> frozenset[str]:
        """Names of the parameters that may move in this epoch: those of the active layers."""
        layers = (self.partition.layers[index] for index in self.active(epoch, epochs))
        named = frozenset(name for layer in layers for name in layer.parameters)
        return named & self.trainable_parameters()

    def prepare(self, probe: Probe) -> None:
        """Called once before training."""

    def epoch_start(self, epoch: int, epochs: int, probe: Probe) -> None:
        """Called before each epoch (counted from 1) of `epochs`."""

    @abstractmethod
    def decide(self, step: Step) -> Decision:
        """The weight of every layer at this step, [L] float32."""

    def state_dict(self) -> dict[str, Any]:
        """Everything learnt, as tensors and plain values; empty for a static strategy."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""


# --- the registry ------------------------------------------------------------------------------

_REGISTRY: dict[str, type[Strategy]] = {}


def register(strategy: type[Strategy]) -> type[Strategy]:
    """Class decorator: make a strategy known by its name.

    Raises:
        ValueError: another class has that name.
    """
    known = _REGISTRY.get(strategy.name)
    if known and (known.__module__, known.__qualname__) != (
        strategy.__module__,
        strategy.__qualname__,
    ):
        raise ValueError(f'two strategies are named "{strategy.name}"')
    _REGISTRY[strategy.name] = strategy
    return strategy


def registered() -> dict[str, type[Strategy]]:
    """Every known strategy by name, in alphabetical order."""
    return dict(sorted(_REGISTRY.items()))


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
    "register",
    "registered",
]
