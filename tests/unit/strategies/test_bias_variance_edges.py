"""Bias-variance guidance where gradients are dead, absent or broken, at its first step, on
pure noise, and after a resume."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from bias_variance_oracle import (
    INITS,
    SIZES,
    Driver,
    Gradients,
    advance,
    chosen,
    random_gradients,
    scores,
)
from few_kit import several
from torch import Tensor

from raysel.strategies.base import Decision

# --- dead, absent and broken gradients --------------------------------------------------------


@pytest.mark.parametrize(("name", "ema_decay"), [("bvg_ls", 0.5), ("bvg_ls_threshold", 0.9)])
@pytest.mark.parametrize("ema_init", several(1, INITS))
def test_a_dead_layer_scores_zero_for_1500_steps(ema_init, ema_decay, name):
    """0.5^1100 is 0 in float64."""
    driver = Driver(name, [[3], [3]], ema_decay=ema_decay, ema_init=ema_init)
    live = torch.randn(1500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for gradient in live:
        decision = driver.step([torch.zeros(3, dtype=torch.float64), gradient])
        assert scores(decision)[0] == 0
        assert scores(decision)[1] > 0
        assert decision.weights[0] == 0


@pytest.mark.parametrize("name", ["bvg_ls", "bvg_ls_threshold"])
@pytest.mark.parametrize("ema_init", INITS)
def test_nothing_moves_where_every_ratio_is_zero(ema_init, name):
    driver = Driver(name, [[3], [2]], ema_decay=0.9, ema_init=ema_init)
    zeros: Gradients = [torch.zeros(3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)]
    for gradients in (zeros, zeros, [None, None], zeros):
        decision = driver.step(list(gradients))
        assert scores(decision).tolist() == [0, 0]
        assert chosen(decision) == []


@pytest.mark.parametrize("ema_init", INITS)
def test_an_absent_gradient_takes_its_tensor_out_of_both_sums(ema_init):
    """D34, by a layer [x, y] whose y is absent at step 3: its ratio is that of x alone."""
    history = random_gradients(12, 5, [[4, 3]])
    both = Driver("bvg_ls", [[4, 3]], ema_decay=0.7, ema_init=ema_init)
    alone = Driver("bvg_ls", [[4], [3]], ema_decay=0.7, ema_init=ema_init)
    for t, (x, y) in enumerate(history, start=1):
        y = None if t == 3 else y
        together, apart = both.step([x, y]), alone.step([x, y])
        if t == 3:
            assert scores(together)[0] == pytest.approx(scores(apart)[0], rel=1e-12)
            assert scores(apart)[1] == 0
            assert 1 not in chosen(apart)


def test_a_layer_that_wakes_late_is_infinite_once():
    """D9: infinite at a layer's own first debiased update, whatever the step."""
    driver = Driver("bvg_ls", [[3], [3]], ema_decay=0.9, ema_init="debiased")
    history = random_gradients(16, 5, [[3], [3]])
    ratios = [
        scores(driver.step([x, None if t < 3 else y]))[1]
        for t, (x, y) in enumerate(history, start=1)
    ]
    assert ratios[:3] == [0, 0, math.inf]
    assert all(map(math.isfinite, ratios[3:]))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["bvg_ls", "bvg_ls_threshold"])
@pytest.mark.parametrize("ema_init", INITS)
def test_a_non_finite_gradient_never_wins(ema_init, name, bad):
    driver = Driver(name, SIZES, ema_decay=0.9, ema_init=ema_init)
    for t, gradients in enumerate(random_gradients(13, 12)):
        if t in (0, 5):
            broken = gradients[2]
            assert broken is not None
            broken[3] = bad  # in layer 1
        decision = driver.step(gradients)
        if t in (0, 5):
            assert 1 not in chosen(decision)
        assert not np.isnan(decision.weights.numpy()).any()


@pytest.mark.parametrize("ema_init", INITS)
def test_a_step_flagged_as_not_finite_leaves_no_trace(ema_init):
    """§2.5: all statistics skip it, the exponent of the correction too."""
    driver = Driver("bvg_ls", SIZES, ema_decay=0.9, ema_init=ema_init)
    twin = Driver("bvg_ls", SIZES, ema_decay=0.9, ema_init=ema_init)
    for t, gradients in enumerate(random_gradients(14, 12)):
        if t == 4:
            bad: Gradients = [torch.full_like(p.data, math.nan) for p in driver.parameters]
            driver.step(bad, finite=torch.tensor(False))
        a = driver.step(gradients, finite=torch.tensor(True))
        b = twin.step(gradients)
        np.testing.assert_allclose(scores(a), scores(b), rtol=1e-12)
        assert torch.equal(a.weights, b.weights)


# --- the first debiased step, the noise floor, the threshold's default -------------------------


