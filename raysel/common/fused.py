"""The arithmetic of a training step on a device, a fixed number of kernel launches for however many
tensors: the one place for torch's fused calls on lists of tensors.

On a GPU a launch takes 5 to 10 microseconds whatever it computes, so a loop over the tensors of a
ResNet-50 costs as much as half of its step. torch's own optimizers use these calls too.

Every update takes `skip`, a 0-dim float32 tensor on the device: where it is 1, nothing is written,
whatever the gradients hold. A multiplication by zero would not do: 0 * inf is NaN.

Tensors of several devices or dtypes are taken in groups, a call for each. An update is written in
place, in the list's own order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raysel.common.deferred_torch import Tensor, torch

Rate = float | Tensor
"""A number, or a 0-dim float32 tensor on the device, which the host does not read."""


_PLAIN: dict[str, Any] = {
    "momentum": 0.0,
    "dampening": 0.0,
    "nesterov": False,
    "maximize": False,
    "is_first_step": False,
}


def groups(tensors: Sequence[Tensor]) -> list[list[int]]:
    """The indices of the tensors of each device and dtype."""
    found: dict[object, list[int]] = {}
    for index, tensor in enumerate(tensors):
        found.setdefault((tensor.device, tensor.dtype), []).append(index)
    return list(found.values())


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The Euclidean length of each tensor, 0-dim float64."""
    found: list[Tensor] = [*tensors]
    for index in groups(tensors):
        own = torch._foreach_norm([tensors[i] for i in index], 2, dtype=torch.float64)
        for i, norm in zip(index, own, strict=True):
            found[i] = norm
    return found


def scaled(tensors: Sequence[Tensor], scale: Tensor) -> list[Tensor]:
    """Each tensor times a 0-dim tensor, as new tensors."""
    found: list[Tensor] = [*tensors]
    for index in groups(tensors):
        own = [tensors[i] for i in index]
        for i, product in zip(index, torch._foreach_mul(own, scale.to(own[0].dtype)), strict=True):
            found[i] = product
    return found


def sums(tensors: Sequence[Tensor], others: Sequence[Tensor], factor: float) -> list[Tensor]:
    """Each tensor plus `factor` times the other of its place, as new tensors."""
    found: list[Tensor] = [*tensors]
    for index in groups(tensors):
        own, added = [tensors[i] for i in index], [others[i] for i in index]
        for i, total in zip(index, torch._foreach_add(own, added, alpha=factor), strict=True):
            found[i] = total
    return found


def descend_(
    tensors: Sequence[Tensor],
    directions: Sequence[Tensor],
    rate: Rate,
    skip: Tensor,
    decay: float = 0.0,
) -> None:
    """t <- t - rate (d + decay t)."""
    for index in groups(tensors):
        torch._fused_sgd_(
            [tensors[i] for i in index],
            [directions[i] for i in index],
            [],
            lr=rate,
            weight_decay=decay,
            **_PLAIN,
            found_inf=skip,
        )


def add_(tensors: Sequence[Tensor], others: Sequence[Tensor], skip: Tensor) -> None:
    """t <- t + o."""
    descend_(tensors, _laid_out(others, tensors), -1.0, skip)


def lerp_(tensors: Sequence[Tensor], ends: Sequence[Tensor], weight: float, skip: Tensor) -> None:
    """t <- t + weight (e - t): a moving average takes in its next value."""
    descend_(tensors, _laid_out(ends, tensors), -weight, skip, decay=-1.0)


def nesterov_(
    gradients: Sequence[Tensor], buffers: Sequence[Tensor], momentum: float, skip: Tensor
) -> list[Tensor]:
    """buf <- momentum buf + g.

    Returns:
        The directions g + momentum buf; 0 where `skip` is 1.
    """
    directions, gradients = _zeros(buffers), _laid_out(gradients, buffers)
    if not momentum:  # torch then takes no buffers
        descend_(directions, gradients, -1.0, skip)
        for index in groups(buffers):
            own = [buffers[i] for i in index]
            torch._foreach_mul_(own, skip.to(own[0].dtype))
            torch._foreach_add_(own, [directions[i] for i in index])
        return directions
    for index in groups(buffers):
        torch._fused_sgd_(
            [directions[i] for i in index],
            [gradients[i] for i in index],
            [buffers[i] for i in index],
            lr=-1.0,
            weight_decay=0.0,
            **(_PLAIN | {"momentum": momentum, "nesterov": True}),
            found_inf=skip,
        )
    return directions


def adam_(
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    betas: tuple[float, float],
    eps: float,
    skip: Tensor,
) -> list[Tensor]:
    """Adam's moving averages take in a gradient, and each tensor's count of steps goes up.

    Returns:
        The directions m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps); 0 where `skip` is 1.
    """
    directions, gradients = _zeros(means), _laid_out(gradients, means)
    for index in groups(means):
        counts = [steps[i] for i in index]
        # as a list: a single tensor would be taken for a number, and read by the host
        torch._foreach_add_(counts, [1.0 - skip] * len(counts))
        torch._fused_adam_(
            [directions[i] for i in index],
            [gradients[i] for i in index],
            [means[i] for i in index],
            [squares[i] for i in index],
            [],
            counts,
            lr=-1.0,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=0.0,
            eps=eps,
            amsgrad=False,
            maximize=False,
            found_inf=skip,
        )
    return directions


def _laid_out(tensors: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, those of other strides copied: the fused calls take one layout. Autograd gives
    gradients the strides of their parameters; a loop of the user's own may not."""
    return [
        tensor if tensor.stride() == other.stride() else torch.empty_like(other).copy_(tensor)
        for tensor, other in zip(tensors, like, strict=True)
    ]


def _zeros(like: Sequence[Tensor]) -> list[Tensor]:
    """New tensors of the same shapes and strides, filled with 0."""
    found: list[Tensor] = [*like]
    for index in groups(like):
        own = torch._foreach_neg([like[i] for i in index])
        torch._foreach_zero_(own)
        for i, zero in zip(index, own, strict=True):
            found[i] = zero
    return found
