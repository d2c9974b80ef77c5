"""Tensor-wise bias-variance guidance (BVG-TS): Algorithm 1 with a layer a tensor, the best share
of them moves. The oracle keeps v for every element in float64, the strategy one number a tensor.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fake_probe import Stack, made
from torch import Tensor

from raysel.strategies.base import Step, Strategy

SHAPES = [(2, 2), (2,)] * 4  # Stack(4): weight and bias of each layer


class Elementwise:
    """b and v of every element; `debiased` divides both by 1 - alpha^t, `paper` starts v at 1."""

    def __init__(self, alpha: float, debiased: bool, shapes: list[tuple[int, ...]]) -> None:
        self.alpha, self.debiased, self.t = alpha, debiased, 0
        self.b = [np.zeros(shape) for shape in shapes]
        self.v = [np.full(shape, 0.0 if debiased else 1.0) for shape in shapes]

    def ratios(self, gradients: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(r, ||b||^2) of every tensor after this step."""
        self.t += 1
        a, scale = self.alpha, 1 - self.alpha**self.t if self.debiased else 1.0
        r, length = [], []
        for i, g in enumerate(gradients):
            self.b[i] = a * self.b[i] + (1 - a) * g
            self.v[i] = a * self.v[i] + (1 - a) * g**2
            b, v = self.b[i] / scale, self.v[i] / scale
            bias, variance = float((b**2).sum()), float((v - b**2).sum())
            length.append(bias)
            first = self.debiased and self.t == 1
            if float(v.sum()) == 0:
                r.append(0.0)
            elif first or variance <= 1e-6 * float(v.sum()):
                r.append(math.inf)
            else:
                r.append(bias / variance)
        return np.array(r), np.array(length)


def best(r: np.ndarray, length: np.ndarray, count: int) -> set[int]:
    order = sorted(range(len(r)), key=lambda i: (-r[i], -length[i] if math.isinf(r[i]) else 0.0, i))
    return set(order[:count])


def tensorwise(**values: object) -> tuple[Strategy, Stack]:
    net = Stack(4)
    return made("bvg_ts", net.partition(), **values), net


def step_of(strategy: Strategy, net: Stack, number: int, gradients: list[np.ndarray]) -> Step:
    tensors: list[Tensor | None] = [torch.tensor(g) for g in gradients]
    return Step(
        number=number,
        parameters=list(net.parameters()),
        gradients=tensors,
        squared_norms=torch.tensor([float((g**2).sum()) for g in gradients], dtype=torch.float64),
        layer_of=torch.tensor(list(strategy.partition.layer_of.values())),
        layer_count=len(strategy.partition),
        momentum_buffers=None,
        momentum=0.0,
    )


def stream(seed: int, steps: int, shapes: list[tuple[int, ...]] = SHAPES) -> list[list[np.ndarray]]:
    """Noise around means that come and go, of scales three orders apart."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-3, 0, len(shapes))
    mean = [rng.normal(size=shape) for shape in shapes]
    return [
        [
            s * ((1 + math.sin(0.2 * t + i)) * m + rng.normal(size=m.shape))
            for i, (s, m) in enumerate(zip(scale, mean, strict=True))
        ]
        for t in range(steps)
    ]


def test_each_tensor_is_a_layer_of_its_own():
    strategy, net = tensorwise()
    assert strategy.partition.names == tuple(name for name, _ in net.named_parameters())


@pytest.mark.parametrize("ema_init", ["debiased", "paper"])
@pytest.mark.parametrize(("share", "count"), [(0.5, 4), (0.3, 2), (0.01, 1), (1.0, 8), (0.99, 7)])
@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_the_best_share_of_tensors_moves(alpha, share, count, ema_init):
    """max(1, int(share * T)) of the T tensors."""
    strategy, net = tensorwise(ema_decay=alpha, ema_init=ema_init, update_share=share)
    oracle = Elementwise(alpha, ema_init == "debiased", SHAPES)
    seen = set()
    for number, gradients in enumerate(stream(1, 80), start=1):
        decision = strategy.decide(step_of(strategy, net, number, gradients))
        r, length = oracle.ratios(gradients)
        assert decision.scores is not None
        np.testing.assert_allclose(decision.scores.double().numpy(), r, rtol=1e-8)
        moving = set(decision.weights.nonzero().ravel().tolist())
        assert moving == best(r, length, count)
        assert set(decision.weights.tolist()) <= {0.0, 1.0}
        seen.add(tuple(sorted(moving)))
    assert len(seen) >= (1 if count == 8 else 2)


def test_hand_case_two_steps():
    """alpha = 1/2, debiased, tensors of which only the first element moves.

    With the correction 3/4, after g = 2 and 1: b = (1/2 + 1/2) / (3/4) = 4/3 and
    v = (1 + 1/2) / (3/4) = 2, so r = (16/9) / (2/9) = 8. After 1 and -1: b = -1/3 and v = 1,
    r = (1/9) / (8/9). After 1 and 1 there is no variance: infinite. The rest is dead: 0.
    """
    strategy, net = tensorwise(ema_decay=0.5, ema_init="debiased", update_share=0.25)
    pairs = [(2.0, 1.0), (1.0, -1.0), (1.0, 1.0)]
    for number in (1, 2):
        gradients = [np.zeros(shape) for shape in SHAPES]
        for i, pair in enumerate(pairs):
            gradients[i].flat[0] = pair[number - 1]
        decision = strategy.decide(step_of(strategy, net, number, gradients))
    assert decision.scores is not None
    np.testing.assert_allclose(
        decision.scores.double().numpy(), [8, 1 / 8, math.inf, 0, 0, 0, 0, 0], rtol=1e-9
    )
    assert decision.weights.tolist() == [1, 0, 1, 0, 0, 0, 0, 0]


def test_dead_tensors_do_not_fill_the_share():
    """Where every ratio is 0 nothing moves: a dead tensor is no candidate."""
    strategy, net = tensorwise(update_share=0.5)
    for number in range(1, 5):
        gradients = [np.zeros(shape) for shape in SHAPES]
        decision = strategy.decide(step_of(strategy, net, number, gradients))
        assert decision.weights.sum() == 0


def test_the_scale_of_the_loss_does_not_matter():
    (one, net), (other, _) = tensorwise(), tensorwise()
    for number, gradients in enumerate(stream(2, 40), start=1):
        scaled = [g * 2.0**-10 for g in gradients]
        a = one.decide(step_of(one, net, number, gradients))
        b = other.decide(step_of(other, net, number, scaled))
        assert torch.equal(a.weights, b.weights)
