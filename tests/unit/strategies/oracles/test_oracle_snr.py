"""Auto-SNR against gradients of single examples that are written down by hand (D29)."""

from __future__ import annotations

import numpy as np
import pytest
from fake_probe import (
    LAYERS,
    Examples,
    FakeProbe,
    Logistic,
    Perceptron,
    measure,
    perceptron_example_gradients,
    random_batches,
    with_logit,
)


def snr(gradients: np.ndarray) -> float:
    """[n examples, n_l parameters] -> the mean over parameters of mean^2 / var, ddof = 1."""
    return float(np.mean(gradients.mean(axis=0) ** 2 / gradients.var(axis=0, ddof=1)))


def to_max(values: np.ndarray) -> np.ndarray:
    return np.asarray(values / values.max())


def by_hand(*layers: list[list[float]]) -> tuple[Logistic, FakeProbe]:
    """Gradients of each example by layer: at z = 0 and label 1 the gradient is x / 2."""
    gradients = np.hstack([np.asarray(layer, dtype=float) for layer in layers])
    net = Logistic(*(np.ones(len(layer[0])) for layer in layers))
    batch = with_logit(net.flat(), 2 * gradients, np.ones(len(gradients)))
    return net, FakeProbe(net, net.partition(), [batch])


def test_hand_case_two_examples():
    """g = 1, 3: mean 2, variance 2, ratio 2. g = 1, 7: mean 4, variance 18, ratio 8/9."""
    _, probe = by_hand([[1], [3]], [[1], [7]])
    found = measure("auto_snr", probe, threshold=0.5)
    assert found.scores is not None
    np.testing.assert_allclose(to_max(found.scores), [1, 4 / 9], rtol=1e-9)
    assert found.weights.tolist() == [1.0, 0.0]
    assert measure("auto_snr", probe, threshold=0.4).weights.tolist() == [1.0, 1.0]


def test_scores_are_reported_in_units_of_pure_noise():
    """B times the ratio, whose value for noise alone is 1 up to (B - 1) / (B - 3): here B = 2."""
    _, probe = by_hand([[1], [3]], [[1], [7]])
    found = measure("auto_snr", probe)
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, [2 * 2, 2 * 8 / 9], rtol=1e-9)


def test_a_layer_at_the_threshold_is_not_below_it():
    """g = 0, 1: mean 1/2, variance 1/2, ratio 1/2: exactly a quarter of 2."""
    _, probe = by_hand([[1], [3]], [[0], [1]])
    assert measure("auto_snr", probe, threshold=0.25).weights.tolist() == [1.0, 1.0]
    assert measure("auto_snr", probe, threshold=0.26).weights.tolist() == [1.0, 0.0]


def test_hand_case_mean_over_the_parameters_of_a_layer():
    """Ratios (2, 8/9) in one layer: 13/9 in the mean; a layer of ratio 2 beside it."""
    _, probe = by_hand([[1, 1], [3, 7]], [[1], [3]])
    found = measure("auto_snr", probe)
    assert found.scores is not None
    np.testing.assert_allclose(to_max(found.scores), [13 / 18, 1], rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_network_against_backpropagation_of_single_examples(seed):
    """The ratio of each batch, then the mean over batches (D29)."""
    net, batches = Perceptron(seed), random_batches(seed, 3, size=6)
    found = measure("auto_snr", FakeProbe(net, net.partition(), batches))
    each = [perceptron_example_gradients(net, batch) for batch in batches]
    expected = np.array([np.mean([snr(g[name]) for g in each]) for name in LAYERS])
    assert found.scores is not None
    np.testing.assert_allclose(to_max(found.scores), to_max(expected), rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.6, 0.95])
def test_layers_below_the_threshold_rest_and_the_others_move_fully(threshold):
    net, batches = Perceptron(5), random_batches(5, 2, size=6)
    found = measure("auto_snr", FakeProbe(net, net.partition(), batches), threshold=threshold)
    each = [perceptron_example_gradients(net, batch) for batch in batches]
    expected = np.array([np.mean([snr(g[name]) for g in each]) for name in LAYERS])
    assert found.weights.tolist() == (to_max(expected) >= threshold).astype(float).tolist()


def test_only_so_many_batches_are_measured():
    net, batches = Perceptron(6), random_batches(6, 4, size=6)
    found = measure("auto_snr", FakeProbe(net, net.partition(), batches), batches=2)
    first = measure("auto_snr", FakeProbe(net, net.partition(), batches[:2]))
    everything = measure("auto_snr", FakeProbe(net, net.partition(), batches), batches=4)
    assert found.scores is not None and first.scores is not None
    assert everything.scores is not None
    np.testing.assert_allclose(found.scores, first.scores, rtol=1e-12)
    assert not np.allclose(found.scores, everything.scores, rtol=1e-3)


def test_the_noise_floor_of_a_mean_of_ratios():
    """Gradients N(mu, 1): (mu^2 + 1/B) (B - 1) / (B - 3); with B = 8 noise alone gives .175.

    Three layers of 4000 parameters: the standard error of each mean is about 1 %.
    """
    rng = np.random.default_rng(0)
    means, count, size = np.array([0.0, 0.5, 1.0]), 8, 4000
    drawn = [(mean + rng.normal(size=(count, size))).tolist() for mean in means]
    _, probe = by_hand(*drawn)
    found = measure("auto_snr", probe)
    expected = (means**2 + 1 / count) * (count - 1) / (count - 3)
    assert found.scores is not None
    np.testing.assert_allclose(to_max(found.scores), to_max(expected), rtol=0.06)


def test_equal_examples_have_no_variance_and_the_largest_ratio():
    """Infinite is capped at the largest finite ratio: never NaN, never frozen."""
    _, probe = by_hand([[2, 3], [2, 3], [2, 3]], [[1, 1], [3, 7], [2, -5]])
    found = measure("auto_snr", probe, threshold=0.9)
    assert found.weights[0] == 1.0
    assert found.scores is not None
    assert np.isfinite(found.scores).all()


def test_a_dead_layer_has_ratio_zero():
    """0/0 is 0, not NaN and not infinite."""
    _, probe = by_hand([[0, 0], [0, 0]], [[1], [3]])
    found = measure("auto_snr", probe)
    assert found.scores is not None
    assert found.scores[0] == 0.0
    assert found.weights.tolist() == [0.0, 1.0]


def test_no_gradient_anywhere_leaves_something_to_move():
    _, probe = by_hand([[0, 0], [0, 0]], [[0], [0]])
    assert measure("auto_snr", probe).weights.max() == 1.0


def test_the_scale_of_the_loss_does_not_matter():
    rng = np.random.default_rng(1)
    drawn = [(0.5 + rng.normal(size=(6, n))) for n in (3, 5, 1)]
    for scale in (1e-4, 1e3):
        _, one = by_hand(*(d.tolist() for d in drawn))
        _, other = by_hand(*((scale * d).tolist() for d in drawn))
        a, b = measure("auto_snr", one), measure("auto_snr", other)
        assert a.scores is not None and b.scores is not None
        np.testing.assert_allclose(to_max(a.scores), to_max(b.scores), rtol=1e-5)
        assert a.weights.tolist() == b.weights.tolist()


def test_the_order_of_examples_in_a_batch_does_not_matter():
    net, batches = Perceptron(7), random_batches(7, 2, size=6)
    turned = [Examples(b.images.flip(0), b.labels.flip(0)) for b in batches]
    one = measure("auto_snr", FakeProbe(net, net.partition(), batches))
    other = measure("auto_snr", FakeProbe(net, net.partition(), turned))
    assert one.scores is not None and other.scores is not None
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)
