"""L-BFGS: the recursion is exact algebra; how near its product is to H^-1 g is measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rates_kit import DATA, SmallNet, batch
from torch import Tensor
from torch.nn import functional

from raysel.models.layers import partition
from raysel.strategies.gradients import mean_gradient, ordered_parameters, sample_loss
from raysel.strategies.newton import curvature_pairs, inverse_hessian_product


def random_vectors(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive_definite(seed: int, size: int, condition: float) -> Tensor:
    basis, _ = torch.linalg.qr(random_vectors(seed, size, size))
    return basis @ torch.diag(torch.logspace(0, np.log10(condition), size).double()) @ basis.T


class Quadratic:
    """1/2 x' H x from a start x; counts its evaluations."""

    def __init__(self, hessian: Tensor, start: Tensor) -> None:
        self.hessian, self.x, self.calls = hessian, start.clone().requires_grad_(True), 0

    def __call__(self) -> tuple[Tensor, Tensor]:
        self.calls += 1
        x = self.x.detach()
        gradient = self.hessian @ x
        return 0.5 * x @ gradient, gradient


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a, b) / (a.norm() * b.norm()))


# --- the recursion ----------------------------------------------------------------------------


def dense_bfgs(s_list: Tensor, y_list: Tensor) -> np.ndarray:
    """The inverse Hessian as a matrix, updated pair by pair (BFGS, inverse form)."""
    s_rows, y_rows = s_list.numpy(), y_list.numpy()
    s, y = s_rows[-1], y_rows[-1]
    h = np.eye(len(s)) * (s @ y) / (y @ y)
    for s, y in zip(s_rows, y_rows, strict=True):
        left = np.eye(len(s)) - np.outer(s, y) / (s @ y)
        h = left @ h @ left.T + np.outer(s, s) / (s @ y)
    return h


@pytest.mark.parametrize("count", [1, 2, 6])
def test_the_recursion_is_the_dense_bfgs_update(count):
    hessian = positive_definite(1, 8, 50)
    s_list = random_vectors(2, count, 8)
    y_list = s_list @ hessian
    gradient = random_vectors(3, 8)
    expected = dense_bfgs(s_list, y_list) @ gradient.numpy()
    found = inverse_hessian_product(gradient, list(s_list), list(y_list))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)


def test_the_latest_secant_equation_holds():
    s_list = random_vectors(2, 5, 8)
    y_list = s_list @ positive_definite(1, 8, 50)
    found = inverse_hessian_product(y_list[-1], list(s_list), list(y_list))
    torch.testing.assert_close(found, s_list[-1], rtol=1e-10, atol=1e-12)


def test_conjugate_pairs_of_every_dimension_give_the_exact_inverse():
    """Eigenvectors are conjugate: n of them determine H on an n-dim quadratic."""
    hessian = positive_definite(4, 6, 1000)
    s_list = list(torch.linalg.eigh(hessian).eigenvectors.T)
    gradient = random_vectors(5, 6)
    found = inverse_hessian_product(gradient, s_list, [hessian @ s for s in s_list])
    torch.testing.assert_close(found, torch.linalg.solve(hessian, gradient), rtol=1e-9, atol=0)


def test_one_dimension_by_hand():
    """H = 4: s = 1 gives y = 4, so 2 becomes 1/2."""
    pair = [torch.tensor([1.0])], [torch.tensor([4.0])]
    assert inverse_hessian_product(torch.tensor([2.0]), *pair).tolist() == [0.5]


def test_without_pairs_the_gradient_itself():
    gradient = torch.tensor([1.0, -2.0])
    product = inverse_hessian_product(gradient, [], [])
    assert product.tolist() == [1.0, -2.0] and product.dtype == torch.float64


@pytest.mark.parametrize(
    "y",
    [
        [-1.0, 0.0],  # negative curvature
        [0.0, 1.0],  # none
        [1e-9, 1.0],  # none but for rounding
        [float("nan"), 1.0],
        [float("inf"), 1.0],
        [0.0, 0.0],
    ],
)
def test_a_pair_without_positive_curvature_is_left_out(y):
    gradient, bad = torch.tensor([3.0, 4.0]), (torch.tensor([1.0, 0.0]), torch.tensor(y))
    assert inverse_hessian_product(gradient, [bad[0]], [bad[1]]).tolist() == [3.0, 4.0]
    good = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 0.0])
    both = inverse_hessian_product(gradient, [good[0], bad[0]], [good[1], bad[1]])
    assert both.tolist() == inverse_hessian_product(gradient, [good[0]], [good[1]]).tolist()


def test_the_arguments_stay_as_they_were():
    s, y, gradient = random_vectors(1, 3), random_vectors(1, 3), random_vectors(2, 3)
    copies = s.clone(), y.clone(), gradient.clone()
    inverse_hessian_product(gradient, [s], [y])
    assert all(torch.equal(a, b) for a, b in zip((s, y, gradient), copies, strict=True))


# --- the pairs --------------------------------------------------------------------------------


