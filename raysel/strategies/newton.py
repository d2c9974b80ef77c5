"""A quasi-Newton step: no Hessian, but L-BFGS curvature pairs and the two-loop recursion.

Agarwala, Suleman and Vaidya precondition the gradient with the inverse Hessian of the whole
model, by "the LBFGS inverse hessian approximation" of Byrd et al. How the pairs are made
is unsaid there and settled here (docs/algorithms.md, D14 and D15):

    s_k = theta_{k+1} - theta_k,    y_k = g_{k+1} - g_k

are those of the first iterations of `torch.optim.LBFGS` with strong Wolfe steps on one fixed
sample, on a scratch copy of the parameters, all layers together; the result is sliced by
layer afterwards. A fixed sample keeps sampling noise out of y, and few iterations keep
rounding noise out: past convergence the differences are nothing else.

How good is it? Near a strict minimum the direction is the Newton step's (cosine above .9 on
quadratics of condition 100 and on a small network). Far from one the Hessian has negative
and tiny eigenvalues, whose share of H^-1 g no few positive-curvature pairs can show: there
the product is a preconditioned gradient, and which one depends on the sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from raysel.common.deferred_torch import Tensor, torch

Objective = Callable[[], tuple[Tensor, Tensor]]
"""The loss, 0-dim, and its gradient [P] at the parameters' present values."""

_CONVERGED = 1e-3
"""Iterating ends where the gradient's largest entry is this share of its start."""

_WALL = 1e30
"""What the line search sees as the loss where it is not finite."""

_START = 0.02
"""Length of the scaled gradient at the start and so, at most, of torch's first step: long
steps would measure the curvature of somewhere else."""

_CURVATURE = 1e-8
"""A pair counts if y.s > this |y| |s|; others are rounding or negative curvature."""


def inverse_hessian_product(
    gradient: Tensor, s_list: Sequence[Tensor], y_list: Sequence[Tensor]
) -> Tensor:
    """H^-1 g by the L-BFGS two-loop recursion (Nocedal and Wright, Algorithm 7.4).

    The recursion starts from (s.y / y.y) I of the latest pair. Pairs without positive
    curvature and non-finite ones are left out; with none left, H^-1 is the identity.

    Args:
        gradient: [P].
        s_list, y_list: steps and gradient differences, each [P], the oldest first.

    Returns:
        [P] float64.
    """
    pairs = [(s, y) for s, y in zip(s_list, y_list, strict=True) if _has_curvature(s, y)]
    product = gradient.detach().to(torch.float64, copy=True)
    shares = []
    for s, y in reversed(pairs):
        shares.append(_dot(s, product) / _dot(s, y))
        product -= shares[-1] * y
    if pairs:
        s, y = pairs[-1]
        product *= _dot(s, y) / _dot(y, y)
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        product += (share - _dot(y, product) / _dot(s, y)) * s
    return product


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return torch.dot(first.double(), second.double())


def _has_curvature(s: Tensor, y: Tensor) -> bool:
    lengths = torch.linalg.vector_norm(s.double()) * torch.linalg.vector_norm(y.double())
    return bool(torch.isfinite(lengths) & (_dot(s, y) > _CURVATURE * lengths))


def curvature_pairs(
    parameters: Sequence[Tensor], objective: Objective, history: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Up to `history` pairs (s, y) from as many L-BFGS iterations, the oldest first.

    At most 2 `history` + 3 evaluations of the objective. The parameters move: give a
    copy. None come back where the loss or the gradient is not finite at the
    start, or the gradient is 0.

    Args:
        parameters: leaf tensors with P numbers together, in the gradient's order.
        objective: evaluated on one fixed sample.
        history: K.
    """
    loss, gradient = objective()
    scale = torch.linalg.vector_norm(gradient.double()).to(gradient.dtype) / _START
    if not bool(torch.isfinite(loss) & torch.isfinite(scale) & (scale > 0)):
        return [], []
    # torch's first step and tolerances are absolute: the loss is scaled to a gradient of one
    # length at the start, so that they mean the same for every loss
    optimizer = torch.optim.LBFGS(
        parameters,
        lr=1,
        max_iter=history,
        max_eval=2 * history,
        history_size=history,
        tolerance_grad=_CONVERGED * float(gradient.abs().max() / scale),
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        loss, gradient = objective()
        _set_gradients(parameters, torch.nan_to_num(gradient / scale, 0.0, 0.0, 0.0))
        value = float(loss / scale)
        return value if math.isfinite(value) else _WALL  # else torch's line search breaks

    optimizer.step(closure)
    state = optimizer.state[parameters[0]]
    if "d" not in state:
        return [], []
    # torch calls y "old_dirs" and s "old_stps", and forms a pair when the next iteration
    # starts: the last one is still to be made
    _, gradient = objective()
    s_list = [*state["old_stps"], state["d"] * state["t"]]
    y_list = [*state["old_dirs"], gradient / scale - state["prev_flat_grad"]]
    return s_list, [y * scale for y in y_list]


def _set_gradients(parameters: Sequence[Tensor], gradient: Tensor) -> None:
    slices = gradient.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, slices, strict=True):
        parameter.grad = part.view_as(parameter)
