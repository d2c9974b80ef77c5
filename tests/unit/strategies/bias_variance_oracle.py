"""Algorithm 1 written a second time, from the paper alone, and a driver for the strategies.

`Oracle` is the algorithm as it is printed: float64 NumPy, an elementwise variance v, one
loop over tensors. The strategies keep less (one number a tensor instead of v), so where
both agree over many steps the short cut is right.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysel.models.layers import Layer, Partition
from raysel.strategies import registered
from raysel.strategies.base import Decision, Step, Strategy

INITS = ("paper", "debiased")
Gradients = list[Tensor | None]

# 4 layers of 1 to 3 tensors: sizes differ by two orders, as a stem and a stage do.
SIZES = [[6, 2], [40], [300, 5, 20], [10, 10]]


class Oracle:
    """Algorithm 1 with elementwise v; `debiased` divides both averages by 1 - α^t."""

    def __init__(self, sizes: list[list[int]], ema_decay: float, ema_init: str) -> None:
        self.α = ema_decay
        self.debiased = ema_init == "debiased"
        self.t = 0
        self.layers = [layer for layer, of in enumerate(sizes) for _ in of]
        self.b = [np.zeros(size) for of in sizes for size in of]
        self.v = [np.full(size, 0.0 if self.debiased else 1.0) for of in sizes for size in of]
        self.bias = np.zeros(len(sizes))

    def ratios(self, gradients: Gradients) -> np.ndarray:
        """One step: the ratio r of each layer, [L]; a tensor without gradient sits out."""
        self.t += 1
        correction = 1 - self.α**self.t if self.debiased else 1.0
        bias = np.zeros(len(self.bias))
        second = np.zeros(len(self.bias))
        for k, gradient in enumerate(gradients):
            if gradient is None:
                continue
            g = gradient.double().numpy().ravel()
            self.b[k] = self.α * self.b[k] + (1 - self.α) * g
            self.v[k] = self.α * self.v[k] + (1 - self.α) * g**2
            bias[self.layers[k]] += np.sum((self.b[k] / correction) ** 2)
            second[self.layers[k]] += np.sum(self.v[k] / correction)
        self.bias = bias
        return np.array([self._ratio(B, V) for B, V in zip(bias, second, strict=True)])

    def _ratio(self, bias: float, second: float) -> float:
        if second == 0:
            return 0.0
        variance = second - bias
        if (self.debiased and self.t == 1) or variance <= 1e-6 * second:
            return math.inf
        return bias / variance

    def best_first(self, ratios: np.ndarray) -> list[int]:
        """Layers from the largest ratio down; infinite ones by ||b||, ties by index (D9)."""
        return sorted(
            range(len(ratios)),
            key=lambda i: (-ratios[i], -self.bias[i] if math.isinf(ratios[i]) else 0.0, i),
        )


class Driver:
    """Calls a strategy as the training loop would, without a model or an optimizer."""

    def __init__(
        self,
        name: str,
        sizes: list[list[int]],
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        flat = [size for of in sizes for size in of]
        names = iter(f"p{k}" for k in range(len(flat)))
        layers = tuple(
            Layer(f"layer{index}", tuple(next(names) for _ in of), tuple(of))
            for index, of in enumerate(sizes)
        )
        self.strategy: Strategy = registered()[name](Partition(layers, ()), values)
        self.parameters = [nn.Parameter(torch.zeros(size, dtype=dtype)) for size in flat]
        self.layer_of = torch.tensor([index for index, of in enumerate(sizes) for _ in of])
        self.layer_count = len(sizes)
        self.number = 0

    def step(
        self,
        gradients: Gradients,
        *,
        buffers: list[Tensor] | None = None,
        momentum: float = 0.0,
        finite: Tensor | None = None,
    ) -> Decision:
        self.number += 1
        squared = [0.0 if g is None else g.double().square().sum().item() for g in gradients]
        decision = self.strategy.decide(
            Step(
                number=self.number,
                parameters=self.parameters,
                gradients=gradients,
                squared_norms=torch.tensor(squared, dtype=torch.float64),
                layer_of=self.layer_of,
                layer_count=self.layer_count,
                momentum_buffers=buffers,
                momentum=momentum,
                finite=finite,
            )
        )
        assert decision.weights.dtype == torch.float32
        assert decision.weights.shape == (self.layer_count,)
        assert set(decision.weights.tolist()) <= {0.0, 1.0}
        return decision


def chosen(decision: Decision) -> list[int]:
    return decision.weights.nonzero().ravel().tolist()


def scores(decision: Decision) -> np.ndarray:
    assert decision.scores is not None
    return decision.scores.double().numpy()


def random_gradients(
    seed: int,
    steps: int,
    sizes: list[list[int]] = SIZES,
    dtype: torch.dtype = torch.float64,
    none_share: float = 0.0,
) -> list[Gradients]:
    """Noise of a scale per layer around a mean that wanders, so that the best layer changes."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-2, 0, len(sizes))
    mean = [[rng.normal(size=size) for size in of] for of in sizes]
    history = []
    for t in range(steps):
        gradients: Gradients = []
        for layer, of in enumerate(sizes):
            signal = 1 + math.sin(0.15 * t + 1.7 * layer)
            for k, size in enumerate(of):
                g = scale[layer] * (0.4 * signal * mean[layer][k] + rng.normal(size=size))
                absent = t > 0 and rng.random() < none_share
                gradients.append(None if absent else torch.tensor(g, dtype=dtype))
        history.append(gradients)
    return history


def advance(buffers: list[Tensor], gradients: Gradients, momentum: float) -> None:
    """What SGD does: a tensor without a gradient is skipped."""
    for buffer, gradient in zip(buffers, gradients, strict=True):
        if gradient is not None:
            buffer.mul_(momentum).add_(gradient)