@pytest.mark.parametrize("history", [1, 5, 10])
def test_pairs_are_steps_and_gradient_differences(history):
    hessian = positive_definite(6, 30, 100)
    loss = Quadratic(hessian, random_vectors(7, 30))
    s_list, y_list = curvature_pairs([loss.x], loss, history)
    assert len(s_list) == len(y_list) == history
    for s, y in zip(s_list, y_list, strict=True):
        torch.testing.assert_close(y, hessian @ s, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("history", [1, 3, 10, 30])
def test_evaluations_are_bounded(history):
    loss = Quadratic(positive_definite(8, 40, 1e4), random_vectors(9, 40))
    curvature_pairs([loss.x], loss, history)
    assert loss.calls <= 2 * history + 3


@pytest.mark.parametrize("seed", range(4))
def test_near_the_dense_solution_on_a_quadratic(seed):
    """n = 50, condition 100, K = 10. Over these seeds the cosine is .97 to .99 and the length
    .83 to 1.12 of the true one; the gradient's cosine is at most .8.
    """
    hessian = positive_definite(seed, 50, 100)
    start = random_vectors(100 + seed, 50)
    gradient, exact = hessian @ start, start
    loss = Quadratic(hessian, start)
    found = inverse_hessian_product(gradient, *curvature_pairs([loss.x], loss, 10))
    assert cosine(found, exact) > 0.9
    assert 0.7 < found.norm() / exact.norm() < 1.4
    assert cosine(gradient, exact) < 0.8


def test_iterating_ends_before_differences_are_rounding():
    """60 iterations of a problem that is solved after 15: the product is still the solution."""
    hessian = positive_definite(1, 10, 20)
    start = random_vectors(2, 10)
    loss = Quadratic(hessian, start)
    s_list, y_list = curvature_pairs([loss.x], loss, 60)
    assert len(s_list) < 30
    assert float(loss()[1].norm() / (hessian @ start).norm()) < 1e-3 * 10**0.5
    found = inverse_hessian_product(hessian @ start, s_list, y_list)
    torch.testing.assert_close(found, start, rtol=0, atol=0.1 * float(start.norm()))


@pytest.mark.parametrize("factor", [2.0**-30, 2.0**20])
def test_the_size_of_the_loss_does_not_matter(factor):
    """The Newton step of c L is that of L; torch's absolute tolerances must not show."""
    hessian, start = positive_definite(3, 20, 30), random_vectors(4, 20)
    products = []
    for c in (1.0, factor):
        loss = Quadratic(c * hessian, start)
        pairs = curvature_pairs([loss.x], loss, 8)
        assert len(pairs[0]) == 8
        products.append(inverse_hessian_product(c * hessian @ start, *pairs))
    torch.testing.assert_close(products[1], products[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_no_pairs_where_there_is_no_gradient_to_follow(value):
    x = torch.zeros(3, requires_grad=True)
    s_list, y_list = curvature_pairs([x], lambda: (torch.ones(()), torch.full((3,), value)), 5)
    assert s_list == [] and y_list == []


@pytest.mark.parametrize("seed", range(5))
def test_a_loss_that_ends_in_nan_does_not_break_the_line_search(seed):
    """sqrt(3 - x) is NaN beyond 3, and downhill leads there."""
    matrix = random_vectors(seed, 4, 4)
    x = (0.1 * random_vectors(seed + 50, 4)).requires_grad_(True)

    def loss() -> tuple[Tensor, Tensor]:
        y = matrix @ x
        value = (3 - y[0]).sqrt() + 0.01 * y.square().sum()
        return value.detach(), torch.autograd.grad(value, x)[0]

    gradient = loss()[1]
    product = inverse_hessian_product(gradient, *curvature_pairs([x], loss, 10))
    assert bool(torch.isfinite(product).all())


# --- a small network --------------------------------------------------------------------------


def test_slices_of_several_parameters_are_those_of_one_vector():
    model = SmallNet().double().eval()
    layers = partition(model)
    sample = [type(DATA.train)(b.images.double(), b.labels) for b in batch(24, 5).split(8)]
    mean = mean_gradient(model, layers, sample)
    assert mean is not None
    loss, gradient = sample_loss(model, layers, sample)
    torch.testing.assert_close(mean.vector, gradient, rtol=1e-12, atol=1e-15)
    direct = functional.cross_entropy(
        model(torch.cat([b.images for b in sample])), torch.cat([b.labels for b in sample])
    )
    torch.testing.assert_close(loss, direct.detach(), rtol=1e-12, atol=0)
    direct.backward()
    by_hand = torch.cat([p.grad.flatten() for p in ordered_parameters(model, layers)])
    torch.testing.assert_close(gradient, by_hand, rtol=1e-10, atol=1e-14)
    start = torch.cat([p.detach().flatten() for p in ordered_parameters(model, layers)])
    s_list, _ = curvature_pairs(
        ordered_parameters(model, layers), lambda: sample_loss(model, layers, sample), 4
    )
    end = torch.cat([p.detach().flatten() for p in ordered_parameters(model, layers)])
    torch.testing.assert_close(torch.stack(s_list).sum(0), end - start, rtol=1e-9, atol=1e-12)