@pytest.mark.parametrize("seed", range(8))
def test_the_first_debiased_step_ranks_by_the_norm_of_b(seed):
    """D9: the denominator is rounding noise there. Float32 and large layers, as it was
    found; with the sign of the noise deciding, the largest norm lost in two of three tries."""
    rng = torch.Generator().manual_seed(seed)
    sizes = [[10_000], [30_000], [100_000], [300_000], [700_000], [1_000_000]]
    scale = 10.0 ** torch.empty(6).uniform_(-4, -2, generator=rng)
    gradients: Gradients = [
        s * torch.randn(of[0], generator=rng) for s, of in zip(scale, sizes, strict=True)
    ]
    norms = [g.double().norm().item() for g in gradients if g is not None]
    best = sorted(range(6), key=lambda i: -norms[i])
    for count in (1, 3):
        values = {"ema_decay": 0.9, "ema_init": "debiased", "update_layers": count}
        decision = Driver("bvg_ls", sizes, torch.float32, **values).step(list(gradients))
        assert np.isposinf(scores(decision)).all()
        assert chosen(decision) == sorted(best[:count])


@pytest.mark.parametrize("ema_decay", [0.5, 0.9])
def test_pure_noise_scores_the_noise_floor(ema_decay):
    driver = Driver("bvg_ls", [[2000], [20_000]], ema_decay=ema_decay, ema_init="debiased")
    rng = torch.Generator().manual_seed(3)
    seen = []
    for t in range(160):
        gradients: Gradients = [
            s * torch.randn(n, dtype=torch.float64, generator=rng)
            for s, n in ((1.0, 2000), (0.01, 20_000))
        ]
        decision = driver.step(gradients)
        if t >= 60:
            seen.append(scores(decision))
    floor = (1 - ema_decay) / (2 * ema_decay)
    np.testing.assert_allclose(np.mean(seen, axis=0), floor, rtol=0.05)


def second_gradient(r: float, ema_decay: float) -> float:
    """The g₂ that gives a scalar layer, debiased, with g₁ = 1 the ratio r at t = 2.

    b and v are means with weights α and 1, so r = (α + g₂)² / (α (1 - g₂)²).
    """
    k = math.sqrt(ema_decay * r)
    return (k - ema_decay) / (1 + k)


@pytest.mark.parametrize(
    ("ema_decay", "default"),
    [(0.9, 0.056), (0.5, 0.504), (0.8, 0.126), (0.99, 0.504 * 0.01 / 0.99)],
)
def test_the_default_threshold_lies_just_above_the_noise_floor(ema_decay, default):
    """D33: the paper's 0.056 at α = 0.9, otherwise 1.008 (1 - α) / (2α)."""
    driver = Driver("bvg_ls_threshold", [[1]] * 4, ema_decay=ema_decay)
    targets: Sequence[float] = [default * factor for factor in (0.9999, 1.0001, 0.5, 2)]
    one = torch.ones(1, dtype=torch.float64)
    assert chosen(driver.step([one] * 4)) == [0, 1, 2, 3]  # every ratio is infinite
    decision = driver.step([one * second_gradient(r, ema_decay) for r in targets])
    np.testing.assert_allclose(scores(decision), targets, rtol=1e-6)
    assert chosen(decision) == [1, 3]


# --- resuming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("with_buffers", several(1, [False, True]))
@pytest.mark.parametrize("dtype", several(1, [torch.float32, torch.float64]))
@pytest.mark.parametrize("name", ["bvg_ls", "bvg_ls_threshold"])
@pytest.mark.parametrize("ema_init", INITS)
def test_a_resumed_strategy_goes_on_bit_for_bit(ema_init, name, dtype, with_buffers):
    def advance_and_step(driver: Driver, buffers: list[Tensor], gradients: Gradients) -> Decision:
        if not with_buffers:
            return driver.step(gradients)
        advance(buffers, gradients, 0.9)
        return driver.step(gradients, buffers=buffers, momentum=0.9)

    whole = Driver(name, SIZES, dtype, ema_decay=0.9, ema_init=ema_init)
    buffers = [torch.zeros_like(parameter.data) for parameter in whole.parameters]
    history = random_gradients(15, 30, dtype=dtype, none_share=0.1)
    for gradients in history[:11]:
        advance_and_step(whole, buffers, gradients)
    file = io.BytesIO()
    torch.save(whole.strategy.state_dict(), file)
    file.seek(0)
    later = Driver(name, SIZES, dtype, ema_decay=0.9, ema_init=ema_init)
    later.strategy.load_state_dict(torch.load(file, weights_only=True))
    later.number = whole.number
    later_buffers = copy.deepcopy(buffers)
    for gradients in history[11:]:
        a = advance_and_step(whole, buffers, gradients)
        b = advance_and_step(later, later_buffers, gradients)
        np.testing.assert_array_equal(scores(a), scores(b))
        assert torch.equal(a.weights, b.weights)
