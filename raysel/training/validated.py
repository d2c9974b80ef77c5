"""The weights of a trial that are validated, tested and exported: those in training, or their
moving average (`training.weight_averaging`, docs/algorithms.md, D60); and those of its best epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3


class _Moving(nn.Module):
    """The tensors of a model that training moves, as a module that timm averages: what is frozen
    costs nothing."""

    def __init__(self, tensors: Collection[Tensor]) -> None:
        super().__init__()
        self.tensors = nn.ParameterList(nn.Parameter(t, requires_grad=False) for t in tensors)


class WeightAverage:
    """timm's `ModelEmaV3` with its warm-up, of the tensors of a model that training moves.

    Whole numbers (batch norm's count of batches) are not averaged.

    Args:
        tensors: in training; they are read after each step.
        decay: the largest.
    """

    def __init__(self, tensors: Collection[Tensor], decay: float) -> None:
        from raysel.models import timm  # noqa: PLC0415  (slow, and seldom needed)

        self._model = _Moving([t for t in tensors if t.is_floating_point()])
        self._average: ModelEmaV3 = timm.utils.ModelEmaV3(self._model, decay=decay, use_warmup=True)

    def update(self, step: int) -> None:
        """Take in the weights after optimizer step `step`, from 1."""
        self._average.update(self._model, step=step)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights inside, and its own afterwards."""
        mine, averaged = list(self._model.tensors), list(self._average.module.tensors)
        with torch.no_grad():
            own = [tensor.clone() for tensor in mine]
            torch._foreach_copy_(mine, averaged)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(mine, own)

    def load(self) -> None:
        """Put the averaged weights into the model."""
        with torch.no_grad():
            torch._foreach_copy_(list(self._model.tensors), list(self._average.module.tensors))

    def state_dict(self) -> list[Tensor]:
        """The averages."""
        return [tensor.detach() for tensor in self._average.module.tensors]

    def load_state_dict(self, saved: list[Tensor]) -> None:
        """Restore what `state_dict` gave."""
        for mine, theirs in zip(self._average.module.tensors, saved, strict=True):
            mine.copy_(theirs)


class ValidatedWeights:
    """What of a trial's weights is validated, and remembered.

    Args:
        model: in training.
        names: of its parameters that may move.
        decay: of the moving average; 0 takes the weights as they are.
        keep_best: remember the weights of the best epoch.

    Attributes:
        best_value: the lowest objective of an epoch.
        best_epoch: the first one with it; 0 before the first.
    """

    def __init__(
        self, model: nn.Module, names: Collection[str], decay: float, keep_best: bool
    ) -> None:
        self._model, self._names, self._keep_best = model, frozenset(names), keep_best
        moving = {n: t for n, t in model.state_dict().items() if n not in self._frozen()}
        self._average = WeightAverage(moving.values(), decay) if decay else None
        self.best_epoch, self.best_value = 0, float("inf")
        self._best_state: dict[str, Tensor] | None = None

    def after_step(self, step: int) -> None:
        """Optimizer step `step`, from 1, was taken."""
        if self._average is not None:
            self._average.update(step)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the validated weights inside, and those in training afterwards."""
        if self._average is None:
            yield
            return
        with self._average.in_place():
            yield

    def remember(self, epoch: int, value: float) -> None:
        """Take in an epoch's objective; to be called with the validated weights in place."""
        if value < self.best_value:
            self.best_value, self.best_epoch = value, epoch
            if self._keep_best:
                self._best_state = copy.deepcopy(self.moving_state())

    def load(self) -> None:
        """Put what is tested and exported into the model: the weights of the best epoch where they
        are kept, else those of the last one."""
        if self._best_state is not None:
            self._model.load_state_dict(self._best_state, strict=False)
        elif self._average is not None:
            self._average.load()

    def moving_state(self) -> dict[str, Tensor]:
        """What training can change of the model: its tunable parameters, every buffer."""
        frozen = self._frozen()
        state = self._model.state_dict()
        return {name: t.contiguous() for name, t in state.items() if name not in frozen}

    def _frozen(self) -> set[str]:
        return {name for name, _ in self._model.named_parameters()} - self._names

    def state_dict(self) -> dict[str, Any]:
        """What a resumed trial needs."""
        state: dict[str, Any] = {
            "model": self.moving_state(),
            "best": (self.best_epoch, self.best_value, self._best_state),
        }
        return state | ({} if self._average is None else {"average": self._average.state_dict()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._model.load_state_dict(state["model"], strict=False)
        self.best_epoch, self.best_value, self._best_state = state["best"]
        if self._average is not None:
            self._average.load_state_dict(state["average"])
