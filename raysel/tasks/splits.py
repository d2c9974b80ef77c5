"""Which example belongs to which part: stratified, seeded, disjoint.

Each class is shuffled once; the parts are then dealt out one after the other, each in
proportion to what the classes have left, by the largest remainder. The target's parts come
first, so the size of the source changes nothing in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysel.errors import Problem, UserError, user_error
from raysel.spec import SplitSpec
from raysel.tasks.data import Indices, Labels

SOURCE_VALIDATION_SHARE = 0.1
"""Share of the source part that is kept for validating the source model."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Indices of the examples of each part, ascending; no example is in two parts.

    Both source parts are empty where there is no source.
    """

    train: Indices
    validation: Indices
    test: Indices
    source_train: Indices
    source_validation: Indices


def split(labels: Labels, classes: Sequence[str], sizes: SplitSpec, source: int | None) -> Splits:
    """Divide a data set.

    Args:
        labels: [N] values 0 .. C-1.
        classes: names of the C classes.
        sizes: examples of the target's parts, and the seed.
        source: examples of the source part; None takes all that the target leaves, and
            does without a source where that does not hold every class.

    Raises:
        UserError: there are too few examples, or a class is missing in the target's
            train or validation part or in a source part that was asked for; every
            such mistake is told.
    """
    _check_sizes(len(labels), sizes, source)
    shuffled = np.random.default_rng(sizes.seed).permutation(len(labels))
    dealer = _Dealer([shuffled[labels[shuffled] == c] for c in range(len(classes))])
    test = dealer.deal(sizes.test)
    validation = dealer.deal(sizes.validation)
    train = dealer.deal(sizes.train)
    source_size = dealer.left if source is None else source
    source_validation = dealer.deal(_source_validation_size(source_size))
    source_train = dealer.deal(source_size - len(source_validation))

    held = [("task.split.train", train), ("task.split.validation", validation)]
    problems = [
        Problem(path, lack)
        for path, part in held
        if (lack := _lacking_class(labels[part], labels, classes))
    ]
    source_lack = _lacking_class(labels[source_train], labels, classes)
    if source_lack and source is not None:
        kept = len(source_validation)
        message = f"{source} examples, {kept} of them for validation: {source_lack}"
        problems.append(Problem("task.source", message))
    elif source_lack:
        source_train = source_validation = source_train[:0]
    if problems:
        raise UserError(*problems)
    return Splits(train, validation, test, source_train, source_validation)


def largest_remainder(size: int, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Divide `size` in proportion to `counts` [C] into whole numbers [C] that sum to it.

    Each is less than 1 from its exact share and at most its count; equal remainders go to
    the first. `size` is at most the sum of the counts, which is above 0 unless `size` is 0.
    """
    total = max(int(counts.sum()), 1)
    # whole numbers throughout: a share of 19.999999 must not lose an example
    shares, remainders = np.divmod(size * counts, total)
    first = np.argsort(-remainders, kind="stable")[: size - int(shares.sum())]
    shares[first] += 1
    return shares


class _Dealer:
    """Shuffled indices of each class, dealt out from the front."""

    def __init__(self, stacks: list[Indices]) -> None:
        self._stacks = stacks

    @property
    def left(self) -> int:
        return sum(map(len, self._stacks))

    def deal(self, size: int) -> Indices:
        """The next `size` indices, in proportion to what each class has left; ascending."""
        counts = largest_remainder(size, np.array([len(stack) for stack in self._stacks]))
        dealt = [stack[:n] for stack, n in zip(self._stacks, counts, strict=True)]
        self._stacks = [stack[n:] for stack, n in zip(self._stacks, counts, strict=True)]
        return np.sort(np.concatenate(dealt)).astype(np.int64)


def _source_validation_size(source_size: int) -> int:
    """The share of the source that validates it: at least one example, if there is any."""
    return min(source_size, max(1, round(SOURCE_VALIDATION_SHARE * source_size)))


def _check_sizes(available: int, sizes: SplitSpec, source: int | None) -> None:
    target = sizes.train + sizes.validation + sizes.test
    if target > available:
        raise user_error(
            "task.split",
            f"train {sizes.train} + validation {sizes.validation} + test {sizes.test} ="
            f" {target} examples; the data set has {available}",
        )
    if source is not None and target + source > available:
        raise user_error(
            "task.source",
            f"{source} examples beside the target's {target} are more than the data set's"
            f" {available}; at most {available - target} are left",
        )


def _lacking_class(part: Labels, labels: Labels, classes: Sequence[str]) -> str | None:
    """What to say where a class has no example in `part`, which is a part of `labels`."""
    missing = np.flatnonzero(np.bincount(part, minlength=len(classes)) == 0)
    if not len(missing):
        return None
    if len(part) < len(classes):
        return f"{len(part)} examples cannot hold all {len(classes)} classes"
    counts = np.bincount(labels, minlength=len(classes))
    rarest = missing[np.argmin(counts[missing])]
    return (
        f'{len(part)} examples hold none of class "{classes[rarest]}",'
        f" which has {counts[rarest]} of the data set's {len(labels)}"
    )
