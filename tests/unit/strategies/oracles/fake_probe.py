"""What the oracle tests hand to a strategy: a probe over a tiny float64 model, and the calls
that the training loop makes, in its order.

Only the public protocol is used: a strategy is made by its registered name, is shown the
probe, and is asked for its decision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysel.models.layers import Layer, Partition
from raysel.strategies import registered
from raysel.strategies.base import Domain, Step, Strategy

Array = np.ndarray
FineTune = Callable[[nn.Module, int], None]


@dataclass(frozen=True)
class Examples:
    """A batch: images [n, c, h, w] float64, labels [n]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def examples(inputs: Any, labels: Any) -> Examples:
    """A batch of flat inputs [n, d], as images [n, d, 1, 1]."""
    images = torch.tensor(np.asarray(inputs, dtype=np.float64))
    return Examples(images[:, :, None, None], torch.tensor(np.asarray(labels, dtype=np.int64)))


class NoFineTuningAsked(AssertionError):
    """A strategy fine-tuned a copy though no test data say how."""


@dataclass
class FakeProbe:
    """Batches that were written by hand, a copy of the model at every request."""

    net: nn.Module
    partition: Partition
    target: Sequence[Examples]
    source: Sequence[Examples] | None = None
    fresh_head: bool = False
    tune: FineTune | None = None
    tuned_epochs: list[int] = field(default_factory=list)

    @contextmanager
    def model(self) -> Iterator[nn.Module]:
        scratch = copy.deepcopy(self.net).eval()
        for parameter in scratch.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        yield scratch

    @contextmanager
    def fine_tuned(self, epochs: int) -> Iterator[nn.Module]:
        self.tuned_epochs.append(epochs)
        with self.model() as scratch:
            if epochs:
                if self.tune is None:
                    raise NoFineTuningAsked(epochs)
                self.tune(scratch, epochs)
            yield scratch.eval()

    def batches(self, domain: Domain, count: int | None = None) -> list[Examples]:
        chosen = self.target if domain == "target" else self.source
        if chosen is None:
            raise LookupError(f"this task has no {domain} data")
        return list(chosen)[:count]


def layers_of(net: nn.Module, groups: dict[str, Sequence[str]], head: Sequence[str]) -> Partition:
    """A partition written out: layer name -> parameter names."""
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    named = tuple(
        Layer(name, tuple(group), tuple(sizes[p] for p in group)) for name, group in groups.items()
    )
    return Partition(named, tuple(head))


def made(name: str, partition: Partition, **values: Any) -> Strategy:
    """The registered strategy on the partition that it wants."""
    kind = registered()[name]
    unknown = set(values) - {parameter.name for parameter in kind.parameters}
    assert not unknown, f"{name} has no parameter {unknown}"
    return kind(kind.refine(partition), values)


def quiet_step(strategy: Strategy, net: nn.Module, number: int = 1) -> Step:
    """A step with zero gradients: what was measured before training decides alone."""
    named = dict(net.named_parameters())
    layer_of = strategy.partition.layer_of
    parameters = [named[name] for name in layer_of]
    return Step(
        number=number,
        parameters=parameters,
        gradients=[torch.zeros_like(parameter) for parameter in parameters],
        squared_norms=torch.zeros(len(parameters), dtype=torch.float64),
        layer_of=torch.tensor(list(layer_of.values())),
        layer_count=len(strategy.partition),
        momentum_buffers=None,
        momentum=0.0,
    )


@dataclass(frozen=True)
class Measured:
    """What a strategy made of a probe."""

    weights: Array
    scores: Array | None
    strategy: Strategy


def measure(name: str, probe: FakeProbe, epochs: int = 1, **values: Any) -> Measured:
    """Prepare, begin the first epoch, decide."""
    strategy = made(name, probe.partition, **values)
    strategy.prepare(probe)
    strategy.epoch_start(1, epochs, probe)
    return decided(strategy, probe.net)


def decided(strategy: Strategy, net: nn.Module) -> Measured:
    """The decision at a quiet step; every decision must be finite, >= 0 and of length L."""
    decision = strategy.decide(quiet_step(strategy, net))
    weights = decision.weights
    assert weights.dtype == torch.float32
    assert weights.shape == (len(strategy.partition),)
    assert bool(torch.isfinite(weights).all()), weights
    assert bool((weights >= 0).all()), weights
    scores = None if decision.scores is None else decision.scores.double().cpu().numpy()
    return Measured(weights.double().cpu().numpy(), scores, strategy)


# --- two families of models whose gradients can be written down --------------------------------


class Logistic(nn.Module):
    """Two classes, logits (z, 0) with z = sum_l theta_l . x_l + offset.

    The last input channel is the offset, so that z can be set at will for each example:
    the gradient of the mean loss is mean_j (sigma(z_j) - [label_j = 0]) x_j, and the Hessian
    mean_j sigma (1 - sigma) x_j x_j^T.
    """

    def __init__(self, *parameters: Sequence[float]) -> None:
        super().__init__()
        self.theta = nn.ParameterList(
            [nn.Parameter(torch.tensor(values, dtype=torch.float64)) for values in parameters]
        )

    def forward(self, images: Tensor) -> Tensor:
        inputs = images.flatten(1)
        z = inputs[:, :-1] @ torch.cat(list(self.theta)) + inputs[:, -1]
        return torch.stack([z, torch.zeros_like(z)], dim=1)

    def partition(self) -> Partition:
        groups = {f"layer{i}": [f"theta.{i}"] for i in range(len(self.theta))}
        return layers_of(self, groups, [])

    def flat(self) -> Array:
        return torch.cat(list(self.theta)).detach().numpy()


