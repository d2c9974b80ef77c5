"""Module criticality against losses in NumPy (automatic fine-tuning, section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from fake_probe import Array, Examples, FakeProbe, examples, layers_of, measure
from torch import Tensor, nn

from raysel.models.layers import Partition

KINDS = ("identity", "random")
DOMAINS = ("source", "target")
EVERY = [f"criticality_{kind}_{domain}" for kind in KINDS for domain in DOMAINS]


class Chain(nn.Module):
    """Linear layers one after the other, tanh in between or not; float64."""

    def __init__(
        self, weights: Sequence[Array], biases: Sequence[Array] | None = None, tanh: bool = False
    ) -> None:
        super().__init__()
        self.tanh = tanh
        self.names = [*(f"layer{i}" for i in range(len(weights) - 1)), "head"]
        for index, (name, weight) in enumerate(zip(self.names, weights, strict=True)):
            made = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
            made.weight.data = torch.tensor(weight, dtype=torch.float64)
            bias = np.zeros(len(weight)) if biases is None else biases[index]
            made.bias.data = torch.tensor(bias, dtype=torch.float64)
            self.add_module(name, made)

    def forward(self, images: Tensor) -> Tensor:
        hidden = images.flatten(1)
        for name in self.names:
            hidden = getattr(self, name)(hidden)
            if self.tanh and name != "head":
                hidden = torch.tanh(hidden)
        return hidden

    def partition(self) -> Partition:
        groups = {name: [f"{name}.weight", f"{name}.bias"] for name in self.names}
        return layers_of(self, groups, groups["head"])

    def arrays(self) -> list[tuple[Array, Array]]:
        parts = [getattr(self, name) for name in self.names]
        return [(p.weight.detach().numpy().copy(), p.bias.detach().numpy().copy()) for p in parts]


def cross_entropy(layers: list[tuple[Array, Array]], batches: Sequence[Examples], tanh: bool):
    """The mean loss over all examples, [] float."""
    h = np.concatenate([b.images.flatten(1).numpy() for b in batches])
    labels = np.concatenate([b.labels.numpy() for b in batches])
    for index, (weight, bias) in enumerate(layers):
        h = h @ weight.T + bias
        if tanh and index < len(layers) - 1:
            h = np.tanh(h)
    h = h - h.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(h).sum(1)) - h[np.arange(len(h)), labels]))


def identity_oracle(net: Chain, batches: Sequence[Examples]) -> Array:
    """L(f with layer l an identity) - L(f), [L]."""
    arrays = net.arrays()
    base = cross_entropy(arrays, batches, net.tanh)
    found = []
    for index, (weight, bias) in enumerate(arrays):
        ablated = [*arrays[:index], (np.eye(*weight.shape), 0 * bias), *arrays[index + 1 :]]
        found.append(cross_entropy(ablated, batches, net.tanh) - base)
    return np.array(found)


def to_weights(importance: Array) -> Array:
    clipped = np.maximum(importance, 0)
    return np.asarray(clipped / clipped.max() if clipped.max() > 0 else np.ones_like(clipped))


def skilled(seed: int, layers: int = 3, width: int = 4) -> Chain:
    """A network that knows its own labels: every layer matters."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(width, width)) for _ in range(layers - 1)]
    weights.append(4 * rng.normal(size=(3, width)))
    return Chain(weights, [0.3 * rng.normal(size=len(w)) for w in weights], tanh=True)


def labelled_by(net: Chain, seed: int, sizes: Sequence[int] = (16, 16)) -> list[Examples]:
    rng = np.random.default_rng(seed)
    found = []
    for size in sizes:
        images = torch.tensor(rng.normal(size=(size, 4, 1, 1)))
        with torch.no_grad():
            found.append(Examples(images, net(images).argmax(1)))
    return found


def probe_of(
    net: nn.Module, layers: Partition, batches: Sequence[Examples], domain: str
) -> FakeProbe:
    """The data on the side that the strategy scores; on the other one data of no use."""
    shape = batches[0].images.shape[1:]
    useless = [Examples(torch.zeros(4, *shape, dtype=torch.float64), torch.zeros(4).long())]
    sides = (batches, useless) if domain == "target" else (useless, batches)
    return FakeProbe(net, layers, *sides, tune=lambda model, epochs: None)


# --- identity: exact -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("domain", DOMAINS)
def test_identity_is_the_rise_of_the_loss(domain, seed):
    net = skilled(seed)
    batches = labelled_by(net, seed)
    found = measure(
        f"criticality_identity_{domain}", probe_of(net, net.partition(), batches, domain)
    )
    expected = identity_oracle(net, batches)
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, np.maximum(expected, 0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.weights, to_weights(expected), rtol=1e-5, atol=1e-6)


def test_hand_case_two_scalings():
    """f(x) = 3 . 2 . x on x = (1, 0) with label 0: L = log(1 + e^-6); without the factor 2
    log(1 + e^-3), without the 3 log(1 + e^-2).
    """
    net = Chain([2 * np.eye(2), 3 * np.eye(2)])
    batch = [examples([[1, 0], [0, 1]], [0, 1])]
    probe = probe_of(net, net.partition(), batch, "source")
    found = measure("criticality_identity_source", probe)
    base = np.log1p(np.exp(-6))
    rise = np.array([np.log1p(np.exp(-3)) - base, np.log1p(np.exp(-2)) - base])
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, rise, rtol=1e-9)
    np.testing.assert_allclose(found.weights, [rise[0] / rise[1], 1.0], rtol=1e-6)


def test_unequal_batches_count_by_their_examples():
    net = skilled(4)
    batches = labelled_by(net, 4, sizes=(20, 3))
    probe = probe_of(net, net.partition(), batches, "source")
    found = measure("criticality_identity_source", probe)
    expected = identity_oracle(net, batches)
    np.testing.assert_allclose(found.weights, to_weights(expected), rtol=1e-5, atol=1e-6)


