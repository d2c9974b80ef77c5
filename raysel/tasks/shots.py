"""The first few examples of each class: what a trial with few shots trains on.

The fewer are among the more (nested), so that trials differ by what is added and by nothing
else; every trial, whatever its strategy and seed, draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysel.tasks.data import Indices, Labels

_SEED = 0  # the split's own seed has chosen the part; here only its order must be no order


def first_shots(labels: Labels, shots: int) -> Indices:
    """Places of `shots` examples of each class, ascending; all of a class that has fewer.

    The examples are shuffled once, whatever `shots` is, and each class's first ones taken:
    files in the order of their names are often frames of one scene.

    Args:
        labels: [n] of a training part.
        shots: above 0.
    """
    shuffled = np.random.default_rng(_SEED).permutation(len(labels))
    chosen = [shuffled[labels[shuffled] == label][:shots] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def shortage(labels: Labels, classes: Sequence[str], shots: int) -> str | None:
    """What to say where a class has fewer examples than `shots`; None where none has.

    Args:
        labels: [n] of a training part.
        classes: names of all classes.
    """
    counts = np.bincount(labels, minlength=len(classes))
    rarest = int(np.argmin(counts))
    if counts[rarest] >= shots:
        return None
    return (
        f"{shots} examples a class; the training part has {counts[rarest]} of class"
        f' "{classes[rarest]}". Give task.split.shots: {shots}, or fewer here'
    )
