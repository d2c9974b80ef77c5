"""Splits drawn again for the confirm phase: the test part stays, training and validation parts
come from the rest.

The rest is what the search's own training and validation parts could have been drawn from:
neither the test part nor the source's, and nothing of the parts that a data set publishes as
test or source. Each draw is as large as the search's own parts, stratified, and a function of
the split's seed and the draw's number alone. Where the training part has as many of each class
(`split.shots`) and a stratified validation part would leave a rare class fewer, the training part
is drawn first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from raysel.common.errors import user_error
from raysel.tasks.data import Indices, Labels
from raysel.tasks.splits import Splits, StratifiedAllocator, largest_remainder

_STREAM = 3
"""Beside the split's seed: the draws are independent of every other use of it."""


@dataclass(frozen=True, eq=False)
class SplitIndices:
    """Places in the data set of a draw's examples, ascending; disjoint."""

    train: Indices
    validation: Indices


def draw_splits(
    labels: Labels,
    classes: Sequence[str],
    parts: Splits,
    count: int,
    seed: int,
    shots: int | None = None,
    official_splits: NDArray[np.str_] | None = None,
) -> tuple[SplitIndices, ...]:
    """SplitIndices training and validation parts anew.

    Args:
        labels: [N] of the whole data set.
        parts: the search's own; their sizes are kept, and their test and source parts stay out.
        count: number of draws.
        seed: of the split.
        shots: examples a class of the training part, where the split asks for that.
        official_splits: [N] the published part of each example, as `pools_of` gives them.

    Raises:
        UserError: the rest has fewer different splits than are asked for.
    """
    rest = rest_of(parts, len(labels), official_splits)
    by_class = [rest[labels[rest] == c] for c in range(len(classes))]
    _refuse_too_many(by_class, len(parts.validation), shots or 0, count)
    return tuple(
        _draw(by_class, parts, classes, shots, np.random.default_rng([seed, _STREAM, number]))
        for number in range(1, count + 1)
    )


def rest_of(parts: Splits, total: int, official_splits: NDArray[np.str_] | None = None) -> Indices:
    """Places of the examples that a draw may take; ascending."""
    free = np.ones(total, bool)
    if official_splits is not None:
        free &= (official_splits != "test") & (official_splits != "source")
    for taken in (parts.test, parts.source_train, parts.source_validation):
        free[taken] = False
    # a split from a file may use what a data set publishes as test
    free[parts.train] = free[parts.validation] = True
    return np.flatnonzero(free).astype(np.int64)


def _draw(
    by_class: Sequence[Indices],
    parts: Splits,
    classes: Sequence[str],
    shots: int | None,
    random: np.random.Generator,
) -> SplitIndices:
    allocator = StratifiedAllocator([random.permutation(own) for own in by_class])
    size = len(parts.validation)
    if shots is None:
        validation = allocator.take(size)
        return SplitIndices(allocator.take(len(parts.train)), validation)
    if _leaves_too_few(by_class, size, shots):
        train = allocator.take_per_class(shots, classes)
        return SplitIndices(train, allocator.take(size))
    validation = allocator.take(size)
    return SplitIndices(allocator.take_per_class(shots, classes), validation)


def _leaves_too_few(by_class: Sequence[Indices], validation: int, shots: int) -> bool:
    """Whether a stratified validation part would leave a class fewer examples than the training
    part is to have of it: a rare class has as many there as a frequent one."""
    sizes = np.array([len(own) for own in by_class])
    return bool(np.any(sizes - largest_remainder(validation, sizes) < shots))


def _refuse_too_many(by_class: Sequence[Indices], validation: int, shots: int, count: int) -> None:
    sizes = np.array([len(own) for own in by_class])
    kept = shots if _leaves_too_few(by_class, validation, shots) else 0
    taken = largest_remainder(validation, sizes - kept)
    different = 1
    for size, some in zip(sizes.tolist(), taken.tolist(), strict=True):
        different *= comb(size, some)
        if different >= count:
            return
    raise user_error(
        "confirm.splits",
        f"{count} splits; the {int(sizes.sum())} examples beside the test part can be divided"
        f" into {different} different validation parts of {validation}: at most {different}",
    )
