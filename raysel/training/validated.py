"""The weights of a trial that are validated, tested and exported: those in training, or their
moving average (`training.weight_averaging`, docs/algorithms.md, D60), on the way between the
weights that it began with and these (`after`, D65); and those of its best epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3


ALPHA = "wise_ft/alpha"
"""The share of the tuned weights that an epoch's validation chose (`after`)."""


class _Moving(nn.Module):
    """The tensors of a model that training moves, as a module that timm averages: what is frozen
    costs nothing."""

    def __init__(self, tensors: Collection[Tensor]) -> None:
        super().__init__()
        self.tensors = nn.ParameterList(nn.Parameter(t, requires_grad=False) for t in tensors)


class WeightAverage:
    """timm's `ModelEmaV3` with its warm-up, of the tensors of a model that training moves.

    Args:
        tensors: in training, of real numbers; they are read after each step.
        decay: the largest.
    """

    def __init__(self, tensors: Collection[Tensor], decay: float) -> None:
        from raysel.models import timm  # noqa: PLC0415  (slow, and seldom needed)

        self._model = _Moving(tensors)
        self._average: ModelEmaV3 = timm.utils.ModelEmaV3(self._model, decay=decay, use_warmup=True)

    def update(self, step: int) -> None:
        """Take in the weights after optimizer step `step`, from 1."""
        self._average.update(self._model, step=step)

    @property
    def averages(self) -> list[Tensor]:
        """Of the tensors that are averaged, in their order."""
        return list(self._average.module.tensors)

    def state_dict(self) -> list[Tensor]:
        """The averages."""
        return [tensor.detach() for tensor in self.averages]

    def load_state_dict(self, saved: list[Tensor]) -> None:
        """Restore what `state_dict` gave."""
        for mine, theirs in zip(self.averages, saved, strict=True):
            mine.copy_(theirs)


class ValidatedWeights:
    """What of a trial's weights is validated, and remembered.

    Args:
        model: in training, with the weights that it begins with.
        names: of its parameters that may move.
        decay: of the moving average; 0 takes the weights as they are.
        keep_best: remember the weights of the best epoch.
        alphas: shares of the tuned weights, beside the starting ones, among which validation
            chooses; nothing takes the tuned ones.
        fresh: names of parameters whose start means nothing, and which are taken as tuned.

    Attributes:
        best_value: the lowest objective of an epoch.
        best_epoch: the first one with it; 0 before the first.
        alpha: the share that the last validation chose.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Collection[str],
        decay: float,
        keep_best: bool,
        alphas: Collection[float] = (),
        fresh: Collection[str] = (),
    ) -> None:
        self._model, self._names, self._keep_best = model, frozenset(names), keep_best
        frozen = self._frozen()
        moving = {
            name: tensor
            for name, tensor in model.state_dict().items()
            if name not in frozen and tensor.is_floating_point()
        }
        self._moving = list(moving.values())
        self._average = WeightAverage(self._moving, decay) if decay else None
        self._alphas = tuple(alphas)
        self._between = [i for i, name in enumerate(moving) if name not in fresh]
        self._start = [self._moving[i].clone() for i in self._between] if alphas else []
        self.alpha = 1.0
        self.best_epoch, self.best_value = 0, float("inf")
        self._best_state: dict[str, Tensor] | None = None

    def after_step(self, step: int) -> None:
        """Optimizer step `step`, from 1, was taken."""
        if self._average is not None:
            self._average.update(step)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the validated weights inside, and those in training afterwards."""
        if self._average is None and not self._alphas:
            yield
            return
        own = [tensor.clone() for tensor in self._moving]
        self._put()
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._moving, own)

    @torch.no_grad()
    def _put(self) -> None:
        """Overwrite the weights in training with those that are validated."""
        if self._average is not None:
            torch._foreach_copy_(self._moving, self._average.averages)
        if self._alphas and self.alpha < 1:
            tuned = [self._moving[i] for i in self._between]
            torch._foreach_copy_(tuned, torch._foreach_lerp(self._start, tuned, self.alpha))

    def validate(
        self, epoch: int, measure: Callable[[], dict[str, float]], objective: str
    ) -> dict[str, float]:
        """Measure an epoch's weights, with the best share of them, and remember the best epoch.

        Args:
            measure: gives the metrics of the model as it is.
            objective: the metric that is to be low.

        Returns:
            The metrics, with `ALPHA` where there is a choice of shares.
        """
        found: dict[str, float] = {}
        for alpha in self._alphas:
            before, self.alpha = self.alpha, alpha
            with self.in_place():
                metrics = measure()
            value = metrics[objective]
            if not found or value < found[objective]:
                found = metrics | {ALPHA: alpha}
            else:
                self.alpha = before
        with self.in_place():
            found = found or measure()
            self._remember(epoch, found[objective])
        return found

    def _remember(self, epoch: int, value: float) -> None:
        if value < self.best_value:
            self.best_value, self.best_epoch = value, epoch
            if self._keep_best:
                self._best_state = copy.deepcopy(self.moving_state())

    def load(self) -> None:
        """Put what is tested and exported into the model: the weights of the best epoch where they
        are kept, else those of the last one."""
        if self._best_state is not None:
            self._model.load_state_dict(self._best_state, strict=False)
        else:
            self._put()

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
        if self._alphas:
            state["alpha"] = self.alpha
        return state | ({} if self._average is None else {"average": self._average.state_dict()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._model.load_state_dict(state["model"], strict=False)
        self.best_epoch, self.best_value, self._best_state = state["best"]
        self.alpha = state.get("alpha", 1.0)
        if self._average is not None:
            self._average.load_state_dict(state["average"])
