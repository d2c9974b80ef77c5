"""Lazy bias-variance guidance: the oracle keeps, for every layer, the list of the gradients that
were computed for it, and works out its averages from that list anew at every step: float64 NumPy,
elementwise, sums of weighted gradients and no recursion.

The driver is the training loop in small: it asks which gradients the step needs and gives no
others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from bias_variance_oracle import INITS, SIZES, Driver, Gradients, advance, chosen, scores
from bias_variance_oracle import random_gradients as gradients_of

from raysel.strategies.base import Decision
from raysel.strategies.lazy_bias_variance import is_refresh, near_the_lead

LAYERS = [layer for layer, of in enumerate(SIZES) for _ in of]


class Listed:
    """The rule from the lists of gradients.

    Args:
        alpha: the decay of the averages.
        debiased: divide by the sum of the weights; else the start values 0 and 1 take part.
    """

    def __init__(self, alpha: float, debiased: bool, every: int, margin: float, count: int) -> None:
        self.alpha, self.debiased = alpha, debiased
        self.every, self.margin, self.count = every, margin, count
        self.computed: list[list[np.ndarray]] = [[] for _ in SIZES]
        self.near = set(range(len(SIZES)))

    def needed(self, number: int) -> set[int]:
        return set(range(len(SIZES))) if number % self.every == 1 % self.every else self.near

    def step(self, number: int, gradients: list[np.ndarray]) -> tuple[np.ndarray, set[int]]:
        """(r of each layer, NaN where it has no gradient; which layers move)."""
        needed = self.needed(number)
        for layer in needed:
            self.computed[layer].append(gradients[layer])
        found = {layer: self.averages(layer) for layer in needed}
        r = np.array(
            [self.ratio(*found[i]) if i in needed else math.nan for i in range(len(SIZES))]
        )
        order = sorted(needed, key=lambda i: (-r[i], -found[i][0] if math.isinf(r[i]) else 0.0, i))
        if number % self.every == 1 % self.every:
            lead = r[order[min(self.count, len(order)) - 1]]
            self.near = {i for i in range(len(SIZES)) if r[i] >= self.margin * lead}
        return r, {i for i in order[: self.count] if r[i] > 0}

    def averages(self, layer: int) -> tuple[float, float]:
        """sum b^2 and sum v."""
        seen = self.computed[layer]
        age = np.arange(len(seen))[::-1]
        weights = (1 - self.alpha) * self.alpha**age
        b = sum(w * g for w, g in zip(weights, seen, strict=True))
        v = sum(w * g**2 for w, g in zip(weights, seen, strict=True))
        if self.debiased:
            return float(((b / weights.sum()) ** 2).sum()), float(v.sum() / weights.sum())
        return float((b**2).sum()), float((v + self.alpha ** len(seen)).sum())

    def ratio(self, bias: float, second: float) -> float:
        variance = second - bias
        return math.inf if variance <= 1e-6 * second else bias / variance


def lazy(**values: Any) -> Driver:
    return Driver("bvg_ls_lazy", SIZES, **values)


def asked(driver: Driver, gradients: Gradients, **step: Any) -> tuple[Decision, set[int]]:
    """One step with the gradients that are needed; and of which layers these are."""
    needed = driver.strategy.needs_gradients(driver.number + 1, 0)
    layers = set(range(len(SIZES))) if needed is None else set(needed)
    given = [g if LAYERS[k] in layers else None for k, g in enumerate(gradients)]
    return driver.step(given, **step), layers


def by_layer(gradients: Gradients) -> list[np.ndarray]:
    return [
        np.concatenate([g.numpy() for k, g in enumerate(gradients) if LAYERS[k] == layer])  # type: ignore[union-attr]
        for layer in range(len(SIZES))
    ]


@pytest.mark.parametrize(
    ("alpha", "every", "margin", "count"), [(0.9, 4, 0.6, 1), (0.5, 3, 0.9, 1), (0.5, 5, 0.5, 2)]
)
@pytest.mark.parametrize("ema_init", INITS)
def test_it_moves_the_best_of_the_layers_near_the_lead(ema_init, alpha, every, margin, count):
    values = {"ema_decay": alpha, "refresh_every": every, "margin": margin}
    driver = lazy(ema_init=ema_init, update_layers=count, **values)
    oracle = Listed(alpha, ema_init == "debiased", every, margin, count)
    sets, skipped = set(), 0
    for number, gradients in enumerate(gradients_of(3, 150), start=1):
        expected_layers = oracle.needed(number)
        r, moving = oracle.step(number, by_layer(gradients))
        decision, layers = asked(driver, gradients)
        assert layers == expected_layers
        np.testing.assert_allclose(scores(decision), r, rtol=1e-8)
        assert set(chosen(decision)) == moving
        assert len(moving) == count
        sets.add(tuple(sorted(layers)))
        skipped += len(SIZES) - len(layers)
    assert len(sets) >= 3, "the gradients were too easy: the same layers were near the lead"
    assert skipped >= 50


@pytest.mark.parametrize("ema_init", INITS)
@pytest.mark.parametrize("limit", [{"refresh_every": 1}, {"margin": 0.0}])
@pytest.mark.parametrize("with_buffers", [True, False])
def test_at_its_limits_it_is_bvg_ls_bit_for_bit(with_buffers, limit, ema_init):
    exact = Driver("bvg_ls", SIZES, ema_decay=0.9, ema_init=ema_init)
    driver = lazy(ema_decay=0.9, ema_init=ema_init, **{"margin": 1.0, "refresh_every": 4} | limit)
    buffers = [torch.zeros_like(parameter.data) for parameter in exact.parameters]
    for gradients in gradients_of(4, 60):
        advance(buffers, gradients, 0.9)
        given = {"buffers": buffers if with_buffers else None, "momentum": 0.9}
        decision, layers = asked(driver, gradients, **given)
        expected = exact.step(gradients, **given)
        assert len(layers) == len(SIZES)
        assert torch.equal(decision.weights, expected.weights)
        assert decision.scores is not None and expected.scores is not None
        assert torch.equal(decision.scores, expected.scores)


@pytest.mark.parametrize("ema_init", INITS)
def test_momentum_buffers_that_rest_as_the_averages_do_change_nothing(ema_init):
    """b = (1 - alpha) buffer, also of a layer that gets a gradient now and then (D42)."""
    own, shared = (lazy(ema_decay=0.9, ema_init=ema_init, margin=0.6) for _ in range(2))
    buffers = [torch.zeros_like(parameter.data) for parameter in own.parameters]
    for gradients in gradients_of(5, 80):
        a, layers = asked(own, gradients)
        given = [g if LAYERS[k] in layers else None for k, g in enumerate(gradients)]
        advance(buffers, given, 0.9)
        b, same = asked(shared, gradients, buffers=buffers, momentum=0.9)
        assert layers == same
        np.testing.assert_allclose(scores(b), scores(a), rtol=1e-9)
        assert torch.equal(a.weights, b.weights)


def test_noise_has_the_ratio_of_noise_however_seldom_it_is_seen():
    """(1 - alpha) / (2 alpha) = 0.0556 for every k, as in `bvg_ls` (D33, D44): averages that
    decayed by the elapsed steps would rest on few gradients, and the ratio rise to 0.26 at k = 4.
    """
    rng = np.random.default_rng(0)
    for every in (1, 4, 8):
        driver = Driver("bvg_ls_lazy", [[5_000], [5]], ema_init="debiased", refresh_every=every)
        found = []
        for number in range(1, 90 * every + 1):
            if not is_refresh(number, every):
                driver.step([None, torch.ones(5, dtype=torch.float64)])
                continue
            noise = torch.tensor(rng.normal(size=5_000))
            decision = driver.step([noise, torch.ones(5, dtype=torch.float64)])
            found.append(scores(decision)[0])
        assert np.mean(found[60:]) == pytest.approx(1 / 18, rel=0.03)


def test_which_layers_are_near_the_lead_by_hand():
    ratio = torch.tensor([0.0, 0.5, 1.0, 0.8, 2.0])
    assert near_the_lead(ratio, 0.5).tolist() == [False, False, True, False, True]
    assert near_the_lead(ratio, 1.0).tolist() == [False, False, False, False, True]
    assert near_the_lead(ratio, 0.5, count=3).tolist() == [False, True, True, True, True]
    assert near_the_lead(ratio, 0.5, count=9).tolist() == [True] * 5  # the least of them is 0
    ratio[2] = ratio[0] = torch.inf
    assert near_the_lead(ratio, 0.1).tolist() == [True, False, True, False, False]
    assert near_the_lead(torch.zeros(3), 1.0).tolist() == [True] * 3


def test_refreshes_are_the_first_step_and_every_kth_after_it():
    assert [n for n in range(1, 12) if is_refresh(n, 4)] == [1, 5, 9]
    assert all(is_refresh(n, 1) for n in range(1, 5))
