"""Sums of squares: exact enough to be subtracted from each other."""

from __future__ import annotations

import math

import pytest
import torch

from raysel.models.norms import squared_norms

CPU = torch.device("cpu")


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("count", [1, 256, 257, 4097, 10_000, 1_000_003])
@pytest.mark.parametrize(("kind", "error"), [("normal", 2e-7), ("heavy", 5e-7), ("equal", 1e-6)])
def test_the_error_is_below_the_guard_of_the_ratio(kind, error, count, scale):
    """Two such sums are subtracted, and a difference of 1e-6 counts as none (D9)."""
    for seed in range(5):
        tensor = torch.randn(count, generator=torch.Generator().manual_seed(seed))
        if kind == "heavy":
            tensor = tensor**5
        if kind == "equal":
            tensor = tensor[:1].expand(count).clone()
        tensor *= scale
        exact = float(tensor.double().square().sum())
        assert float(squared_norms([tensor], CPU)[0]) == pytest.approx(exact, rel=error, abs=0)


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (64, 64, 3, 3), (0,)])
def test_every_shape_is_summed(shape):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    exact = float(tensor.double().square().sum())
    assert float(squared_norms([tensor], CPU)[0]) == pytest.approx(exact, rel=2e-7)


def test_a_view_that_is_not_contiguous_is_summed():
    tensor = torch.randn(100, 90, generator=torch.Generator().manual_seed(1)).t()[::2]
    exact = float(tensor.double().square().sum())
    assert float(squared_norms([tensor], CPU)[0]) == pytest.approx(exact, rel=2e-7)


def test_none_counts_as_zero_and_places_are_kept():
    sums = squared_norms([None, torch.tensor([3.0, 4.0]), None], CPU)
    assert sums.tolist() == [0.0, 25.0, 0.0]
    assert sums.dtype == torch.float64


def test_of_nothing_there_is_nothing():
    assert squared_norms([], CPU).shape == (0,)


@pytest.mark.parametrize("count", [10, 5000])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_shows(bad, count):
    tensor = torch.ones(count)
    tensor[count // 2] = bad
    good, sums = squared_norms([torch.ones(count), tensor], CPU).tolist()
    assert good == pytest.approx(count) and not math.isfinite(sums)


def test_no_gradient_flows_and_nothing_is_changed():
    tensor = torch.randn(5000, requires_grad=True)
    before = tensor.detach().clone()
    assert not squared_norms([tensor], CPU).requires_grad
    assert torch.equal(tensor.detach(), before)
