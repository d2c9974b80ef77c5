"""Fisher information by layer, against gradients written down by hand."""

import numpy as np
import pytest
import torch
from fake_probe import (
    FakeProbe,
    Logistic,
    logistic_example_gradients,
    measure,
    with_logit,
)

from raysel.strategies.fisher import top_share

THETA = ([0.3], [1.0, -0.5], [0.2, 0.1, -0.7])


def probe(seed: int, counts: tuple[int, ...] = (3, 5)) -> FakeProbe:
    net, rng = Logistic(*THETA), np.random.default_rng(seed)
    batches = [
        with_logit(net.flat(), rng.normal(size=(n, 6)), rng.integers(0, 2, n), rng.normal(size=n))
        for n in counts
    ]
    return FakeProbe(net, net.partition(), batches)


def by_hand(given: FakeProbe) -> np.ndarray:
    theta = given.net.flat()
    gradients = np.concatenate([logistic_example_gradients(theta, b) for b in given.target])
    return np.array([np.mean(gradients[:, part] ** 2) for part in ([0], [1, 2], [3, 4, 5])])


@pytest.mark.parametrize("seed", range(3))
def test_the_score_is_the_mean_of_squared_gradients_over_examples_and_numbers(seed):
    given = probe(seed)
    found = measure("fisher_layers", given, batches=2, use="rates")
    wanted = by_hand(given)
    np.testing.assert_allclose(found.scores, wanted, rtol=1e-6)
    np.testing.assert_allclose(found.weights, wanted / wanted.max(), rtol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.34, 0.67, 1.0])
def test_the_layers_with_the_largest_move(share):
    given = probe(1)
    found = measure("fisher_layers", given, batches=2, share=share)
    count = max(1, round(3 * share))
    order = np.argsort(-by_hand(given))
    assert set(np.flatnonzero(found.weights)) == set(order[:count])


def test_one_example_does_not_cancel_another():
    """Two examples whose gradients are opposite: the mean is 0, the information is not."""
    net = Logistic(*THETA)
    one = np.ones((2, 6))
    batch = with_logit(net.flat(), one, [0, 1], 0.0)
    found = measure("fisher_layers", FakeProbe(net, net.partition(), [batch]), use="rates")
    np.testing.assert_allclose(found.scores, 0.25, rtol=1e-9)


def test_a_layer_without_a_score_moves_and_is_not_counted():
    scores = torch.tensor([3.0, 1.0, 2.0, torch.nan], dtype=torch.float64)
    assert top_share(scores, 0.34).tolist() == [1.0, 0.0, 0.0, 1.0]
    assert top_share(scores, 1.0).tolist() == [1.0, 1.0, 1.0, 1.0]
    assert top_share(torch.ones(4, dtype=torch.float64), 0.5).tolist() == [1.0, 1.0, 0.0, 0.0]
