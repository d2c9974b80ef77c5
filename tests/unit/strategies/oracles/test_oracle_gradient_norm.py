"""Relative gradient norms against backpropagation by hand: Auto-RGN (Lee et al.) and the change
of the gradient between source and target (automatic fine-tuning, section 4.2)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from fake_probe import (
    LAYERS,
    Examples,
    FakeProbe,
    Logistic,
    Perceptron,
    decided,
    logistic_example_gradients,
    made,
    measure,
    perceptron_example_gradients,
    perceptron_norms,
    random_batches,
    with_logit,
)
from hypothesis import given, settings
from hypothesis import strategies as st

RGN_FAMILY = ("auto_rgn", "auto_rgn_change", "auto_rgn_hessian", "auto_rgn_hessian_change")


def scaled_to_max(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores / scores.max())


# --- by hand ---------------------------------------------------------------------------------

THETA_1, THETA_2 = [3.0, 4.0], [1.0]


def test_hand_case_two_layers():
    """theta_1 = (3, 4), g_1 = (.6, .8); theta_2 = 1, g_2 = .1: ratios .2 and .1, weights 1 and .5.

    At z = 0 with label 1 the gradient of the loss is x / 2.
    """
    net = Logistic(THETA_1, THETA_2)
    batch = with_logit(net.flat(), [1.2, 1.6, 0.2], [1])
    found = measure("auto_rgn", FakeProbe(net, net.partition(), [batch]))
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, [0.2, 0.1], rtol=1e-12)
    np.testing.assert_allclose(found.weights, [1.0, 0.5], rtol=1e-6)


def test_scores_are_weights_where_nothing_is_normalised():
    net = Logistic(THETA_1, THETA_2)
    batch = with_logit(net.flat(), [1.2, 1.6, 0.2], [1])
    found = measure("auto_rgn", FakeProbe(net, net.partition(), [batch]), normalise="none")
    np.testing.assert_allclose(found.weights, [0.2, 0.1], rtol=1e-6)


@pytest.mark.parametrize(("aggregate", "ratio"), [("mean_of_norms", 1.0), ("norm_of_mean", 0.0)])
def test_hand_case_two_batches_of_opposite_gradients(aggregate, ratio):
    """g = (1, 0) and (-1, 0) with ||theta|| = 1; a second layer tells 0 from "nothing to tell"."""
    net = Logistic([0.6, 0.8], [2.0])
    batches = [with_logit(net.flat(), [2, 0, 4], [1]), with_logit(net.flat(), [2, 0, -4], [0])]
    probe = FakeProbe(net, net.partition(), batches)  # g_2 = 2 in both
    found = measure("auto_rgn", probe, aggregate=aggregate)
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, [ratio, 1.0], atol=1e-12)
    np.testing.assert_allclose(found.weights, [ratio, 1.0], atol=1e-6)


def test_hand_case_change_of_the_gradient():
    """Target g = (1, 0 | 3), source g = (1, 2 | -1): differences (0, -2 | 4), norms 2 and 4."""
    net = Logistic([3.0, 4.0], [10.0])
    target = with_logit(net.flat(), [2, 0, 6], [1])
    source = with_logit(net.flat(), [2, 4, -2], [1])
    found = measure("auto_rgn_change", FakeProbe(net, net.partition(), [target], [source]))
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, [2 / 5, 4 / 10], rtol=1e-12)
    np.testing.assert_allclose(found.weights, [1.0, 1.0], rtol=1e-6)


def test_change_averages_vectors_before_it_takes_a_norm():
    """Two target batches g = +-1 have the mean 0, and so has the source: no change at all there.

    With norms first the layer would score 1.
    """
    net = Logistic([1.0], [1.0])
    theta = net.flat()
    target = [with_logit(theta, [2, 2], [1]), with_logit(theta, [2, -2], [0])]  # (1|1), (-1|1)
    source = [with_logit(theta, [2, 0], [1]), with_logit(theta, [2, 0], [0])]  # (1|0), (-1|0)
    found = measure("auto_rgn_change", FakeProbe(net, net.partition(), target, source))
    np.testing.assert_allclose(found.weights, [0.0, 1.0], atol=1e-6)


# --- against backpropagation in NumPy -----------------------------------------------------------


def rgn_oracle(net: Perceptron, batches: list[Examples], aggregate: str) -> np.ndarray:
    means = [
        {name: g.mean(axis=0) for name, g in perceptron_example_gradients(net, batch).items()}
        for batch in batches
    ]
    norms = perceptron_norms(net)
    if aggregate == "norm_of_mean":
        total = [np.linalg.norm(sum(mean[name] for mean in means) / len(means)) for name in LAYERS]
    else:
        total = [np.mean([np.linalg.norm(mean[name]) for mean in means]) for name in LAYERS]
    return np.array([t / norms[name] for t, name in zip(total, LAYERS, strict=True)])


def change_oracle(net: Perceptron, target: list[Examples], source: list[Examples]) -> np.ndarray:
    def mean(batches: list[Examples], name: str) -> np.ndarray:
        each = [perceptron_example_gradients(net, batch)[name].mean(axis=0) for batch in batches]
        return np.mean(each, axis=0)

    norms = perceptron_norms(net)
    return np.array([np.linalg.norm(mean(target, n) - mean(source, n)) / norms[n] for n in LAYERS])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("aggregate", ["mean_of_norms", "norm_of_mean"])
def test_auto_rgn_is_the_ratio_of_norms(aggregate, seed):
    net = Perceptron(seed)
    batches = random_batches(seed, 5)
    probe = FakeProbe(net, net.partition(), batches)
    found = measure("auto_rgn", probe, aggregate=aggregate)
    expected = rgn_oracle(net, batches, aggregate)
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, expected, rtol=1e-9)
    np.testing.assert_allclose(found.weights, scaled_to_max(expected), rtol=1e-6)


def test_mean_of_norms_is_the_default_as_in_the_release():
    net, batches = Perceptron(4), random_batches(4, 5)
    found = measure("auto_rgn", FakeProbe(net, net.partition(), batches))
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, rgn_oracle(net, batches, "mean_of_norms"), rtol=1e-9)


@pytest.mark.parametrize(("asked", "used"), [({}, 5), ({"batches": 2}, 2)])
def test_only_so_many_batches_are_measured(asked, used):
    net, batches = Perceptron(5), random_batches(5, 7)
    found = measure("auto_rgn", FakeProbe(net, net.partition(), batches), **asked)
    assert found.scores is not None
    expected = rgn_oracle(net, batches[:used], "mean_of_norms")
    np.testing.assert_allclose(found.scores, expected, rtol=1e-9)
    assert not np.allclose(expected, rgn_oracle(net, batches, "mean_of_norms"), rtol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_auto_rgn_change_is_the_norm_of_the_difference(seed):
    net = Perceptron(seed)
    target, source = random_batches(seed, 5), random_batches(seed + 50, 5)
    found = measure("auto_rgn_change", FakeProbe(net, net.partition(), target, source))
    expected = change_oracle(net, target, source)
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, expected, rtol=1e-9)
    np.testing.assert_allclose(found.weights, scaled_to_max(expected), rtol=1e-6)


sizes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(1, 3), st.integers(1, 6), st.integers(0, 2**20))
def test_auto_rgn_on_any_logistic_model(layer_sizes, count, batch_size, seed):
    rng = np.random.default_rng(seed)
    net = Logistic(*(rng.normal(size=size) + 0.1 for size in layer_sizes))
    theta = net.flat()
    batches = [
        with_logit(
            theta,
            rng.normal(size=(batch_size, len(theta))),
            rng.integers(2, size=batch_size),
            rng.normal(size=batch_size),
        )
        for _ in range(count)
    ]
    found = measure("auto_rgn", FakeProbe(net, net.partition(), batches))
    ends = np.cumsum([0, *layer_sizes])
    means = [logistic_example_gradients(theta, batch).mean(axis=0) for batch in batches]
    expected = np.array(
        [
            np.mean([np.linalg.norm(m[a:b]) for m in means]) / np.linalg.norm(theta[a:b])
            for a, b in itertools.pairwise(ends)
        ]
    )
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, expected, rtol=1e-9)
    np.testing.assert_allclose(found.weights, scaled_to_max(expected), rtol=1e-6)


# --- what must not matter, and what must ---------------------------------------------------------


@pytest.mark.parametrize("name", ["auto_rgn", "auto_rgn_change"])
def test_the_scale_of_the_loss_leaves_the_weights(name):
    """x -> 8 x at the same logit multiplies every gradient by 8, as a loss times 8 would."""
    net = Logistic([1.0, 2.0], [0.5], [3.0, 1.0, 1.0])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 6)), [0, 1, 1, 0, 1, 0]
    z = rng.normal(size=6)
    theta = net.flat()
    other = [with_logit(theta, x[::-1], y, z), with_logit(theta, 8 * x[::-1], y, z)]
    one, eight = (
        measure(name, FakeProbe(net, net.partition(), [target], [source]))
        for target, source in zip(
            [with_logit(theta, x, y, z), with_logit(theta, 8 * x, y, z)], other, strict=True
        )
    )
    np.testing.assert_allclose(one.weights, eight.weights, rtol=1e-6)
    assert one.scores is not None and eight.scores is not None
    np.testing.assert_allclose(8 * one.scores, eight.scores, rtol=1e-9)


@pytest.mark.parametrize("name", ["auto_rgn", "auto_rgn_change"])
def test_the_order_of_examples_and_batches_does_not_matter(name):
    net = Perceptron(6)
    target, source = random_batches(6, 4), random_batches(7, 4)

    def turned(batches: list[Examples]) -> list[Examples]:
        return [Examples(b.images.flip(0), b.labels.flip(0)) for b in reversed(batches)]

    one = measure(name, FakeProbe(net, net.partition(), target, source))
    other = measure(name, FakeProbe(net, net.partition(), turned(target), turned(source)))
    assert one.scores is not None and other.scores is not None
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-9)


def test_change_is_symmetric_in_source_and_target():
    net = Perceptron(8)
    a, b = random_batches(8, 3), random_batches(9, 3)
    one = measure("auto_rgn_change", FakeProbe(net, net.partition(), a, b))
    other = measure("auto_rgn_change", FakeProbe(net, net.partition(), b, a))
    assert one.scores is not None and other.scores is not None
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-12)


@pytest.mark.parametrize("name", ["auto_rgn_change", "auto_rgn_hessian_change"])
def test_the_same_batches_on_both_sides_are_no_change_at_all(name):
    """All scores exactly 0: nothing tells the layers apart, all move fully."""
    net, batches = Perceptron(10), random_batches(10, 3)
    found = measure(name, FakeProbe(net, net.partition(), batches, batches))
    assert found.scores is not None
    assert found.scores.tolist() == [0.0, 0.0, 0.0]
    assert found.weights.tolist() == [1.0, 1.0, 1.0]


def test_change_is_auto_rgn_where_the_source_has_no_gradient():
    """Each source example comes once with either label at z = 0: residuals +-1/2."""
    net = Logistic([1.0, 2.0], [0.5])
    theta = net.flat()
    rng = np.random.default_rng(1)
    target = with_logit(theta, rng.normal(size=(6, 3)), [0, 1, 1, 0, 1, 0], rng.normal(size=6))
    x = rng.normal(size=(3, 3))
    source = with_logit(theta, np.vstack([x, x]), [0, 0, 0, 1, 1, 1])
    change = measure("auto_rgn_change", FakeProbe(net, net.partition(), [target], [source]))
    plain = measure("auto_rgn", FakeProbe(net, net.partition(), [target]), aggregate="norm_of_mean")
    np.testing.assert_allclose(change.weights, plain.weights, rtol=1e-6)


@pytest.mark.parametrize("name", RGN_FAMILY)
def test_a_layer_of_norm_zero_is_free_and_out_of_the_maximum(name):
    """D13: a fresh bias of zeros gets weight 1; the others are scaled among themselves."""
    net = Logistic([3.0, 4.0], [0.0, 0.0], [1.0])
    rng = np.random.default_rng(2)
    y = rng.integers(2, size=12)
    batches = [with_logit(net.flat(), rng.normal(size=(12, 5)), y, 0.1 * rng.normal(size=12))]
    source = [with_logit(net.flat(), rng.normal(size=(12, 5)), y, 0.1 * rng.normal(size=12))]
    found = measure(name, FakeProbe(net, net.partition(), batches, source))
    assert found.weights[1] == 1.0
    assert max(found.weights[0], found.weights[2]) == 1.0
    assert min(found.weights[0], found.weights[2]) < 1.0


def test_a_zero_tensor_inside_a_layer_that_is_not_zero_is_no_special_case():
    net = Perceptron(11)
    net.body.bias.data.zero_()
    batches = random_batches(11, 2)
    found = measure("auto_rgn", FakeProbe(net, net.partition(), batches))
    expected = rgn_oracle(net, batches, "mean_of_norms")
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, expected, rtol=1e-9)


@pytest.mark.parametrize("name", RGN_FAMILY)
def test_no_gradient_anywhere_means_equal_weights(name):
    net = Logistic([1.0, 2.0], [0.5], [3.0])
    flat = with_logit(net.flat(), np.zeros((4, 4)), [0, 1, 0, 1])
    found = measure(name, FakeProbe(net, net.partition(), [flat], [flat]))
    assert found.weights.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["auto_rgn", "auto_rgn_change"])
@pytest.mark.parametrize("refresh", ["epoch", "once"])
def test_refresh_measures_the_model_as_it_is_now_or_once(name, refresh):
    net = Perceptron(14)
    target, source = random_batches(14, 2), random_batches(15, 2)
    probe = FakeProbe(net, net.partition(), target, source)
    strategy = made(name, probe.partition, refresh=refresh)
    strategy.prepare(probe)
    strategy.epoch_start(1, 3, probe)
    first = decided(strategy, net).scores
    with torch.no_grad():
        net.body.weight.mul_(3.0)
    strategy.epoch_start(2, 3, probe)
    second = decided(strategy, net).scores
    now = measure(name, probe).scores
    assert first is not None and second is not None and now is not None
    assert not np.allclose(first, now, rtol=1e-3)
    np.testing.assert_allclose(second, now if refresh == "epoch" else first, rtol=1e-12)


def test_buffers_of_the_probed_copy_do_not_feed_back():
    """Measuring the same batches twice gives the same scores to the last bit."""
    net, batches = Perceptron(16), random_batches(16, 3)
    probe = FakeProbe(net, net.partition(), batches, batches[::-1])
    for name in ("auto_rgn", "auto_rgn_change"):
        strategy = made(name, probe.partition)
        strategy.prepare(probe)
        strategy.epoch_start(1, 2, probe)
        first = decided(strategy, net)
        strategy.epoch_start(2, 2, probe)
        assert decided(strategy, net).weights.tolist() == first.weights.tolist()
