"""Auto-SNR: per-example gradients, their ratio of mean to variance, and the threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from rates_kit import DATA, Linear, batch, begun, decided, measured, probe_of, same, small, strategy

from raysel.common.errors import UserError
from raysel.models.layers import Layer, Partition
from raysel.strategies import registered
from raysel.strategies.signal_to_noise import (
    GradientSpread,
    above_threshold,
    signal_to_noise,
)
from raysel.training.batches import Batch


def layers(*sizes: int) -> Partition:
    return Partition(tuple(Layer(f"l{i}", (f"p{i}",), (n,)) for i, n in enumerate(sizes)), ())


def ratio(means: list[float], variances: list[float], *sizes: int) -> list[float]:
    spread = GradientSpread(torch.tensor(means).double(), torch.tensor(variances).double())
    return signal_to_noise(spread, layers(*sizes)).tolist()


# --- the ratio --------------------------------------------------------------------------------


def test_no_gradient_at_all_is_no_signal():
    assert ratio([0.0, 2.0], [0.0, 2.0], 1, 1) == [0.0, 2.0]


def test_a_mean_without_spread_counts_as_the_largest_finite_ratio():
    assert ratio([5.0, 2.0, 3.0], [0.0, 2.0, 1.0], 1, 2) == [9.0, 5.5]


def test_rounding_is_no_spread():
    assert ratio([5.0, 3.0], [1e-20, 1.0], 1, 1) == [9.0, 9.0]


def test_examples_that_are_all_alike_give_no_infinity():
    one = DATA.train.part(slice(0, 1))
    alike = Batch(one.images.repeat(8, 1, 1, 1), one.labels.repeat(8))
    weights, scores = measured("auto_snr", probe_of(small(), alike))
    assert bool(torch.isfinite(scores).all()) and bool((scores > 0).all())
    assert weights.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("size", [5, 8, 32])
def test_pure_noise_scores_just_above_one(size):
    """E[B SNR] = (B - 1) / (B - 3) for normal noise (D29), whatever B: it is E[t^2]."""
    noise = np.random.default_rng(size).normal(size=(size, 50_000))
    spread = GradientSpread(
        torch.tensor(noise.mean(axis=0)), torch.tensor(noise.var(axis=0, ddof=1))
    )
    score = size * float(signal_to_noise(spread, layers(50_000))[0])
    assert score == pytest.approx((size - 1) / (size - 3), rel=0.05)


def test_signal_raises_it():
    """(mu^2 + s^2 / B) / s^2 times (B - 1) / (B - 3): B = 16, mu = 1, s = 2."""
    values = 1 + 2 * np.random.default_rng(0).normal(size=(16, 100_000))
    spread = GradientSpread(
        torch.tensor(values.mean(axis=0)), torch.tensor(values.var(axis=0, ddof=1))
    )
    expected = (1 / 4 + 1 / 16) * 15 / 13
    assert float(signal_to_noise(spread, layers(100_000))[0]) == pytest.approx(expected, rel=0.02)


# --- the threshold ----------------------------------------------------------------------------


def test_the_threshold_is_a_share_of_the_largest():
    probe = probe_of(small())
    scores = measured("auto_snr", probe)[1]
    share = (scores / scores.max()).tolist()
    cut = sorted(share)[1] - 1e-6
    weights = measured("auto_snr", probe, threshold=cut)[0].tolist()
    assert weights == [float(s >= cut) for s in share] and sum(weights) == 2


def test_the_default_threshold_freezes_nothing_where_gradients_are_noise():
    """Every layer's B SNR is then about (B - 1) / (B - 3): its page says so."""
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(32, 3 * 2_000)))
    spread = GradientSpread(noise.mean(dim=0), noise.var(dim=0))
    ratios = signal_to_noise(spread, layers(2_000, 2_000, 2_000))
    default = next(p.default for p in registered()["auto_snr"].parameters if p.name == "threshold")
    assert above_threshold(ratios / ratios.max(), default).tolist() == [1.0, 1.0, 1.0]
    assert "search it" in registered()["auto_snr"].differs


# --- batches ----------------------------------------------------------------------------------


def test_ratios_are_averaged_over_batches_and_not_pooled():
    """Two batches of the same spread around 1 and -1: pooled, the mean would be 0."""
    net = Linear([1.0])
    both = measured("auto_snr", net.probe([[0.5], [1.5]], [[-0.5], [-1.5]]))[1]
    one = measured("auto_snr", net.probe([[0.5], [1.5]]))[1]
    torch.testing.assert_close(both, one)
    assert one.tolist() == pytest.approx([2 * 1 / 0.5])


def test_a_last_batch_of_one_example_is_left_out():
    model = small()
    whole = probe_of(model, batch(8, 1))
    ragged = probe_of(model, Batch(*(torch.cat([a, b]) for a, b in zip(
        (batch(8, 1).images, batch(8, 1).labels), (batch(1, 2).images, batch(1, 2).labels),
        strict=True))))  # fmt: skip
    assert len(ragged.batches("target")) == 2
    assert same(measured("auto_snr", ragged), measured("auto_snr", whole))


def test_batches_of_one_example_are_refused():
    with pytest.raises(UserError, match=r"training\.batch_size.*at least 2"):
        measured("auto_snr", probe_of(small(), batch_size=1))


def test_a_batch_that_is_not_finite_is_left_out():
    net = Linear([1.0], [1.0])
    sound = [[1.0, 3.0], [3.0, 5.0]]
    spoilt = [[math.nan, 3.0], [3.0, 5.0]]
    assert same(
        measured("auto_snr", net.probe(sound, spoilt)), measured("auto_snr", net.probe(sound))
    )


def test_where_no_batch_is_finite_the_last_weights_stay():
    probe = probe_of(small())
    chosen = strategy("auto_snr", probe.partition, threshold=0.9)
    before = decided(begun(chosen, probe))
    assert 0.0 in before[0].tolist()
    broken = Batch(torch.full_like(DATA.train.images, math.inf), DATA.train.labels)
    chosen.epoch_start(2, 3, probe_of(small(), broken))
    assert same(decided(chosen), before)


def test_where_none_ever_was_all_layers_move():
    broken = Batch(torch.full_like(DATA.train.images, math.inf), DATA.train.labels)
    assert measured("auto_snr", probe_of(small(), broken))[0].tolist() == [1.0, 1.0, 1.0]


def test_what_is_declared():
    kind = registered()["auto_snr"]
    assert not kind.needs and kind.batch_norm == "eval"
    threshold = next(p for p in kind.parameters if p.name == "threshold")
    assert threshold.search is not None and threshold.search.bounds == (0.05, 0.95)
