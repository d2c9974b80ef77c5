"""A set of layers as a searched value (`search.sampler: greedy`): it grows by one layer a round."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from raysel.spec.values import Choice

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

GREEDY = "greedy"
"""The sampler's name in the sweep file."""

KIND = "layers"
"""The kind of a strategy's parameter that names layers."""

METRICS = ("val/error", "val/top5_error")
"""Objectives that are shares of the validation examples, whose standard error is known."""


class LayerSet(Choice):
    """A value that is one or several of the model's layers, joined by `+`; the options are the
    layers. In the study each of them is a value of its own, `arm.block.layer1`: true where it is in
    the set."""

    def suggest(self, trial: BaseTrial, name: str) -> str:
        """Let the trial choose, under the study's name of the value."""
        flags = {
            layer: trial.suggest_categorical(f"{name}.{layer}", (False, True))
            for layer in map(str, self.options)
        }
        return "+".join(layer for layer, moves in flags.items() if moves)

    def in_study(self, name: str, chosen: Collection[str]) -> dict[str, bool]:
        """The values of a trial that is to have these layers, under the study's names."""
        return {f"{name}.{layer}": layer in chosen for layer in map(str, self.options)}


def most_trials(layers: int, trials: int) -> int:
    """How many of so many trials are taken by whole rounds, of L, L - 1, … trials.

    >>> most_trials(4, 40), most_trials(4, 8), most_trials(4, 3)
    (10, 7, 0)
    """
    return sum(rounds_of(layers, trials))


def rounds_of(layers: int, trials: int) -> list[int]:
    """The trials of each round that so many trials hold; a round is not begun where it cannot be
    ended.

    >>> rounds_of(4, 8)
    [4, 3]
    """
    sizes = list[int]()
    for size in range(layers, 0, -1):
        if sum(sizes) + size > trials:
            break
        sizes.append(size)
    return sizes
