"""SGD, Adam and AdamW whose state advances for every layer and whose updates go to the chosen.

torch's optimizers cannot serve: with a learning rate of 0 they let an infinite gradient of
an unselected layer through (0 * inf), and they cannot advance the state of a tensor that
they do not write (docs/algorithms.md, D3 and D7). The arithmetic is theirs; a test
compares the two.

An update has two halves: `advance` takes the gradients into the state of every tensor,
`apply` writes the tensors of the layers with a positive weight, at the rate lr * w_l.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from raysel.spec.sweep import TrainingSettings


class LayerwiseOptimizer(ABC):
    """One optimizer over T tensors in L layers.

    Args:
        parameters: T tensors, in forward order.
        layer_of: the layer of each tensor.
        settings: momentum and weight decay are taken from here.
    """

    _slots: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        layer_of: Sequence[int],
        settings: TrainingSettings,
    ) -> None:
        self.parameters = list(parameters)
        self.layer_of = list(layer_of)
        self.weight_decay = settings.weight_decay
        self.momentum = settings.momentum
        self.state: dict[str, list[Tensor]] = {
            slot: [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
            for slot in self._slots
        }
        self._gradients: list[Tensor | None] = []

    @torch.no_grad()
    def advance(self, gradients: Sequence[Tensor | None], finite: Tensor | None = None) -> None:
        """Take the gradients (None: this tensor got none) into every tensor's state.

        Args:
            finite: a 0-dim bool tensor on the device; where it is false the state stays as
                it is. None if the host knows that the gradients are finite.
        """
        self._gradients = list(gradients)
        if finite is not None:
            self._gradients = [
                None if g is None else torch.where(finite, g, 0.0) for g in self._gradients
            ]
        index = [i for i, gradient in enumerate(self._gradients) if gradient is not None]
        if index:
            self._advance(index, [self._gradient(i) for i in index], finite)

    @torch.no_grad()
    def apply(self, weights: Tensor, rate: float, finite: Tensor | None = None) -> None:
        """Move the parameters of every layer with a positive weight by lr * w_l.

        Args:
            weights: [L]; on the CPU layers at 0 are skipped, on a device the choice is made
                there by `torch.where`, without a host synchronisation.
            rate: the base learning rate.
            finite: as in `advance`; where it is false nothing moves.
        """
        if weights.device.type == "cpu" and finite is None:
            rates = [rate * weight for weight in weights.tolist()]
            for i in self._with_gradient():
                if rates[self.layer_of[i]] > 0:
                    self._move(i, rates[self.layer_of[i]])
            return
        allowed = weights.to(self.parameters[0].device, non_blocking=True) * rate
        if finite is not None:
            allowed = torch.where(finite, allowed, 0.0)
        for i in self._with_gradient():
            self._move_on_device(i, allowed[self.layer_of[i]])

    def _with_gradient(self) -> list[int]:
        return [i for i, gradient in enumerate(self._gradients) if gradient is not None]

    def _gradient(self, i: int) -> Tensor:
        gradient = self._gradients[i]
        assert gradient is not None
        return gradient

    def _with_l2(self, i: int, gradient: Tensor, finite: Tensor | None) -> Tensor:
        """A gradient with L2 decay; 0 where the step is not finite."""
        decayed = gradient.add(self.parameters[i], alpha=self.weight_decay)
        return decayed if finite is None else torch.where(finite, decayed, 0.0)

    @abstractmethod
    def _advance(self, index: list[int], gradients: list[Tensor], finite: Tensor | None) -> None:
        """Take the gradients of the tensors `index` into their state."""

    @abstractmethod
    def _updated(self, i: int, rate: float | Tensor) -> Tensor:
        """Tensor i after its update, as a new tensor."""

    def _move(self, i: int, rate: float) -> None:
        self.parameters[i].copy_(self._updated(i, rate))

    def _move_on_device(self, i: int, rate: Tensor) -> None:
        # never a multiplication by zero: 0 * inf would leak a NaN into a layer that is not selected
        parameter = self.parameters[i]
        updated = self._updated(i, rate.to(parameter.dtype))
        parameter.copy_(torch.where(rate > 0, updated, parameter))

    @property
    def momentum_buffers(self) -> list[Tensor] | None:
        """Sums of raw gradients with decay `momentum`, where the state holds exactly those."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Every tensor's state."""
        return {"state": self.state}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for slot, tensors in saved["state"].items():
            for mine, theirs in zip(self.state[slot], tensors, strict=True):
                mine.copy_(theirs)


