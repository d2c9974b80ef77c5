"""Layerwise surprise: its equation by hand, its measurement on small networks."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from measuring_kit import (
    examples,
    fingerprint,
    measured,
    probe_of,
    scores,
    trial,
    weights,
)
from torch import nn

from raysel.models.layers import partition
from raysel.strategies.outputs import HookPoint, hook_points
from raysel.strategies.surprise import (
    NoInputShift,
    layerwise_surprise,
    sampling_bias,
    surprise_difference,
)
from raysel.training.batches import Batch

SOURCE = torch.tensor([4, 0, 0, 0, 0, 0, 0, 4])
TARGET = torch.tensor([2, 0, 0, 0, 0, 0, 0, 6])


def network() -> nn.Sequential:
    """Two convolutions and a classifier; each layer is a child."""
    net = nn.Sequential(
        OrderedDict(
            one=nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU()),
            two=nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
            head=nn.Sequential(nn.Flatten(), nn.Linear(16, 3)),
        )
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return net


class Passing(nn.Module):
    """One layer whose outputs are its inputs (times 1)."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.scale = nn.Linear(dimensions, dimensions, bias=False)
        nn.init.eye_(self.scale.weight)

    def forward(self, x):
        return self.scale(x.flatten(1))


def probe(shift: float = 1.0, **options):
    return probe_of(network(), examples(200, 1, 6, 6), examples(150, 1, 6, 6, shift=shift, seed=9))


# --- the equations -----------------------------------------------------------------------------


def test_the_hand_case():
    """.25 log(.25 / .5) + .75 log(.75 / .5) = 0.130812; with 0.01 on all 16 counts 0.129162."""
    by_hand = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert float(layerwise_surprise(SOURCE, TARGET, 0.0)) == pytest.approx(by_hand, abs=1e-15)
    assert float(layerwise_surprise(SOURCE, TARGET, 0.0)) == pytest.approx(0.130812, abs=5e-7)
    assert float(layerwise_surprise(SOURCE, TARGET, 0.01)) == pytest.approx(0.129162, abs=5e-7)


def test_surprise_adds_over_dimensions_and_is_not_symmetric():
    both = layerwise_surprise(torch.stack([SOURCE, TARGET]), torch.stack([TARGET, SOURCE]), 0.01)
    there = layerwise_surprise(SOURCE, TARGET, 0.01)
    back = layerwise_surprise(TARGET, SOURCE, 0.01)
    assert float(both) == pytest.approx(float(there + back), rel=1e-12)
    assert float(there) != pytest.approx(float(back), rel=1e-3)


def test_an_empty_source_bin_is_infinitely_surprising_without_a_pseudocount():
    empty = torch.tensor([8, 0, 0, 0, 0, 0, 0, 0])
    assert layerwise_surprise(empty, TARGET, 0.0) == math.inf
    assert math.isfinite(layerwise_surprise(empty, TARGET, 0.01))


def test_surprise_differences_telescope_and_clip():
    assert surprise_difference(torch.tensor([1.0, 3.0, 2.0])).tolist() == [1, 2, 0]
    rising = torch.tensor([0.5, 0.75, 2.0, 4.25])
    assert float(surprise_difference(rising).sum()) == 4.25
    assert surprise_difference(torch.tensor([3.0, 2.0, 1.0])).tolist() == [3, 0, 0]
    assert surprise_difference(torch.tensor([7.0])).tolist() == [7]


def test_the_sampling_bias_is_what_two_samples_of_one_distribution_show():
    """(8 - 1) / 2 (1 / 1000 + 1 / 1000) = 0.007 nats a dimension."""
    assert sampling_bias(8, 1000, 1000) == pytest.approx(0.007)
    draws = np.random.default_rng(0).multinomial(1000, [1 / 8] * 8, size=(2, 4000))
    each = layerwise_surprise(*map(torch.from_numpy, draws), 0.01) / 4000
    assert float(each) == pytest.approx(0.007, rel=0.05)


