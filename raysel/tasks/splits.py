"""Which example belongs to which part: stratified, seeded, disjoint.

Each class is shuffled once; the parts are then taken one after the other, each in
proportion to what the classes have left, by the largest remainder. The target's parts come
first, so the size of the source changes nothing in them.

A data set may have parts of its own (its pools): test and validation examples then come from
its test and validation part, the others from its training part. A part that it has is taken
whole, unless the file gives a number; a share is one of the training part. Without parts of its
own all come from one pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raysel.common.errors import Problem, UserError, user_error
from raysel.spec.sweep import SplitSpec
from raysel.spec.task import ALL, DEFAULT_SIZES, PartSize
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


Pool = Literal["train", "validation", "test", "source"]
"""A part that a data set is published in."""

POOLS: tuple[Pool, ...] = ("train", "validation", "test", "source")

POOL_OF_FOLDER: dict[str, Pool] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
    "source": "source",
}
"""What folders and tables call the parts of a data set, in lower case."""

_FROM: dict[str, tuple[Pool, ...]] = {
    "test": ("test", "train"),
    "validation": ("validation", "train"),
    "train": ("train",),
    "source": ("source", "train"),
}
"""The pools that a part is drawn from: the first that the data set has."""


def split(
    labels: Labels,
    classes: Sequence[str],
    sizes: SplitSpec,
    source: int | None,
    official_splits: NDArray[np.str_] | None = None,
) -> Splits:
    """Divide a data set.

    Args:
        labels: [N] values 0 .. C-1.
        classes: names of the C classes.
        sizes: examples of the target's parts, and the seed.
        source: examples of the source part; None takes all that the target leaves, and
            does without a source where that does not hold every class.
        official_splits: [N] the pool of each example; None is one pool for all. Without
            `sizes.official` all but the source's are one.

    Raises:
        UserError: there are too few examples, or a class is missing in the target's
            train or validation part or in a source part that was asked for; every
            such mistake is reported.
    """
    shuffled = np.random.default_rng(sizes.seed).permutation(len(labels))
    official_splits = pools_of(sizes, official_splits)
    allocators = _allocators(shuffled, labels, len(classes), official_splits)
    asked = sizes_asked(sizes, official_splits, len(classes))
    count = _counts(allocators, asked, source)
    test = allocators["test"].take(count["test"])
    validation = allocators["validation"].take(count["validation"])
    if sizes.shots is None:
        train = allocators["train"].take(count["train"])
    else:
        train = allocators["train"].take_per_class(sizes.shots, classes)
    source_size = allocators["source"].left if source is None else source
    source_validation = allocators["source"].take(_source_validation_size(source_size))
    source_train = allocators["source"].take(source_size - len(source_validation))

    held = [("task.split.train", train), ("task.split.validation", validation)]
    problems = [
        Problem(path, message)
        for path, part in held
        if (message := _missing_class(labels[part], labels, classes))
    ]
    source_shortage = _missing_class(labels[source_train], labels, classes)
    if source_shortage and source is not None:
        kept = len(source_validation)
        message = f"{source} examples, {kept} of them for validation: {source_shortage}"
        problems.append(Problem("task.source", message))
    elif source_shortage:
        source_train = source_validation = source_train[:0]
    if problems:
        raise UserError(*problems)
    return Splits(train, validation, test, source_train, source_validation)


def pools_of(sizes: SplitSpec, official_splits: NDArray[np.str_] | None) -> NDArray[np.str_] | None:
    """[N] the pools that the parts are drawn from; without `sizes.official` all but the
    source's are one."""
    return (
        official_splits if official_splits is None or sizes.official else _merged(official_splits)
    )


def own_parts(official_splits: NDArray[np.str_] | None) -> frozenset[str]:
    """The target's parts that a data set has of its own; none where all are drawn from one pool.

    Args:
        official_splits: as `pools_of` gives them.
    """
    there = (
        frozenset() if official_splits is None else frozenset(map(str, np.unique(official_splits)))
    )
    return there & set(DEFAULT_SIZES) if there & {"validation", "test"} else frozenset()