class NesterovSGD(LayerwiseOptimizer):
    """SGD with Nesterov momentum and L2 decay: buf <- mu buf + g, step g + mu buf."""

    _slots = ("momentum",)

    def _advance(self, index: list[int], gradients: list[Tensor], finite: Tensor | None) -> None:
        if self.weight_decay:
            decayed = [self._with_l2(i, g, finite) for i, g in zip(index, gradients, strict=True)]
            for i, gradient in zip(index, decayed, strict=True):
                self._gradients[i] = gradient
            gradients = decayed
        buffers = [self.state["momentum"][i] for i in index]
        if finite is None:
            torch._foreach_mul_(buffers, self.momentum)
        else:
            torch._foreach_mul_(buffers, torch.where(finite, self.momentum, 1.0))
        torch._foreach_add_(buffers, gradients)

    def _direction(self, i: int) -> Tensor:
        return self._gradient(i).add(self.state["momentum"][i], alpha=self.momentum)

    def _updated(self, i: int, rate: float | Tensor) -> Tensor:
        return self.parameters[i] - self._direction(i) * rate

    def _move(self, i: int, rate: float) -> None:
        self.parameters[i].add_(self._direction(i), alpha=-rate)

    @property
    def momentum_buffers(self) -> list[Tensor] | None:
        """The buffers, unless L2 decay has put the parameters into them."""
        return None if self.weight_decay else self.state["momentum"]


class Adam(LayerwiseOptimizer):
    """Adam with betas 0.9 and 0.999, eps 1e-8 and L2 decay in the gradient."""

    _slots = ("mean", "square", "steps")
    _betas = (0.9, 0.999)
    eps = 1e-8

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        layer_of: Sequence[int],
        settings: TrainingSettings,
    ) -> None:
        super().__init__(parameters, layer_of, settings)
        # a tensor's own count of steps; on the CPU it is known to the host
        self.state["steps"] = [torch.zeros((), device=p.device) for p in self.parameters]

    def _advance(self, index: list[int], gradients: list[Tensor], finite: Tensor | None) -> None:
        gradients = [
            self._decayed_gradient(i, g, finite) for i, g in zip(index, gradients, strict=True)
        ]
        means = [self.state["mean"][i] for i in index]
        squares = [self.state["square"][i] for i in index]
        steps = [self.state["steps"][i] for i in index]
        beta1, beta2 = self._betas
        if finite is None:
            torch._foreach_lerp_(means, gradients, 1 - beta1)
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
            torch._foreach_add_(steps, 1.0)
            return
        kept = finite.to(means[0].dtype)  # a non-finite step's gradients are 0 already
        torch._foreach_mul_(means, 1 - (1 - beta1) * kept)
        torch._foreach_add_(means, gradients, alpha=1 - beta1)
        torch._foreach_mul_(squares, 1 - (1 - beta2) * kept)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        # as a list: a single tensor would be taken for a number, and read by the host
        torch._foreach_add_(steps, [kept] * len(steps))

    def _decayed_gradient(self, i: int, gradient: Tensor, finite: Tensor | None) -> Tensor:
        return self._with_l2(i, gradient, finite) if self.weight_decay else gradient

    def _updated(self, i: int, rate: float | Tensor) -> Tensor:
        beta1, beta2 = self._betas
        steps = self.state["steps"][i]
        correction1: float | Tensor
        correction2: float | Tensor
        if steps.device.type == "cpu":
            count = float(steps)
            correction1, correction2 = 1 - beta1**count, (1 - beta2**count) ** 0.5
        else:
            correction1, correction2 = 1 - beta1**steps, (1 - beta2**steps).sqrt()
        denominator = (self.state["square"][i].sqrt() / correction2).add_(self.eps)
        return self._decayed_parameter(i, rate) - self.state["mean"][i] / denominator * (
            rate / correction1
        )

    def _decayed_parameter(self, i: int, rate: float | Tensor) -> Tensor:
        """The parameter before its step."""
        return self.parameters[i]


class AdamW(Adam):
    """Adam with decoupled decay, which falls on a layer only when it moves."""

    def _decayed_gradient(self, i: int, gradient: Tensor, finite: Tensor | None) -> Tensor:
        return gradient

    def _decayed_parameter(self, i: int, rate: float | Tensor) -> Tensor:
        return self.parameters[i] * (1 - rate * self.weight_decay)


OPTIMIZERS: Mapping[str, Callable[..., LayerwiseOptimizer]] = {
    "sgd": NesterovSGD,
    "adam": Adam,
    "adamw": AdamW,
}
"""By the names of the sweep file."""
