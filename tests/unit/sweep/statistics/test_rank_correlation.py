"""Spearman's correlation over the layers, with its interval over the splits."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from raysel.sweep.statistics.rank_correlation import rank_correlation


def test_the_value_is_spearmans_of_the_means():
    generator = np.random.default_rng(1)
    one, other = generator.normal(size=(2, 4, 7))
    found = rank_correlation(one, other)
    expected = spearmanr(one.mean(axis=0), other.mean(axis=0)).statistic
    assert found.value == pytest.approx(expected)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.layers == 7


def test_splits_that_agree_have_no_width_and_noise_has():
    layers = np.array([1.0, 2.0, 3.0, 5.0])
    same = np.tile(layers, (5, 1))
    found = rank_correlation(same, same**2)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    many = np.tile(np.arange(8.0), (5, 1))
    noise = np.random.default_rng(0).normal(scale=9, size=many.shape)
    wide = rank_correlation(many, many + noise)
    assert wide.high - wide.low > 0.3


def test_layers_without_a_score_are_left_out_and_infinite_ones_ranked():
    one = np.array([[1.0, np.nan, 2.0, np.inf, 0.5]] * 3)
    other = np.array([[2.0, 9.0, 3.0, 4.0, 1.0]] * 3)
    found = rank_correlation(one, other)
    assert found.layers == 4
    assert found.value == pytest.approx(1.0)


def test_nothing_can_be_ranked_among_two_layers_or_equal_ones():
    pair = np.array([[1.0, 2.0]] * 3)
    assert rank_correlation(pair, pair) is None
    flat = np.ones((3, 5))
    assert rank_correlation(flat, np.arange(15.0).reshape(3, 5)) is None
    assert rank_correlation(np.full((3, 5), np.inf), np.arange(15.0).reshape(3, 5)) is None
