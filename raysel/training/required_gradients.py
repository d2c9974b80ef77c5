"""Which parameters get a gradient: those that may move in this epoch, and of them those that the
next step needs (`Strategy.needs_gradients`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from raysel.strategies.base import Strategy

LAZY_SHARE = "cost/lazy_share"
"""The share of an epoch's steps that left out the gradients of layers that may move."""


class RequiredGradients:
    """Sets `requires_grad` of a model's parameters for one strategy.

    Args:
        model: its parameters are frozen and released in place.
        strategy: says what each step needs.
        seed: the trial's.
    """

    def __init__(self, model: nn.Module, strategy: Strategy, seed: int) -> None:
        self._model, self._strategy, self._seed = model, strategy, seed
        self._counts = type(strategy).needs_gradients is not Strategy.needs_gradients
        self._active: frozenset[str] = frozenset()
        self._needed: Sequence[int] | None = None
        self._steps = self._lazy_steps = 0

    def only(self, names: frozenset[str]) -> list[str]:
        """Only the named parameters get a gradient from now on; their names in forward order.

        Raises:
            ValueError: there is none of them.
        """
        self._active, self._needed = names, None
        found = self._set(names)
        if not found:
            raise ValueError(f"{self._strategy.name}: no parameter may move")
        return found

    def before_step(self, number: int) -> None:
        """Let step `number` (from 1) compute the gradients that the strategy needs, no others."""
        needed = self._strategy.needs_gradients(number, self._seed)
        self._steps += 1
        self._lazy_steps += needed is not None
        if needed != self._needed:
            self._needed = needed
            partition = self._strategy.partition
            own = self._active if needed is None else partition.parameters_of(needed)
            self._set(self._active & own)

    def metrics(self) -> dict[str, float]:
        """`LAZY_SHARE` since the last call; empty for a strategy that needs all gradients."""
        steps, lazy = self._steps, self._lazy_steps
        self._steps = self._lazy_steps = 0
        return {LAZY_SHARE: lazy / steps} if self._counts and steps else {}

    def _set(self, names: frozenset[str]) -> list[str]:
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(name in names)
            if name not in names:
                parameter.grad = None
        return [name for name, _ in self._model.named_parameters() if name in names]
