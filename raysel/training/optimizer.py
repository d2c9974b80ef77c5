"""SGD, Adam and AdamW whose state advances for every layer and whose updates go to the chosen.

torch's optimizers cannot serve: with a learning rate of 0 they let an infinite gradient of
an unselected layer through (0 * inf), and they cannot advance the state of a tensor that
they do not write (docs/algorithms.md, D3 and D7). The arithmetic is theirs; a test
compares the two.

An update has two halves: `advance` takes the gradients into the state of every tensor,
`apply` writes the tensors of the layers with a positive weight, at the rate lr * w_l.

On the CPU the host knows whether a step is finite and goes tensor by tensor. On a device it does
not ask (`finite` is a flag there), and everything is a fixed number of launches for all tensors
(`raysel.common.fused`); where a strategy chooses on the device, one more a layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from raysel.common import fused
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
        self._directions: dict[int, Tensor] = {}  # on a device: of each tensor with a gradient
        self._skip: Tensor | None = None  # on a device: 1 where the step is not finite, else 0

    @torch.no_grad()
    def advance(self, gradients: Sequence[Tensor | None], finite: Tensor | None = None) -> None:
        """Take the gradients (None: this tensor got none) into every tensor's state.

        Args:
            finite: a 0-dim bool tensor on the device; where it is false the state stays as
                it is. None if the host knows that the gradients are finite.
        """
        self._gradients = list(gradients)
        index, present = self._with_gradient(), [g for g in gradients if g is not None]
        if not index:
            return
        if finite is None:
            self._advance(index, present)
            return
        if self._l2:
            present = fused.sums(present, [self.parameters[i] for i in index], self._l2)
        self._skip = (~finite).to(torch.float32)
        directions = self._advance_on_device(index, present, self._skip)
        self._directions = dict(zip(index, directions, strict=True))

    @torch.no_grad()
    def apply(self, weights: Tensor, rate: float, finite: Tensor | None = None) -> None:
        """Move the parameters of every layer with a positive weight by lr * w_l.

        Args:
            weights: [L]; where the host knows them layers at 0 are skipped, else the choice is
                made on the device, without a host synchronisation.
            rate: the base learning rate.
            finite: as in `advance`; where it is false nothing moves.
        """
        if finite is None:
            rates = [rate * weight for weight in weights.tolist()]
            for i in self._with_gradient():
                if rates[self.layer_of[i]] > 0:
                    self._move(i, rates[self.layer_of[i]])
        elif weights.device.type == "cpu":
            by_rate: dict[float, list[int]] = {}
            rates = [rate * weight for weight in weights.tolist()]
            for i in self._directions:
                by_rate.setdefault(rates[self.layer_of[i]], []).append(i)
            for own_rate, index in by_rate.items():
                if own_rate > 0:
                    self._move_on_device(index, own_rate, self._skip)
        else:
            self._apply_on_device(weights * rate)
        self._directions = {}

    def _apply_on_device(self, rates: Tensor) -> None:
        """Move every layer at its rate, [L], which the host does not know: a launch a layer."""
        by_layer: dict[int, list[int]] = {}
        for i in self._directions:
            by_layer.setdefault(self.layer_of[i], []).append(i)
        assert self._skip is not None
        skips = torch.where(rates > 0, self._skip, 1.0).unbind()
        own_rates = rates.unbind()
        for layer, index in by_layer.items():
            self._move_on_device(index, own_rates[layer], skips[layer])

    def _move_on_device(self, index: list[int], rate: fused.Rate, skip: Tensor | None) -> None:
        assert skip is not None
        parameters = [self.parameters[i] for i in index]
        directions = [self._directions[i] for i in index]
        fused.descend_(parameters, directions, rate, skip, self._decoupled)

    def _with_gradient(self) -> list[int]:
        return [i for i, gradient in enumerate(self._gradients) if gradient is not None]

    def _gradient(self, i: int) -> Tensor:
        gradient = self._gradients[i]
        assert gradient is not None
        return gradient

    @property
    def _l2(self) -> float:
        """Decay that goes into the gradient."""
        return self.weight_decay

    @property
    def _decoupled(self) -> float:
        """Decay of the parameters beside the gradient, which falls on a layer when it moves."""
        return 0.0

    @abstractmethod
    def _advance(self, index: list[int], gradients: list[Tensor]) -> None:
        """Take the gradients of the tensors `index` into their state."""

    @abstractmethod
    def _move(self, i: int, rate: float) -> None:
        """Write tensor i after its update."""

    @abstractmethod
    def _advance_on_device(
        self, index: list[int], gradients: list[Tensor], skip: Tensor
    ) -> list[Tensor]:
        """The same as `_advance`, where `skip` is not 1; the directions in which the tensors are to
        move."""

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

    def _advance(self, index: list[int], gradients: list[Tensor]) -> None:
        if self._l2:
            pairs = zip(index, gradients, strict=True)
            gradients = [g.add(self.parameters[i], alpha=self._l2) for i, g in pairs]
            for i, gradient in zip(index, gradients, strict=True):
                self._gradients[i] = gradient
        buffers = [self.state["momentum"][i] for i in index]
        torch._foreach_mul_(buffers, self.momentum)
        torch._foreach_add_(buffers, gradients)

    def _move(self, i: int, rate: float) -> None:
        direction = self._gradient(i).add(self.state["momentum"][i], alpha=self.momentum)
        self.parameters[i].add_(direction, alpha=-rate)

    def _advance_on_device(
        self, index: list[int], gradients: list[Tensor], skip: Tensor
    ) -> list[Tensor]:
        buffers = [self.state["momentum"][i] for i in index]
        return fused.nesterov_(gradients, buffers, self.momentum, skip)

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

    def _advance(self, index: list[int], gradients: list[Tensor]) -> None:
        if self._l2:
            pairs = zip(index, gradients, strict=True)
            gradients = [g.add(self.parameters[i], alpha=self._l2) for i, g in pairs]
        means, squares, steps = self._state_of(index)
        beta1, beta2 = self._betas
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        torch._foreach_add_(steps, 1.0)

    def _move(self, i: int, rate: float) -> None:
        beta1, beta2 = self._betas
        count = float(self.state["steps"][i])
        correction1, correction2 = 1 - beta1**count, (1 - beta2**count) ** 0.5
        denominator = (self.state["square"][i].sqrt() / correction2).add_(self.eps)
        parameter = self.parameters[i]
        kept = parameter * (1 - rate * self._decoupled) if self._decoupled else parameter
        parameter.copy_(kept - self.state["mean"][i] / denominator * (rate / correction1))

    def _advance_on_device(
        self, index: list[int], gradients: list[Tensor], skip: Tensor
    ) -> list[Tensor]:
        return fused.adam_(gradients, *self._state_of(index), self._betas, self.eps, skip)

    def _state_of(self, index: list[int]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        means, squares = self.state["mean"], self.state["square"]
        steps = self.state["steps"]
        return [means[i] for i in index], [squares[i] for i in index], [steps[i] for i in index]


class AdamW(Adam):
    """Adam with decoupled decay, which falls on a layer only when it moves."""

    @property
    def _l2(self) -> float:
        return 0.0

    @property
    def _decoupled(self) -> float:
        return self.weight_decay


OPTIMIZERS: Mapping[str, Callable[..., LayerwiseOptimizer]] = {
    "sgd": NesterovSGD,
    "adam": Adam,
    "adamw": AdamW,
}
"""By the names of the sweep file."""
