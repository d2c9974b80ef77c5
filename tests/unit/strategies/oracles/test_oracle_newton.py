"""The Newton direction of Auto-RGN + Hessian against a dense Hessian in float64.

L-BFGS sees the Hessian along its own path, so on a logistic loss (nearly quadratic where the
logits are small) it comes near the dense solution and is not equal to it: the tolerances say
how near. What the plain gradient would give is far outside them, which each test checks.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from fake_probe import (
    Examples,
    FakeProbe,
    Logistic,
    layers_of,
    logistic_example_gradients,
    logistic_hessian,
    measure,
    with_logit,
)
from torch import Tensor, nn

from raysel.models.layers import Partition


def ends(net: Logistic) -> list[tuple[int, int]]:
    cuts = np.cumsum([0, *(len(theta) for theta in net.theta)]).tolist()
    return list(itertools.pairwise(cuts))


def relative_norms(direction: np.ndarray, theta: np.ndarray, cuts: list[tuple[int, int]]):
    return np.array([np.linalg.norm(direction[a:b]) / np.linalg.norm(theta[a:b]) for a, b in cuts])


def gradient(theta: np.ndarray, batches: list[Examples]) -> np.ndarray:
    return np.mean(np.vstack([logistic_example_gradients(theta, b) for b in batches]), axis=0)


def newton(theta: np.ndarray, batches: list[Examples]) -> np.ndarray:
    """H^-1 g of the mean loss over all examples."""
    count = sum(len(b) for b in batches)
    hessian = sum(len(b) / count * logistic_hessian(theta, b) for b in batches)
    return np.linalg.solve(hessian, gradient(theta, batches))


def nearly_quadratic(
    net: Logistic, seed: int, stretch: np.ndarray, batches: int = 2, size: int = 1000
) -> list[Examples]:
    """Inputs of different lengths by coordinate, logits near 0, labels nearly at random: so the
    minimum is near and the curvature of coordinate i is about stretch_i^2 / 4 all the way.
    """
    rng = np.random.default_rng(seed)
    theta = net.flat()
    found = []
    for _ in range(batches):
        unit = rng.normal(size=(size, len(theta)))
        likely = 1 / (1 + np.exp(-unit @ np.linspace(0.02, 0.05, len(theta))))
        labels = (rng.random(size) > likely).astype(int)
        found.append(with_logit(theta, unit * stretch, labels, 0.05 * rng.normal(size=size)))
    return found


def to_max(values: np.ndarray) -> np.ndarray:
    return np.asarray(values / values.max())


STRETCHED = np.array([1.0, 2.0, 0.5, 1.0, 2.0])  # curvatures of .06 to 1
SEEDS = range(15)


def five_parameters() -> Logistic:
    return Logistic([0.5, -1.0], [2.0, 1.0], [1.0])


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_scores_and_weights_are_those_of_the_dense_newton_step():
    """Over many data sets: 7 % of the length and .07 of a weight in the mean, three times as
    much at most. The plain gradient misses by ten times as much.
    """
    score_errors, weight_errors, plain_errors = [], [], []
    net = five_parameters()
    theta = net.flat()
    for seed in SEEDS:
        batches = nearly_quadratic(net, seed, STRETCHED)
        found = measure("auto_rgn_hessian", FakeProbe(net, net.partition(), batches))
        dense = relative_norms(newton(theta, batches), theta, ends(net))
        plain = relative_norms(gradient(theta, batches), theta, ends(net))
        assert found.scores is not None
        score_errors.append(distance(found.scores, dense))
        weight_errors.append(np.abs(found.weights - to_max(dense)).max())
        plain_errors.append(np.abs(to_max(plain) - to_max(dense)).max())
    assert np.mean(score_errors) < 0.07 and max(score_errors) < 0.2, score_errors
    assert np.mean(weight_errors) < 0.07 and max(weight_errors) < 0.2, weight_errors
    assert np.mean(plain_errors) > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_where_all_curvatures_are_alike_the_step_is_newtons_to_five_percent(seed):
    net = five_parameters()
    batches = nearly_quadratic(net, seed, np.ones(5))
    found = measure("auto_rgn_hessian", FakeProbe(net, net.partition(), batches))
    theta = net.flat()
    dense = relative_norms(newton(theta, batches), theta, ends(net))
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, dense, rtol=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_a_layer_of_a_hundredfold_curvature_is_brought_down_to_the_others(seed):
    """Layer 2 has inputs ten times as long: its gradient is ten times as large, its curvature a
    hundred times, its Newton step a tenth. Auto-RGN prefers layer 2, the Hessian layer 1.
    """
    net = Logistic([1.0, 1.0], [1.0, 1.0])
    batches = nearly_quadratic(net, seed, np.array([1.0, 1.0, 10.0, 10.0]))
    probe = FakeProbe(net, net.partition(), batches)
    plain = measure("auto_rgn", probe).weights
    curved = measure("auto_rgn_hessian", probe).weights
    assert plain[1] == 1.0 and plain[0] < 0.2
    assert curved[0] == 1.0 and curved[1] < 0.2


def test_change_is_the_difference_of_two_newton_steps():
    """Each side with its own Hessian: that of the target for both misses by three times as much."""
    net = five_parameters()
    theta = net.flat()
    errors, shared_errors = [], []
    for seed in SEEDS:
        target = nearly_quadratic(net, seed, STRETCHED)
        source = nearly_quadratic(net, seed + 20, np.array([2.0, 0.5, 1.0, 2.0, 1.0]))
        probe = FakeProbe(net, net.partition(), target, source)
        found = measure("auto_rgn_hessian_change", probe)
        dense = relative_norms(newton(theta, target) - newton(theta, source), theta, ends(net))
        hessian = sum(logistic_hessian(theta, b) for b in target) / len(target)
        difference = gradient(theta, target) - gradient(theta, source)
        shared = relative_norms(np.linalg.solve(hessian, difference), theta, ends(net))
        errors.append(np.abs(found.weights - to_max(dense)).max())
        shared_errors.append(np.abs(to_max(shared) - to_max(dense)).max())
    assert np.mean(errors) < 0.12 and np.median(errors) < 0.08, errors
    assert np.mean(shared_errors) > 3 * np.mean(errors), shared_errors


def test_change_is_the_plain_newton_step_where_the_source_has_no_gradient():
    """Each source input comes with either label at z = 0; as many examples on both sides."""
    net = Logistic([0.5, -1.0], [2.0, 1.0])
    target = nearly_quadratic(net, 1, np.array([1.0, 2.0, 0.5, 1.0]), batches=1, size=40)
    x = np.random.default_rng(5).normal(size=(20, 4))
    source = [with_logit(net.flat(), np.vstack([x, x]), [0] * 20 + [1] * 20)]
    change = measure("auto_rgn_hessian_change", FakeProbe(net, net.partition(), target, source))
    plain = measure("auto_rgn_hessian", FakeProbe(net, net.partition(), target))
    np.testing.assert_allclose(change.weights, plain.weights, atol=1e-5)


def test_every_example_twice_is_the_same_loss():
    net = Logistic([0.5, -1.0], [2.0, 1.0])
    batches = nearly_quadratic(net, 0, np.array([1.0, 2.0, 0.5, 1.0]), size=50)
    doubled = [
        Examples(torch.cat([b.images, b.images]), torch.cat([b.labels, b.labels])) for b in batches
    ]
    one, two = (
        measure("auto_rgn_hessian", FakeProbe(net, net.partition(), data))
        for data in (batches, doubled)
    )
    np.testing.assert_allclose(one.weights, two.weights, rtol=1e-5)


def test_the_order_of_examples_does_not_matter():
    net = Logistic([0.5, -1.0], [2.0, 1.0])
    batches = nearly_quadratic(net, 3, np.array([1.0, 2.0, 0.5, 1.0]))
    turned = [Examples(b.images.flip(0), b.labels.flip(0)) for b in batches]
    one, two = (
        measure("auto_rgn_hessian", FakeProbe(net, net.partition(), data))
        for data in (batches, turned)
    )
    np.testing.assert_allclose(one.weights, two.weights, rtol=1e-4)


def test_a_longer_history_than_the_loss_has_dimensions_does_no_harm():
    """Past convergence the pairs are rounding noise; taking them up made the step 3.7 times as
    long on a quadratic (D15).
    """
    net = Logistic([0.5, -1.0], [2.0, 1.0])
    batches = nearly_quadratic(net, 2, np.array([1.0, 2.0, 0.5, 1.0]))
    found = measure("auto_rgn_hessian", FakeProbe(net, net.partition(), batches), history=60)
    theta = net.flat()
    dense = relative_norms(newton(theta, batches), theta, ends(net))
    assert found.scores is not None
    assert distance(found.scores, dense) < 0.15


# --- a small network ---------------------------------------------------------------------------


class TwoLayers(nn.Module):
    """z = v tanh(u . x + c) + d, one hidden unit; logits (z, 0)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 1, dtype=torch.float64)
        self.head = nn.Linear(1, 1, dtype=torch.float64)
        self.stem.weight.data = torch.tensor([[1.0, -1.0, 1.0]]).double()
        self.stem.bias.data = torch.tensor([0.2]).double()
        self.head.weight.data = torch.tensor([[1.5]]).double()
        self.head.bias.data = torch.tensor([0.2]).double()

    def forward(self, images: Tensor) -> Tensor:
        z = self.head(torch.tanh(self.stem(images.flatten(1))))
        return torch.cat([z, torch.zeros_like(z)], dim=1)

    def partition(self) -> Partition:
        groups = {name: [f"{name}.weight", f"{name}.bias"] for name in ("stem", "head")}
        return layers_of(self, groups, ["head.weight", "head.bias"])


