"""The fused calls on lists of tensors: what they compute, and nothing where `skip` is 1."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raysel.common import fused

SHAPES = [(5, 3), (7,), (2, 3, 3, 3), (1,), (64, 33)]
GO, SKIP = torch.tensor(0.0), torch.tensor(1.0)
ROUNDINGS = {"rtol": 5e-7, "atol": 5e-7}  # a few of float32, of numbers of size 1


def tensors(seed: int, dtypes: tuple[torch.dtype, ...] = (torch.float32,)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=generator).to(dtypes[i % len(dtypes)])
        for i, shape in enumerate(SHAPES)
    ]


def clones(values: list[Tensor]) -> list[Tensor]:
    return [value.clone() for value in values]


def bad() -> list[Tensor]:
    return [torch.full(shape, float("nan")) for shape in SHAPES]


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
def test_descent_with_decay(rate):
    given, directions = tensors(1), tensors(2)
    moved = clones(given)
    fused.descend_(moved, directions, rate, GO, decay=0.5)
    for after, t, d in zip(moved, given, directions, strict=True):
        torch.testing.assert_close(after, t - 0.1 * (d + 0.5 * t), **ROUNDINGS)


def test_a_moving_average():
    means, values = tensors(1), tensors(2)
    after = clones(means)
    fused.lerp_(after, values, 0.3, GO)
    for new, mean, value in zip(after, means, values, strict=True):
        torch.testing.assert_close(new, 0.7 * mean + 0.3 * value, **ROUNDINGS)


def test_nesterovs_buffers_and_directions():
    gradients, buffers = tensors(1), tensors(2)
    after = clones(buffers)
    directions = fused.nesterov_(gradients, after, 0.9, GO)
    for new, way, b, g in zip(after, directions, buffers, gradients, strict=True):
        torch.testing.assert_close(new, 0.9 * b + g, **ROUNDINGS)
        torch.testing.assert_close(way, g + 0.9 * (0.9 * b + g), **ROUNDINGS)


def test_adams_averages_and_directions():
    gradients, means, squares = tensors(1), tensors(2), [t.square() for t in tensors(3)]
    steps = [torch.tensor(4.0) for _ in SHAPES]
    new_means, new_squares = clones(means), clones(squares)
    directions = fused.adam_(gradients, new_means, new_squares, steps, (0.9, 0.999), 1e-8, GO)
    assert [float(step) for step in steps] == [5.0] * len(SHAPES)
    parts = zip(gradients, means, squares, new_means, new_squares, directions, strict=True)
    for g, m, v, new_m, new_v, way in parts:
        torch.testing.assert_close(new_m, 0.9 * m + 0.1 * g, **ROUNDINGS)
        torch.testing.assert_close(new_v, 0.999 * v + 0.001 * g.square(), **ROUNDINGS)
        right = new_m / (1 - 0.9**5) / ((new_v / (1 - 0.999**5)).sqrt() + 1e-8)
        torch.testing.assert_close(way, right, rtol=3e-6, atol=1e-6)


def test_where_skip_is_1_nothing_is_written_whatever_the_gradients_hold():
    state = {name: tensors(seed) for seed, name in enumerate(("t", "b", "m", "v"))}
    before = {name: clones(values) for name, values in state.items()}
    steps = [torch.tensor(4.0) for _ in SHAPES]
    fused.descend_(state["t"], bad(), 0.1, SKIP, decay=0.5)
    fused.lerp_(state["t"], bad(), 0.3, SKIP)
    ways = fused.nesterov_(bad(), state["b"], 0.9, SKIP)
    ways += fused.adam_(bad(), state["m"], state["v"], steps, (0.9, 0.999), 1e-8, SKIP)
    for name, values in state.items():
        assert all(map(torch.equal, values, before[name]))
    assert [float(step) for step in steps] == [4.0] * len(SHAPES)
    assert not any(way.any() for way in ways)


def test_dtypes_may_be_mixed():
    both = (torch.float32, torch.float64)
    given, directions = tensors(1, both), tensors(2, both)
    moved = clones(given)
    fused.descend_(moved, directions, 0.1, GO)
    fused.nesterov_(directions, clones(given), 0.9, GO)
    for after, t, d in zip(moved, given, directions, strict=True):
        assert after.dtype == t.dtype
        torch.testing.assert_close(after, t - 0.1 * d, **ROUNDINGS)
    lengths = fused.norms(given)
    assert {length.dtype for length in lengths} == {torch.float64}
    for length, t in zip(lengths, given, strict=True):
        assert float(length) == pytest.approx(float(t.double().norm()), rel=1e-12)
    for product, t in zip(fused.scaled(given, torch.tensor(0.5)), given, strict=True):
        assert torch.equal(product, t * 0.5) and product.dtype == t.dtype
    for total, t, d in zip(fused.sums(given, directions, 0.5), given, directions, strict=True):
        assert total.dtype == t.dtype
        torch.testing.assert_close(total, t + 0.5 * d, **ROUNDINGS)


def test_a_gradient_of_another_layout_is_taken_as_it_is_meant():
    buffer = torch.zeros(2, 3, 4, 4)
    gradient = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    (way,) = fused.nesterov_([gradient], [buffer], 0.5, GO)
    assert torch.equal(buffer, gradient) and torch.equal(way, 1.5 * gradient)
    assert way.stride() == buffer.stride()


def test_without_momentum_a_buffer_is_the_last_gradient():
    buffers, gradients = tensors(1), tensors(2)
    ways = fused.nesterov_(gradients, buffers, 0.0, GO)
    assert all(map(torch.equal, buffers, gradients)) and all(map(torch.equal, ways, gradients))
    ways = fused.nesterov_(bad(), buffers, 0.0, SKIP)
    assert all(map(torch.equal, buffers, gradients)) and not any(way.any() for way in ways)
