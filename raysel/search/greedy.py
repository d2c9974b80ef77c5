"""Greedy-SubTuning: the set of layers that move grows by one layer a round (`search.sampler:
greedy`; Kaplun et al., Less is More: Selective Layer Finetuning with SubTuning, 2023, Algorithm 1).

    S = {}
    repeat: l* = argmin over l not in S of e(S + l)
            stop if e(S + l*) >= e(S) - epsilon, else S = S + l*

e is the validation error. The paper tunes epsilon; here it is the standard error of e(S) over the
n validation examples, sqrt(e(S) (1 - e(S)) / n): the one-standard-error rule (Breiman et al., 1984;
docs/algorithms.md, D88). The first layer is always taken, as the paper begins with an accuracy of
0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raysel.record.state import TO_BEAT

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class TriedSet:
    """A set of layers that has a trial.

    Attributes:
        error: its validation error; None while it runs, and where it failed.
    """

    layers: frozenset[str]
    error: float | None
    ended: bool


@dataclass(frozen=True)
class Round:
    """What is left to begin of a round.

    Attributes:
        sets: the sets without a trial, in the order of the layers that they add; none while the
            round waits for those that run.
        to_beat: the error below which an addition is taken; None in the first round.
    """

    sets: tuple[frozenset[str], ...]
    to_beat: float | None


def current_round(
    layers: Sequence[str], tried: Sequence[TriedSet], examples: int, most: int
) -> Round | None:
    """The round that a set of layers is in; None where it grows no more.

    Args:
        layers: the model's, in forward order.
        tried: the sets that have a trial, the better before the worse.
        examples: of the validation part.
        most: trials at most; a round that would go beyond does not begin.
    """
    known = {one.layers: one for one in tried}
    chosen, to_beat = frozenset[str](), None
    while True:
        additions = [chosen | {layer} for layer in layers if layer not in chosen]
        left = tuple(one for one in additions if one not in known)
        if not additions or (len(left) == len(additions) > most):
            return None
        if left or not all(known[one].ended for one in additions):
            return Round(left, to_beat)
        best = next((t for t in tried if t.layers in additions and t.error is not None), None)
        if best is None or best.error is None or (to_beat is not None and best.error >= to_beat):
            return None
        most -= len(additions)
        chosen, to_beat = best.layers, best.error - standard_error(best.error, examples)


def standard_error(error: float, examples: int) -> float:
    """Of a share of examples: sqrt(e (1 - e) / n)."""
    return math.sqrt(error * (1 - error) / examples)


def note_to_beat(trial: Trial, to_beat: float | None) -> None:
    """Keep in a trial what it has to beat, from where the record has it."""
    if to_beat is not None:
        trial.study._storage.set_trial_system_attr(trial._trial_id, TO_BEAT, to_beat)
