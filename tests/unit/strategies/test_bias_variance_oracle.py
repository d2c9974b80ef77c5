"""Bias-variance guidance does what the paper prints: an oracle over many steps, fractions
that can be checked on paper, and what must not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bias_variance_oracle import (
    INITS,
    SIZES,
    Driver,
    Gradients,
    Oracle,
    advance,
    chosen,
    random_gradients,
    scores,
)

# --- the oracle over many steps ------------------------------------------------------------


@pytest.mark.parametrize(
    ("none_share", "dtype", "rtol", "ema_decay"),
    [(0.0, torch.float64, 1e-9, 0.9), (0.15, torch.float32, 1e-6, 0.5)],
)
@pytest.mark.parametrize("ema_init", INITS)
def test_argmax_is_algorithm_1(ema_init, ema_decay, dtype, rtol, none_share):
    driver = Driver("bvg_ls", SIZES, dtype, ema_decay=ema_decay, ema_init=ema_init)
    oracle = Oracle(SIZES, ema_decay, ema_init)
    picked = set()
    for gradients in random_gradients(3, 200, dtype=dtype, none_share=none_share):
        decision = driver.step(gradients)
        expected = oracle.ratios(gradients)
        np.testing.assert_allclose(scores(decision), expected, rtol=rtol)
        assert chosen(decision) == oracle.best_first(expected)[:1]
        picked.update(chosen(decision))
    assert len(picked) >= 3, "the gradients were too easy to tell selections apart"


@pytest.mark.parametrize(("ema_init", "threshold"), [("paper", 0.1), ("debiased", 0.12)])
def test_threshold_is_algorithm_1_with_every_layer_above_it(ema_init, threshold):
    values = {"ema_decay": 0.9, "ema_init": ema_init, "threshold": threshold}
    driver = Driver("bvg_ls_threshold", SIZES, **values)
    oracle = Oracle(SIZES, 0.9, ema_init)
    sets = set()
    for gradients in random_gradients(4, 200, none_share=0.1):
        decision = driver.step(gradients)
        expected = oracle.ratios(gradients)
        np.testing.assert_allclose(scores(decision), expected, rtol=1e-9)
        assert chosen(decision) == np.flatnonzero(expected > threshold).tolist()
        sets.add(tuple(chosen(decision)))
    assert len(sets) >= 5


@pytest.mark.parametrize("ema_init", INITS)
def test_update_layers_takes_the_best_two(ema_init):
    driver = Driver("bvg_ls", SIZES, ema_decay=0.9, ema_init=ema_init, update_layers=2)
    oracle = Oracle(SIZES, 0.9, ema_init)
    pairs = set()
    for gradients in random_gradients(5, 200):
        expected = sorted(oracle.best_first(oracle.ratios(gradients))[:2])
        assert chosen(driver.step(gradients)) == expected
        pairs.add(tuple(expected))
    assert len(pairs) >= 3


def test_the_transient_is_reported_while_the_start_value_is_over_half_of_v():
    """D6: 1 where α^t n_l > V_l / 2 for the picked layer."""
    driver = Driver("bvg_ls", SIZES, ema_decay=0.9, ema_init="paper")
    oracle = Oracle(SIZES, 0.9, "paper")
    reported = []
    for gradients in random_gradients(6, 120):
        decision = driver.step(gradients)
        oracle.ratios(gradients)
        (pick,) = chosen(decision)
        second = sum(oracle.v[k].sum() for k, layer in enumerate(oracle.layers) if layer == pick)
        expected = 0.9**oracle.t * sum(SIZES[pick]) > second / 2
        assert decision.transient is not None
        assert bool(decision.transient) == expected
        reported.append(expected)
    assert 0 < sum(reported) < len(reported)


# --- by hand ---------------------------------------------------------------------------------

CASE_A = [
    [torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)]
    for a, b in (([2, 0], [1, -1]), ([2, 0], [-1, 1]), ([0, 2], [1, 1]))
]


@pytest.mark.parametrize(
    ("ema_init", "expected"),
    [
        ("paper", [(1 / 2, 1 / 3), (9 / 5, 1 / 15), (5 / 7, 17 / 47)]),
        ("debiased", [(math.inf, math.inf), (math.inf, 1 / 8), (25 / 24, 17 / 32)]),
    ],
)
def test_hand_case_a(ema_init, expected):
    """α = 1/2. Debiased at t=1 both are infinite and ||b||² is 4 against 2."""
    driver = Driver("bvg_ls", [[2], [2]], ema_decay=0.5, ema_init=ema_init)
    for gradients, r in zip(CASE_A, expected, strict=True):
        decision = driver.step(list(gradients))
        np.testing.assert_allclose(scores(decision), r, rtol=1e-12)
        assert chosen(decision) == [0]


@pytest.mark.parametrize(
    ("threshold", "sets"), [(0.4, [[0], [0], [0]]), (0.3, [[0, 1], [0], [0, 1]])]
)
def test_hand_case_a_with_a_threshold(threshold, sets):
    values = {"ema_decay": 0.5, "ema_init": "paper", "threshold": threshold}
    driver = Driver("bvg_ls_threshold", [[2], [2]], **values)
    assert [chosen(driver.step(list(gradients))) for gradients in CASE_A] == sets


def test_hand_case_b_scalar_layers():
    """α = 1/2, paper: b = (1, 1/2) then (3/5, 7/4), v = (5/2, 1) then (127/100, 5)."""
    driver = Driver("bvg_ls", [[1], [1]], ema_decay=0.5, ema_init="paper")
    expected = [((2.0, 1.0), (2 / 3, 1 / 3), [0]), ((0.2, 3.0), (36 / 91, 49 / 31), [1])]
    for values, r, pick in expected:
        decision = driver.step([torch.tensor([g], dtype=torch.float64) for g in values])
        np.testing.assert_allclose(scores(decision), r, rtol=1e-12)
        assert chosen(decision) == pick


# --- the momentum identity ---------------------------------------------------------------------


@pytest.mark.parametrize("ema_init", INITS)
def test_momentum_buffers_of_the_same_decay_change_nothing(ema_init):
    """b = (1 - α) · buffer where α is the momentum."""
    own = Driver("bvg_ls", SIZES, ema_decay=0.9, ema_init=ema_init)
    shared = Driver("bvg_ls", SIZES, ema_decay=0.9, ema_init=ema_init)
    buffers = [torch.zeros_like(parameter.data) for parameter in own.parameters]
    for gradients in random_gradients(7, 50, none_share=0.15):
        advance(buffers, gradients, 0.9)
        kept = [buffer.clone() for buffer in buffers]
        a = own.step(gradients)
        b = shared.step(gradients, buffers=buffers, momentum=0.9)
        np.testing.assert_allclose(scores(b), scores(a), rtol=1e-9)
        assert torch.equal(a.weights, b.weights)
        assert all(map(torch.equal, kept, buffers)), "the optimizer's state was written to"


@pytest.mark.parametrize("ema_init", INITS)
def test_momentum_buffers_of_another_decay_are_not_used(ema_init):
    own = Driver("bvg_ls", SIZES, ema_decay=0.8, ema_init=ema_init)
    shared = Driver("bvg_ls", SIZES, ema_decay=0.8, ema_init=ema_init)
    buffers = [torch.zeros_like(parameter.data) for parameter in own.parameters]
    for gradients in random_gradients(8, 20):
        advance(buffers, gradients, 0.9)
        a, b = own.step(gradients), shared.step(gradients, buffers=buffers, momentum=0.9)
        np.testing.assert_array_equal(scores(a), scores(b))


# --- what must not matter -----------------------------------------------------------------------


def test_debiased_ratios_do_not_see_the_scale_of_the_loss():
    one, other, paper, paper_other = (
        Driver("bvg_ls", SIZES, ema_decay=0.9, ema_init=init)
        for init in ("debiased", "debiased", "paper", "paper")
    )
    paper_differs = False
    for gradients in random_gradients(9, 100):
        scaled: Gradients = [g * 2.0**-9 for g in gradients if g is not None]
        a, b = one.step(gradients), other.step(scaled)
        np.testing.assert_allclose(scores(a), scores(b), rtol=1e-12)
        assert torch.equal(a.weights, b.weights)
        a, b = paper.step(gradients), paper_other.step(scaled)
        paper_differs |= not np.allclose(scores(a), scores(b), rtol=1e-3)
    assert paper_differs  # with v = 1 at the start they do (D6)


@pytest.mark.parametrize("ema_init", INITS)
def test_the_order_of_weights_inside_a_layer_does_not_matter(ema_init):
    """Shuffled across the tensors of the layer, not only inside each."""
    one = Driver("bvg_ls", SIZES, ema_decay=0.9, ema_init=ema_init)
    other = Driver("bvg_ls", SIZES, ema_decay=0.9, ema_init=ema_init)
    order = [torch.randperm(sum(of), generator=torch.Generator().manual_seed(1)) for of in SIZES]
    for gradients in random_gradients(10, 60):
        rest = iter(gradients)
        shuffled: Gradients = []
        for of, permutation in zip(SIZES, order, strict=True):
            whole = torch.cat([g for g in (next(rest) for _ in of) if g is not None])
            shuffled += whole[permutation].split(of)
        a, b = one.step(gradients), other.step(shuffled)
        np.testing.assert_allclose(scores(a), scores(b), rtol=1e-9)
        assert torch.equal(a.weights, b.weights)


@pytest.mark.parametrize("ema_init", INITS)
def test_a_single_layer_moves_at_every_step(ema_init):
    driver = Driver("bvg_ls", [[7, 3]], ema_decay=0.9, ema_init=ema_init)
    for gradients in random_gradients(11, 30, [[7, 3]]):
        assert chosen(driver.step(gradients)) == [0]