def near_its_minimum(seed: int) -> tuple[TwoLayers, Examples]:
    """A network a little away from a minimum that is known: labels in the proportions that the
    network itself gave them before, 20 to an input. There the Hessian is positive definite.
    """
    rng = np.random.default_rng(seed)
    net = TwoLayers()
    images = torch.tensor(1.5 * rng.normal(size=(400, 3, 1, 1)))
    with torch.no_grad():
        ones = torch.softmax(net(images), dim=1)[:, 1].mul(20).round().long()
        for parameter in net.parameters():
            parameter.add_(torch.tensor(0.02 * rng.normal(size=parameter.shape)))
    labels = (torch.arange(20)[None, :] < ones[:, None]).long()
    return net, Examples(images.repeat_interleave(20, dim=0), labels.reshape(-1))


def dense_newton(net: TwoLayers, batch: Examples) -> tuple[np.ndarray, np.ndarray]:
    """(H^-1 g, g), by automatic differentiation of the whole flat parameter vector."""
    named = dict(net.named_parameters())
    shapes = {name: p.shape for name, p in named.items()}
    flat = torch.cat([p.detach().reshape(-1) for p in named.values()])

    def loss(theta: Tensor) -> Tensor:
        parts = theta.split([shape.numel() for shape in shapes.values()])
        values = {n: p.reshape(s) for (n, s), p in zip(shapes.items(), parts, strict=True)}
        logits = torch.func.functional_call(net, values, (batch.images,))
        return nn.functional.cross_entropy(logits, batch.labels)

    hessian = torch.func.hessian(loss)(flat).numpy()
    assert np.linalg.eigvalsh(hessian).min() > 0
    g = torch.func.grad(loss)(flat).numpy()
    return np.linalg.solve(hessian, g), g


@pytest.mark.parametrize("seed", range(4))
def test_a_small_network_near_its_minimum(seed):
    """Here the gradient has the layers in the wrong order and a tenth of the length at most."""
    net, batch = near_its_minimum(seed)
    direction, slope = dense_newton(net, batch)
    theta = torch.cat([p.detach().reshape(-1) for p in net.parameters()]).numpy()
    dense, plain = (
        relative_norms(vector, theta, [(0, 4), (4, 6)]) for vector in (direction, slope)
    )
    assert dense.argmax() == 0 and plain.argmax() == 1
    assert (plain < 0.1 * dense).all()
    found = measure("auto_rgn_hessian", FakeProbe(net, net.partition(), [batch]))
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, dense, rtol=0.4)
    np.testing.assert_allclose(found.weights, to_max(dense), atol=0.25)