class Convolutions(nn.Module):
    """A convolution that is an identity but for a factor, a grouped one beside it, a head."""

    def __init__(self, factor: float, groups: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 3, padding=1, groups=groups, dtype=torch.float64)
        self.head = nn.Linear(4, 3, dtype=torch.float64)
        with torch.no_grad():
            self.stem.weight.zero_()
            for channel in range(4):
                self.stem.weight[channel, channel % (4 // groups), 1, 1] = factor
            self.stem.bias.zero_()
            self.head.weight.copy_(torch.tensor(np.random.default_rng(0).normal(size=(3, 4))))
            self.head.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.stem(images).mean((2, 3)))
        return logits

    def partition(self) -> Partition:
        groups = {name: [f"{name}.weight", f"{name}.bias"] for name in ("stem", "head")}
        return layers_of(self, groups, groups["head"])


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_identity_of_a_convolution_is_dirac_in_each_group(groups):
    """A Dirac kernel has no importance; one times 6 has that of the factor 6."""
    rng = np.random.default_rng(1)
    images = torch.tensor(rng.normal(size=(12, 4, 5, 5)))

    def scored(factor: float) -> np.ndarray:
        net = Convolutions(factor, groups)
        with torch.no_grad():
            labels = net(images).argmax(1)
        batch = Examples(images, labels)
        probe = probe_of(net, net.partition(), [batch], "source")
        found = measure("criticality_identity_source", probe)
        assert found.scores is not None
        head = net.head.weight.detach().numpy()
        pooled = images.mean((2, 3)).numpy()
        losses = []
        for scale in (1.0, factor):
            z = scale * pooled @ head.T
            losses.append(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(12), labels.numpy()]))
        np.testing.assert_allclose(found.scores[0], losses[0] - losses[1], rtol=1e-6, atol=1e-9)
        return found.scores

    assert abs(scored(1.0)[0]) < 1e-12
    assert scored(6.0)[0] > 0.01


# --- random: the expectation over draws --------------------------------------------------------


def test_random_comes_near_the_expected_rise_of_the_loss():
    """Weights of a Linear are drawn again as torch draws them, U(-1/sqrt(n), 1/sqrt(n)).

    A Monte Carlo of its own in NumPy; the tolerance is three standard errors of the draws.
    """
    net = skilled(6)
    batches = labelled_by(net, 6, sizes=(40,))
    draws = 30
    probe = probe_of(net, net.partition(), batches, "source")
    found = measure("criticality_random_source", probe, draws=draws)
    arrays, rng = net.arrays(), np.random.default_rng(0)
    base = cross_entropy(arrays, batches, True)
    assert found.scores is not None
    for index, (weight, bias) in enumerate(arrays):
        bound = weight.shape[1] ** -0.5
        rises = []
        for _ in range(600):
            fresh = rng.uniform(-bound, bound, weight.shape), rng.uniform(-bound, bound, bias.shape)
            ablated = [*arrays[:index], fresh, *arrays[index + 1 :]]
            rises.append(cross_entropy(ablated, batches, True) - base)
        error = np.std(rises) / draws**0.5
        assert abs(found.scores[index] - np.mean(rises)) < 3.5 * error + 1e-3, index


@pytest.mark.parametrize("domain", DOMAINS)
def test_random_is_the_same_at_every_call(domain):
    """The draws are seeded by themselves, not by who else drew before."""
    net = skilled(7)
    probe = probe_of(net, net.partition(), labelled_by(net, 7), domain)
    first = measure(f"criticality_random_{domain}", probe)
    state = torch.get_rng_state()
    torch.rand(3)
    second = measure(f"criticality_random_{domain}", probe)
    torch.set_rng_state(state)
    assert first.weights.tolist() == second.weights.tolist()


# --- both -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_dead_layer_has_no_importance(name):
    """Followed by zero weights, so that nothing of it reaches the loss."""
    net = skilled(8)
    net.layer1.weight.data.zero_()
    net.layer1.bias.data = torch.tensor([1.0, -1.0, 0.5, 2.0]).double()
    batches = labelled_by(skilled(8), 8)
    found = measure(name, probe_of(net, net.partition(), batches, name.rsplit("_")[-1]))
    assert found.scores is not None
    assert found.scores[0] == 0.0
    assert found.scores.max() > 0.0  # else the weights are uniform
    assert found.weights[0] == 0.0


@pytest.mark.parametrize("name", EVERY)
def test_the_order_of_examples_does_not_matter(name):
    net = skilled(10)
    batches = labelled_by(net, 10)
    turned = [Examples(b.images.flip(0), b.labels.flip(0)) for b in reversed(batches)]
    domain = name.rsplit("_")[-1]
    one = measure(name, probe_of(net, net.partition(), batches, domain))
    other = measure(name, probe_of(net, net.partition(), turned, domain))
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_only_do_harm_are_equal(kind):
    """Where every ablation lowers the loss nothing tells the layers apart."""
    net = Chain([5 * np.eye(3), 5 * np.eye(3)])
    wrong = [examples(np.eye(3), [1, 2, 0])]  # each logit is largest where it must not be
    found = measure(f"criticality_{kind}_source", probe_of(net, net.partition(), wrong, "source"))
    assert found.weights.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("kind", KINDS)
def test_source_asks_for_no_fine_tuning(kind):
    net = skilled(13)
    probe = FakeProbe(net, net.partition(), labelled_by(net, 1), labelled_by(net, 2))
    measure(f"criticality_{kind}_source", probe)
    assert probe.tuned_epochs in ([], [0])