# --- the measurement ---------------------------------------------------------------------------


def oracle(source, target, bins=8):
    """Eq. 1 by numpy.histogram, dimension by dimension; [n, K] float64 arrays."""
    total = 0.0
    for a, b in zip(source.T, target.T, strict=True):
        low, high = min(a.min(), b.min()), max(a.max(), b.max())
        if low == high:
            continue
        p, q = (np.histogram(x, bins, (low, high))[0] + 0.01 for x in (b, a))
        p, q = p / p.sum(), q / q.sum()
        total += float((p * np.log(p / q)).sum())
    return total


def test_identical_samples_are_exactly_zero_and_weigh_alike():
    same = examples(101, 1, 6, 6)  # an odd number: the halves differ in size
    given = probe_of(network(), same, Batch(same.images.clone(), same.labels), batch_size=33)
    strategy = measured("surprise", given, fallback="uniform")
    assert scores(strategy).tolist() == [0, 0, 0]
    assert weights(strategy).tolist() == [1, 1, 1]
    assert ["no input shift" in note for note in strategy.take_notes()] == [True]
    with pytest.raises(NoInputShift, match="no input shift"):
        measured("surprise", given)


@pytest.mark.parametrize("name", ["surprise", "surprise_diff"])
@pytest.mark.parametrize("seed", range(5))
def test_other_samples_of_the_same_distribution_are_refused(name, seed):
    """A label shift: s is far from 0 (D20), but no further than between source halves."""
    given = probe_of(
        network(), examples(400, 1, 6, 6, seed=seed), examples(120, 1, 6, 6, seed=100 + seed)
    )
    with pytest.raises(ValueError, match="fallback: uniform"):
        measured(name, given)


def test_a_constant_dimension_adds_nothing():
    a, b = examples(60, 2, 1, 1), examples(45, 2, 1, 1, shift=1.0, seed=4)
    widened = [Batch(torch.cat([x.images, torch.full_like(x.images, 0.3)], 1), x.labels)
               for x in (a, b)]  # fmt: skip
    plain = scores(measured("surprise", probe_of(Passing(2), a, b)))
    wider = scores(measured("surprise", probe_of(Passing(4), *widened)))
    assert torch.equal(plain, wider)
    mean = scores(measured("surprise", probe_of(Passing(4), *widened), reduce="mean"))
    assert float(mean) == float(plain) / 4


def test_debias_takes_the_sampling_bias_off():
    raw = scores(measured("surprise", probe()))
    debiased = scores(measured("surprise", probe(), debias=True))
    with torch.no_grad():
        sizes = [network()[:1], network()[:2], network()]
        k = torch.tensor([f(torch.zeros(1, 1, 6, 6)).numel() for f in sizes], dtype=torch.float64)
    expected = (raw - k * 3.5 * (1 / 200 + 1 / 150)).clamp(min=0)
    assert torch.allclose(debiased, expected, rtol=1e-12)


def test_channels_pool_their_positions():
    given = probe()
    found = scores(measured("surprise", given, unit="channel"))
    a, b = (
        network()[:1](given._examples[d].images).detach().double().movedim(1, -1).reshape(-1, 3)
        for d in ("source", "target")
    )
    assert float(found[0]) == pytest.approx(oracle(a.numpy(), b.numpy()), rel=1e-4)
    assert found[2] == scores(measured("surprise", given))[2]  # logits have no positions


def test_one_large_layer_gives_every_layer_a_histogram_a_channel_and_is_noted(monkeypatch):
    """Sums over numbers and over channels would not be compared fairly (D49)."""
    monkeypatch.setattr("raysel.strategies.surprise._LARGEST_FLAT", 40)  # one: 48, two: 16
    large = measured("surprise", probe())
    monkeypatch.undo()
    given, channel = probe(), measured("surprise", probe(), unit="channel")
    assert torch.equal(scores(large), scores(channel))
    (note,) = large.take_notes()
    assert "puts out 48 numbers, more than 40: every layer has a histogram a channel" in note
    assert large.take_notes() == []  # once
    assert channel.take_notes() == measured("surprise", given).take_notes() == []


