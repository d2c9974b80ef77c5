"""Layerwise surprise against NumPy histograms (automatic fine-tuning, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from fake_probe import Examples, FakeProbe, examples, layers_of, measure
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from raysel.models.layers import Partition


def kl_of_counts(target: np.ndarray, source: np.ndarray, pseudocount: float = 0.01) -> float:
    p, q = target + pseudocount, source + pseudocount
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


def surprise(target: np.ndarray, source: np.ndarray, bins: int = 8) -> np.ndarray:
    """[n, K] activations of one layer -> the divergence of each dimension, joint range (D18)."""
    found = []
    for k in range(target.shape[1]):
        low = min(target[:, k].min(), source[:, k].min())
        high = max(target[:, k].max(), source[:, k].max())
        if low == high:
            found.append(0.0)
            continue
        counts = [np.histogram(x[:, k], bins, (low, high))[0] for x in (target, source)]
        found.append(kl_of_counts(*counts))
    return np.array(found)


def test_the_oracle_on_the_case_of_the_notes():
    """Counts (4, 0, ..., 4) and (2, 0, ..., 6): .129162 nats; without a pseudocount .130812."""
    source, target = np.array([4, 0, 0, 0, 0, 0, 0, 4]), np.array([2, 0, 0, 0, 0, 0, 0, 6])
    assert abs(kl_of_counts(target, source) - 0.129162) < 1e-6


class Plain(nn.Module):
    """stem (one linear layer), body (linear, relu, linear, relu), head (linear)."""

    def __init__(self, seed: int = 0, sizes: Sequence[int] = (4, 5, 6, 7, 3)) -> None:
        super().__init__()
        a, b, c, d, e = sizes
        self.stem = linear(seed, a, b)
        self.body = nn.Sequential(
            linear(seed + 1, b, c), nn.ReLU(), linear(seed + 2, c, d), nn.ReLU()
        )
        self.head = linear(seed + 3, d, e)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.stem(images.flatten(1))))
        return logits

    def partition(self) -> Partition:
        names = [name for name, _ in self.named_parameters()]
        groups = {
            layer: [n for n in names if n.startswith(layer)] for layer in ("stem", "body", "head")
        }
        return layers_of(self, groups, groups["head"])

    def activations(self, batches: Sequence[Examples]) -> list[np.ndarray]:
        """The output of each layer in NumPy, [n, K] each."""
        x = np.concatenate([b.images.flatten(1).numpy() for b in batches])
        stem = affine(self.stem, x)
        hidden = np.maximum(affine(self.body[0], stem), 0)
        body = np.maximum(affine(self.body[2], hidden), 0)
        return [stem, body, affine(self.head, body)]


def affine(module: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(x @ module.weight.detach().numpy().T + module.bias.detach().numpy())


def linear(seed: int, inputs: int, outputs: int) -> nn.Linear:
    rng = np.random.default_rng(seed)
    made = nn.Linear(inputs, outputs, dtype=torch.float64)
    made.weight.data = torch.tensor(rng.normal(size=(outputs, inputs)))
    made.bias.data = torch.tensor(rng.normal(size=outputs))
    return made


def samples(seed: int, count: int, shift: float = 0.0, size: int = 16) -> list[Examples]:
    """`count` inputs of 4 numbers in batches of `size`."""
    rng = np.random.default_rng(seed)
    x, y = shift + rng.normal(size=(count, 4)), rng.integers(3, size=count)
    return [examples(x[i : i + size], y[i : i + size]) for i in range(0, count, size)]


def oracle(net: Plain, target: list[Examples], source: list[Examples], bins: int = 8):
    pairs = zip(net.activations(target), net.activations(source), strict=True)
    return [surprise(t, s, bins) for t, s in pairs]


def to_max(values: np.ndarray) -> np.ndarray:
    return np.asarray(values / values.max())


# --- against the oracle ----------------------------------------------------------------------


@pytest.mark.parametrize(("target_count", "source_count"), [(64, 64), (80, 48), (40, 70)])
@pytest.mark.parametrize("seed", range(3))
def test_surprise_is_the_sum_of_divergences(seed, target_count, source_count):
    net = Plain(seed)
    target, source = samples(seed, target_count, 1.0), samples(seed + 9, source_count)
    found = measure("surprise", FakeProbe(net, net.partition(), target, source))
    expected = np.array([each.sum() for each in oracle(net, target, source)])
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, expected, rtol=1e-6)
    np.testing.assert_allclose(found.weights, to_max(expected), rtol=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_the_mean_over_dimensions_on_request(seed):
    net = Plain(seed)
    target, source = samples(seed, 64, 1.0), samples(seed + 9, 64)
    probe = FakeProbe(net, net.partition(), target, source)
    found = measure("surprise", probe, reduce="mean")
    expected = np.array([each.mean() for each in oracle(net, target, source)])
    np.testing.assert_allclose(found.weights, to_max(expected), rtol=1e-5)


@pytest.mark.parametrize("bins", [4, 16])
def test_another_number_of_bins(bins):
    net = Plain(3)
    target, source = samples(3, 64, 1.0), samples(12, 64)
    found = measure("surprise", FakeProbe(net, net.partition(), target, source), bins=bins)
    expected = np.array([each.sum() for each in oracle(net, target, source, bins)])
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, expected, rtol=1e-6)


def one_dimension(head: Sequence[float] = (1.0, 2.0)) -> tuple[nn.Module, Partition]:
    """stem: x -> x; head: two logits, multiples of it."""
    net = nn.Sequential()
    net.add_module("flatten", nn.Flatten())
    stem, top = nn.Linear(1, 1).double(), nn.Linear(1, len(head)).double()
    stem.weight.data.fill_(1.0)
    stem.bias.data.zero_()
    top.weight.data = torch.tensor(head, dtype=torch.float64)[:, None]
    net.add_module("stem", stem)
    net.add_module("head", top)
    groups = {layer: [f"{layer}.weight", f"{layer}.bias"] for layer in ("stem", "head")}
    return net, layers_of(net, groups, groups["head"])


# in an order in which both halves of either sample look alike, however it is halved
SOURCE_4_4 = [examples([[0], [0], [1], [1], [0], [0], [1], [1]], [0] * 8)]
TARGET_2_6 = [examples([[0], [1], [1], [1], [1], [0], [1], [1]], [0] * 8)]


def test_hand_case_two_bins_of_eight():
    """.129162 in the one dimension of the stem, twice that in the two logits."""
    net, layers = one_dimension()
    found = measure("surprise", FakeProbe(net, layers, TARGET_2_6, SOURCE_4_4))
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, [0.129162, 2 * 0.129162], rtol=1e-5)
    np.testing.assert_allclose(found.weights, [0.5, 1.0], rtol=1e-6)


def test_the_direction_is_target_against_source():
    """The other way round it is KL((4, 4) || (2, 6)) = .143 without a pseudocount."""
    net, layers = one_dimension()
    found = measure("surprise", FakeProbe(net, layers, SOURCE_4_4, TARGET_2_6))
    counts = np.array([4, 0, 0, 0, 0, 0, 0, 4]), np.array([2, 0, 0, 0, 0, 0, 0, 6])
    assert found.scores is not None
    np.testing.assert_allclose(found.scores[0], kl_of_counts(*counts), rtol=1e-6)
    assert abs(found.scores[0] - 0.129162) > 0.01


def test_the_output_of_a_layer_is_taken_after_its_activation():
    """ "f_1:l(x) is the output of the activation function on the l-th layer". The activation is a
    module without parameters between two layers, as a stem's is in timm's ResNets.
    """
    net = nn.Sequential()
    for name, module in (
        ("flatten", nn.Flatten()),
        ("stem", linear(1, 4, 5)),
        ("act", nn.ReLU()),
        ("head", linear(2, 5, 3)),
    ):
        net.add_module(name, module)
    groups = {layer: [f"{layer}.weight", f"{layer}.bias"] for layer in ("stem", "head")}
    target, source = samples(1, 64, 1.0), samples(2, 64)
    found = measure(
        "surprise", FakeProbe(net, layers_of(net, groups, groups["head"]), target, source)
    )

    def outputs(batches: list[Examples]) -> list[np.ndarray]:
        x = np.concatenate([b.images.flatten(1).numpy() for b in batches])
        stem = np.maximum(affine(net.stem, x), 0)
        return [stem, affine(net.head, stem)]

    pairs = zip(outputs(target), outputs(source), strict=True)
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, [surprise(t, s).sum() for t, s in pairs], rtol=1e-6)


# --- the difference between neighbours ------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_surprise_diff_is_the_rise_from_the_layer_before(seed):
    """max(0, s_l - s_(l-1)) with s_0 = 0 (D21: the paper prints min, which would move nothing)."""
    net = Plain(seed)
    target, source = samples(seed, 64, 1.0), samples(seed + 9, 64)
    found = measure("surprise_diff", FakeProbe(net, net.partition(), target, source))
    s = np.array([each.sum() for each in oracle(net, target, source)])
    rise = np.maximum(0, np.diff(s, prepend=0.0))
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, rise, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.weights, to_max(rise), rtol=1e-5, atol=1e-9)


def test_hand_case_differences():
    """s = (.129, .258): both rise by .129, so both move fully."""
    net, layers = one_dimension()
    found = measure("surprise_diff", FakeProbe(net, layers, TARGET_2_6, SOURCE_4_4))
    np.testing.assert_allclose(found.weights, [1.0, 1.0], rtol=1e-6)


def test_only_the_first_layer_is_left_where_surprise_falls():
    """A head with constant logits has no surprise: s = (.129, 0) -> (.129, 0)."""
    net, layers = one_dimension(head=(0.0, 0.0))
    found = measure("surprise_diff", FakeProbe(net, layers, TARGET_2_6, SOURCE_4_4))
    assert found.weights.tolist() == [1.0, 0.0]


# --- what must not matter ------------------------------------------------------------------------


def test_the_order_of_examples_does_not_matter():
    net = Plain(5)
    target, source = samples(5, 64, 1.0), samples(14, 64)
    turned = [Examples(b.images.flip(0), b.labels.flip(0)) for b in reversed(target)]
    one = measure("surprise", FakeProbe(net, net.partition(), target, source))
    other = measure("surprise", FakeProbe(net, net.partition(), turned, source))
    assert one.scores is not None and other.scores is not None
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-12)


def test_labels_do_not_matter():
    net = Plain(6)
    target, source = samples(6, 64, 1.0), samples(15, 64)
    other = [Examples(b.images, (b.labels + 1) % 3) for b in source]
    one = measure("surprise", FakeProbe(net, net.partition(), target, source))
    two = measure("surprise", FakeProbe(net, net.partition(), target, other))
    assert one.weights.tolist() == two.weights.tolist()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from([-4.0, -0.5, 0.25, 2.0, 32.0]), min_size=3, max_size=3),
    st.lists(st.sampled_from([-8.0, 0.0, 3.0]), min_size=3, max_size=3),
)
def test_an_affine_change_of_each_activation_does_not_matter(scales, shifts):
    """The joint range goes with it. (A negative factor mirrors the bins; an activation on the
    very edge of two bins would fall to the other one, and there is none here.)
    """
    net = Plain(7)
    target, source = samples(7, 64, 1.0), samples(16, 64)
    before = measure("surprise", FakeProbe(net, net.partition(), target, source))
    factor = torch.tensor(scales, dtype=torch.float64)
    with torch.no_grad():
        net.head.weight.mul_(factor[:, None])
        net.head.bias.mul_(factor).add_(torch.tensor(shifts, dtype=torch.float64))
    after = measure("surprise", FakeProbe(net, net.partition(), target, source))
    assert before.scores is not None and after.scores is not None
    np.testing.assert_allclose(before.scores, after.scores, rtol=1e-6)


def test_a_larger_shift_surprises_more():
    net = Plain(8)
    source = samples(17, 200)
    scores = []
    for shift in (0.5, 1.0, 2.0, 4.0):
        found = measure("surprise", FakeProbe(net, net.partition(), samples(8, 200, shift), source))
        assert found.scores is not None
        scores.append(found.scores)
    assert (np.diff(np.array(scores)[:, 0]) > 0).all()
