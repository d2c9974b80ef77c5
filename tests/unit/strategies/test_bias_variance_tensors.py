"""`bvg_ts`: the bias-variance ratio by tensor, and the share of the tensors that moves; the
ratio as the moving average grows short.
"""

from __future__ import annotations

import pytest
import torch
from bias_variance_oracle import Driver, Oracle, chosen, random_gradients
from mask_kit import assert_same, finished, moved, net, parameters, trial

from raysel.models.layers import partition
from raysel.strategies import registered
from raysel.strategies.bias_variance import tensor_count

SIZES = [[6], [2], [40], [30], [5], [20], [10]]  # one tensor a layer, as `refine` gives


@pytest.mark.parametrize(
    ("share", "tensors", "expected"),
    [(0.5, 7, 3), (0.5, 1, 1), (0.0, 7, 1), (0.1, 7, 1), (1.0, 7, 7), (0.9, 14, 12)],
)
def test_how_many_tensors_move(share, tensors, expected):
    assert tensor_count(share, tensors) == expected


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_tensors_with_the_largest_ratios_move(share):
    driver = Driver("bvg_ts", SIZES, ema_decay=0.9, ema_init="debiased", update_share=share)
    oracle = Oracle(SIZES, 0.9, "debiased")
    for gradients in random_gradients(21, 30, SIZES):
        best = oracle.best_first(oracle.ratios(gradients))[: max(1, int(share * 7))]
        assert chosen(driver.step(gradients)) == sorted(best)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_that_many_tensors_change_at_each_step(optimizer):
    run = trial("bvg_ts", epochs=6, batch_size=16, optimizer=optimizer, weight_decay=0.1)
    tensors = len(parameters(run))
    for _ in range(6):
        before = parameters(run)
        run.run_epoch()  # one step
        assert len(moved(before, parameters(run))) == tensors // 2


def test_every_tensor_is_a_layer_and_the_head_is_still_known():
    layers = partition(net())
    fine = registered()["bvg_ts"].refine(layers)
    assert fine.names == tuple(name for name, _ in net().named_parameters())
    assert fine.names[fine.head_layer] == "head.fc.weight"
    assert fine.size == layers.size


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_with_a_share_of_one_it_is_full(optimizer):
    run = finished(trial("bvg_ts", {"update_share": 1.0}, optimizer=optimizer))
    assert_same(run, finished(trial("full", optimizer=optimizer)))


def test_what_is_declared():
    strategy = registered()["bvg_ts"]
    assert strategy.batch_norm == "train"
    assert strategy.published.learning_rate == 1e-3
    assert {p.name: p.default for p in strategy.parameters} == {
        "ema_decay": 0.9,
        "ema_init": "debiased",
        "update_share": 0.5,
    }


@pytest.mark.parametrize("ema_init", ["paper", "debiased"])
def test_a_short_average_compares_the_gradient_with_its_last_change(ema_init):
    """alpha -> 0, the ablation without moving averages: r alpha -> |g|^2 / |g - g_before|^2."""
    decay = 1e-3
    driver = Driver("bvg_ls", SIZES, ema_decay=decay, ema_init=ema_init)
    history = random_gradients(22, 12, SIZES)
    scores = [driver.step(gradients).scores for gradients in history][-1]
    assert scores is not None
    limit = [
        float((now**2).sum() / ((now - last) ** 2).sum()) / decay
        for now, last in zip(history[-1], history[-2], strict=True)
        if now is not None and last is not None
    ]
    assert scores.tolist() == pytest.approx(limit, rel=0.02)
    assert int(torch.argmax(scores)) == limit.index(max(limit))