def test_only_the_asked_number_of_samples_counts():
    many = [examples(200, 1, 6, 6), examples(150, 1, 6, 6, shift=3.0, seed=9)]
    few = [batch.part(slice(70)) for batch in many]
    first, whole = (probe_of(network(), *data, batch_size=100) for data in (many, few))
    asked = scores(measured("surprise", first, samples=70))
    assert torch.allclose(asked, scores(measured("surprise", whole)), rtol=1e-4)
    assert not torch.allclose(asked, scores(measured("surprise", first)), rtol=1e-2)


def test_a_broken_activation_is_reported_with_its_layer():
    net = network()
    with torch.no_grad():
        net.two[0].bias[1] = torch.nan
    given = probe_of(net, examples(20, 1, 6, 6), examples(20, 1, 6, 6, seed=1))
    before = fingerprint(net)
    with pytest.raises(ValueError, match=r"activation of two "):
        measured("surprise", given)
    assert fingerprint(net) == before


def test_a_fresh_head_has_no_score_and_weight_one():
    net = network()
    a, b = examples(100, 1, 6, 6), examples(100, 1, 6, 6, shift=2.0)
    head = ("head.1.weight", "head.1.bias")
    kept, fresh = (
        measured("surprise", probe_of(net, a, b, fresh, head=head)) for fresh in (False, True)
    )
    assert scores(fresh)[2].isnan()
    assert weights(fresh)[2] == 1
    assert torch.equal(scores(fresh)[:2], scores(kept)[:2])
    assert float(weights(fresh)[:2].max()) == 1


def test_one_source_example_is_too_few():
    with pytest.raises(ValueError, match="at least 2 source"):
        measured("surprise", probe_of(network(), examples(1, 1, 6, 6), examples(9, 1, 6, 6)))
    with pytest.raises(ValueError, match="the source has no examples"):
        measured("surprise", probe_of(network(), examples(0, 1, 6, 6), examples(9, 1, 6, 6)))


# --- where a layer's output is -----------------------------------------------------------------


class Loose(nn.Module):
    """Layers without a container, one activation for two of them, an output in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.LSTM(4, 5, batch_first=True)
        self.relu, self.c = nn.ReLU(), nn.Linear(5, 3)

    def forward(self, x):
        x = self.relu(self.a(x))
        return self.relu(self.c(self.b(x)[0][:, -1]))


def test_a_shared_activation_ends_the_layer_that_calls_it():
    net = Loose()
    sites = hook_points(net, partition(net), torch.zeros(2, 3, 4))
    assert sites == [HookPoint("relu", 0), HookPoint("b", 0), HookPoint("relu", 1)]


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("test_resnet", 64, ["act1", "layer1", "layer2", "layer3", "layer4", ""]),
        ("test_vit", 16, ["patch_embed", *(f"blocks.{i}" for i in range(6)), ""]),
        ("test_convnext", 64, ["stem", *(f"stages.{i}" for i in range(3)), "norm_pre", ""]),
    ],
)
def test_the_layers_of_timms_models_end_where_one_would_say(name, size, expected):
    given = trial("surprise", name, size)
    sites = hook_points(given.model.eval(), given.partition, torch.zeros(1, 3, size, size))
    named = [site.module for site in sites]
    for found, wanted in zip(named, expected, strict=True):
        assert found == wanted or found.startswith(f"{wanted}.")


# --- in a trial --------------------------------------------------------------------------------


def test_a_trial_without_input_shift_ends_with_its_cause():
    run = trial("surprise", "test_resnet", 16)
    run.probe._examples["source"] = run.data.train
    with pytest.raises(NoInputShift, match="surprise cannot weigh layers for a shift of the lab"):
        run.run_epoch()