def with_logit(theta: Any, inputs: Any, labels: Any, z: Any = 0.0) -> Examples:
    """Examples whose logit under `theta` is z, whatever the inputs."""
    x = np.atleast_2d(np.asarray(inputs, dtype=np.float64))
    offset = np.broadcast_to(z, len(x)) - x @ np.asarray(theta, dtype=np.float64)
    return examples(np.column_stack([x, offset]), labels)


def logistic_parts(theta: Array, batch: Examples) -> tuple[Array, Array]:
    """(x [n, d], z [n]) of the examples, in NumPy."""
    rows = batch.images.flatten(1).numpy()
    return rows[:, :-1], rows[:, :-1] @ theta + rows[:, -1]


def logistic_example_gradients(theta: Array, batch: Examples) -> Array:
    """[n, d]: the gradient of each example's loss."""
    x, z = logistic_parts(theta, batch)
    residual = 1 / (1 + np.exp(-z)) - (batch.labels.numpy() == 0)
    return np.asarray(residual[:, None] * x)


def logistic_hessian(theta: Array, batch: Examples) -> Array:
    """[d, d]: of the mean loss."""
    x, z = logistic_parts(theta, batch)
    p = 1 / (1 + np.exp(-z))
    return np.asarray((x * (p * (1 - p))[:, None]).T @ x / len(x))


class Perceptron(nn.Module):
    """Three linear layers with tanh in between; `body` holds two tensors more than `stem`."""

    def __init__(self, seed: int = 0, sizes: Sequence[int] = (4, 5, 6, 3)) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        for name, inputs, outputs in zip(
            ("stem", "body", "head"), sizes[:-1], sizes[1:], strict=True
        ):
            linear = nn.Linear(inputs, outputs, dtype=torch.float64)
            linear.weight.data = torch.tensor(rng.normal(size=(outputs, inputs)) / inputs**0.5)
            linear.bias.data = torch.tensor(0.1 * rng.normal(size=outputs))
            setattr(self, name, linear)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.tanh(self.stem(images.flatten(1)))
        logits: Tensor = self.head(torch.tanh(self.body(hidden)))
        return logits

    def partition(self) -> Partition:
        groups = {name: [f"{name}.weight", f"{name}.bias"] for name in ("stem", "body", "head")}
        return layers_of(self, groups, ["head.weight", "head.bias"])


def perceptron_example_gradients(net: Perceptron, batch: Examples) -> dict[str, Array]:
    """Backpropagation by hand: [n, n_l] by layer, of each example's cross-entropy."""
    weights = {name: getattr(net, name).weight.detach().numpy() for name in LAYERS}
    biases = {name: getattr(net, name).bias.detach().numpy() for name in LAYERS}
    x = batch.images.flatten(1).numpy()
    h1 = np.tanh(x @ weights["stem"].T + biases["stem"])
    h2 = np.tanh(h1 @ weights["body"].T + biases["body"])
    z = h2 @ weights["head"].T + biases["head"]
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    d3 = p - np.eye(p.shape[1])[batch.labels.numpy()]
    d2 = (d3 @ weights["head"]) * (1 - h2**2)
    d1 = (d2 @ weights["body"]) * (1 - h1**2)

    def flat(delta: Array, inputs: Array) -> Array:
        outer = delta[:, :, None] * inputs[:, None, :]
        return np.concatenate([outer.reshape(len(delta), -1), delta], axis=1)

    return {"stem": flat(d1, x), "body": flat(d2, h1), "head": flat(d3, h2)}


LAYERS = ("stem", "body", "head")


def perceptron_norms(net: Perceptron) -> dict[str, float]:
    """||theta_l|| over the weight and the bias of each layer."""
    return {
        name: float(
            np.sqrt(
                sum(
                    (tensor.detach().numpy() ** 2).sum()
                    for tensor in (getattr(net, name).weight, getattr(net, name).bias)
                )
            )
        )
        for name in LAYERS
    }


def random_examples(seed: int, count: int, inputs: int = 4, classes: int = 3) -> Examples:
    rng = np.random.default_rng(seed)
    return examples(rng.normal(size=(count, inputs)), rng.integers(classes, size=count))


def random_batches(seed: int, count: int, size: int = 8, **kind: int) -> list[Examples]:
    return [random_examples(seed * 100 + i, size, **kind) for i in range(count)]


class Stack(nn.Module):
    """`layers` linear layers, the last one the head: for strategies that never look at data."""

    def __init__(self, layers: int = 6) -> None:
        super().__init__()
        self.names = [*(f"layer{i}" for i in range(layers - 1)), "head"]
        for name in self.names:
            self.add_module(name, nn.Linear(2, 2, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        hidden = images.flatten(1)
        for name in self.names:
            hidden = getattr(self, name)(hidden)
        return hidden

    def partition(self) -> Partition:
        groups = {name: [f"{name}.weight", f"{name}.bias"] for name in self.names}
        return layers_of(self, groups, groups["head"])