def sizes_asked(
    sizes: SplitSpec, official_splits: NDArray[np.str_] | None, class_count: int
) -> dict[str, int | float | str]:
    """How many examples each of the target's parts is asked to have, every default settled."""
    own = own_parts(official_splits)
    asked: dict[str, int | float | str] = {}
    for part, default in DEFAULT_SIZES.items():
        given: PartSize = getattr(sizes, part)
        whole = given is None or part in shares_not_applied(sizes, official_splits)
        settled = default if given is None else given
        asked[part] = ALL if whole and part in own else settled
    if sizes.shots is not None:
        asked["train"] = sizes.shots * class_count
    return asked


def shares_not_applied(
    sizes: SplitSpec, official_splits: NDArray[np.str_] | None
) -> tuple[str, ...]:
    """Parts for which the file gives a share and the data set a part of its own, which is taken
    whole: nothing is divided there."""
    own = own_parts(official_splits)
    return tuple(
        part
        for part in ("validation", "test")
        if part in own and isinstance(getattr(sizes, part), float)
    )


def pool_of(part: str, official_splits: NDArray[np.str_] | None) -> Pool | None:
    """The pool that a part (`source` for both of the source's) is drawn from; None is all.

    Args:
        official_splits: as `pools_of` gives them.
    """
    if official_splits is None:
        return None
    there = set(map(str, np.unique(official_splits)))
    return next((pool for pool in _FROM[part] if pool in there), None)


def halves(labels: Labels, class_count: int, seed: int) -> NDArray[np.str_]:
    """[N] `train` or `test`: stratified halves for a data set that has no parts of its own.

    Of an odd number the training half has one more.
    """
    shuffled = np.random.default_rng([seed, 2]).permutation(len(labels))
    allocator = StratifiedAllocator([shuffled[labels[shuffled] == c] for c in range(class_count)])
    official_splits = np.full(len(labels), "train", dtype="<U10")
    official_splits[allocator.take(len(labels) // 2)] = "test"
    return official_splits


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


class StratifiedAllocator:
    """Shuffled indices of each class, taken from the front."""

    def __init__(self, remaining: list[Indices]) -> None:
        self._remaining = remaining

    @property
    def left(self) -> int:
        """Number of indices that were not taken yet."""
        return sum(map(len, self._remaining))

    def take(self, size: int) -> Indices:
        """The next `size` indices, in proportion to what each class has left; ascending."""
        counts = largest_remainder(size, np.array([len(stack) for stack in self._remaining]))
        return self._take(counts.tolist())

    def take_per_class(self, shots: int, classes: Sequence[str]) -> Indices:
        """The next `shots` indices of each class; ascending.

        Raises:
            UserError: a class has fewer left.
        """
        counts = [len(stack) for stack in self._remaining]
        rarest = int(np.argmin(counts))
        if counts[rarest] < shots:
            raise user_error(
                "task.split.shots",
                f'{shots} examples a class; the other parts leave class "{classes[rarest]}"'
                f" {counts[rarest]}",
            )
        return self._take([shots] * len(counts))

    def _take(self, counts: Sequence[int]) -> Indices:
        taken = [stack[:n] for stack, n in zip(self._remaining, counts, strict=True)]
        self._remaining = [stack[n:] for stack, n in zip(self._remaining, counts, strict=True)]
        return np.sort(np.concatenate(taken)).astype(np.int64)


def _allocators(
    shuffled: Indices, labels: Labels, class_count: int, official_splits: NDArray[np.str_] | None
) -> dict[str, StratifiedAllocator]:
    """The allocator of each part: parts that share a pool share an allocator."""

    def allocator(pool: Pool | None) -> StratifiedAllocator:
        own = (
            shuffled
            if pool is None or official_splits is None
            else shuffled[official_splits[shuffled] == pool]
        )
        return StratifiedAllocator([own[labels[own] == c] for c in range(class_count)])

    if official_splits is None:
        return dict.fromkeys(_FROM, allocator(None))
    there = {pool: allocator(pool) for pool in POOLS if np.any(official_splits == pool)}
    nothing = StratifiedAllocator([shuffled[:0]] * class_count)
    return {
        part: next((there[pool] for pool in wanted if pool in there), nothing)
        for part, wanted in _FROM.items()
    }


def _merged(official_splits: NDArray[np.str_]) -> NDArray[np.str_] | None:
    """The parts of the target as one; the source's examples are others and stay its own."""
    source = official_splits == "source"
    return np.where(source, "source", "train") if source.any() else None


def _counts(
    allocators: dict[str, StratifiedAllocator],
    asked: dict[str, int | float | str],
    source: int | None,
) -> dict[str, int]:
    """Examples of each of the target's parts.

    Raises:
        UserError: they, or the source beside them, are more than there are.
    """
    counts: dict[str, int] = {}
    whole = len(set(allocators.values())) == 1
    for allocator in dict.fromkeys(allocators.values()):
        sharing = {part: size for part, size in asked.items() if allocators[part] is allocator}
        takes_source = allocators["source"] is allocator
        if not sharing and source is not None and source > allocator.left:
            message = f"{source} examples; the data set's source part has {allocator.left}"
            raise user_error("task.source", message)
        pool_name = "the data set" if whole else f"the data set's part for {' and '.join(sharing)}"
        beside = source if takes_source and sharing else None
        counts |= _pool_counts(sharing, allocator.left, beside, pool_name)
    return counts


def _pool_counts(
    sharing: dict[str, int | float | str], pool: int, source: int | None, name: str
) -> dict[str, int]:
    """Examples of the parts that share a pool of `pool` examples, named `name` in messages."""
    counts = {part: size for part, size in sharing.items() if type(size) is int}
    # by cumulative shares, so that .7, .2 and .1 take exactly all there are
    share = 0.0
    for part, size in sharing.items():
        if isinstance(size, float):
            counts[part] = round((share + size) * pool) - round(share * pool)
            share += size
    rest = [part for part, size in sharing.items() if size == ALL]
    if len(rest) > 1:
        raise user_error("task.split", f"{' and '.join(rest)} cannot both be all of one pool")
    left = pool - sum(counts.values())
    if left < 0 or (rest and left - (source or 0) <= 0):
        raise user_error("task.split", _too_large(sharing, counts, pool, source, name))
    if source is not None and source > left:
        raise user_error(
            "task.source",
            f"{source} examples are too many: {name} has {pool}, of which the target's parts take"
            f" {pool - left}; give at most {left}",
        )
    return counts | dict.fromkeys(rest, left - (source or 0))


def _too_large(
    sharing: Mapping[str, int | float | str],
    counts: Mapping[str, int],
    pool: int,
    source: int | None,
    name: str,
) -> str:
    """Why parts of a pool are too large together, or leave nothing for the one with `all`."""
    given = {part: size for part, size in sharing.items() if size != ALL}
    total = sum(counts.values())
    rest = [part for part, size in sharing.items() if size == ALL]
    if total <= pool and source is not None:
        given["task.source"], total = source, total + source
    message = f"{' + '.join(f'{part} {size}' for part, size in given.items())}"
    message += f" = {total} examples; {name} has {pool}"
    if rest and total >= pool:
        shares = ", ".join(f"{part}: 0.2" for part in sharing if part not in rest)
        hint = f"; give shares, task.split: {{{shares}}}" if shares else ""
        return f"{message}, so that none is left for {rest[0]}: {ALL}{hint}"
    if len(sharing) == len(DEFAULT_SIZES):
        return f"{message}. Shares fit any number: {{train: 0.6, validation: 0.2, test: 0.2}}"
    return message


def _source_validation_size(source_size: int) -> int:
    """The share of the source that validates it: at least one example, if there is any."""
    return min(source_size, max(1, round(SOURCE_VALIDATION_SHARE * source_size)))


def _missing_class(part: Labels, labels: Labels, classes: Sequence[str]) -> str | None:
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
