"""What is known of a data set once it is split, counted: its `DataSummary`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raysel.spec.task import TaskSpec
from raysel.tasks.data import Labels
from raysel.tasks.data_summary import ClassCount, DataSummary, LeftOut, PartCount
from raysel.tasks.splits import Splits, own_parts, pool_of, pools_of, shares_not_applied

WHOLE = "official part, whole"
_NAMES = 5


def summarise(
    spec: TaskSpec,
    labels: Labels,
    classes: Sequence[str],
    splits: Splits,
    official_splits: NDArray[np.str_] | None = None,
    with_source: bool = True,
    left_out: tuple[LeftOut, ...] = (),
    decoded: bool = True,
) -> DataSummary:
    """What is known of a data set once it is split.

    Args:
        pools: [N] the parts that the data set has of its own.
        with_source: whether anything of the sweep reads the source part.
    """
    counts = np.bincount(labels, minlength=len(classes))
    least, most = int(np.argmin(counts)), int(np.argmax(counts))
    parts = {name: len(indices) for name, indices in vars(splits).items()}
    if not with_source:
        parts = {name: size for name, size in parts.items() if not name.startswith("source")}
    return DataSummary(
        name=spec.name,
        pictures=len(labels),
        class_count=len(classes),
        class_names=tuple(classes[:_NAMES]),
        smallest=ClassCount(classes[least], int(counts[least])),
        largest=ClassCount(classes[most], int(counts[most])),
        parts=tuple(
            PartCount(_shown(name), size, _origin(spec, name, size, official_splits, len(labels)))
            for name, size in parts.items()
            if size or not name.startswith("source")
        ),
        unused=len(labels) - sum(parts.values()),
        left_out=left_out,
        decoded=decoded,
    )


def share_notes(spec: TaskSpec, official_splits: NDArray[np.str_] | None) -> tuple[str, ...]:
    """What is said of shares that are not applied, a line each."""
    if spec.split.indices is not None or official_splits is None:
        return ()
    own = pools_of(spec.split, official_splits)
    return tuple(
        f"task.split.{part}: {getattr(spec.split, part):g} is not applied: the data set has a"
        f" {part} part of {int((official_splits == part).sum()):,} pictures, which is taken whole."
        " Give a number of pictures for fewer, or official: false to divide all anew"
        for part in shares_not_applied(spec.split, own)
    )


def _shown(part: str) -> str:
    return part.replace("_", " ")


def _origin(
    spec: TaskSpec, part: str, size: int, official_splits: NDArray[np.str_] | None, total: int
) -> str:
    """Where the examples of a part come from."""
    if spec.split.indices is not None:
        return f"as in {spec.split.indices}"
    kept = pools_of(spec.split, official_splits)
    wanted = "source" if part.startswith("source") else part
    pool = pool_of(wanted, kept)
    if kept is None or pool is None:
        merged = "its official parts as one" if official_splits is not None else f"all {total:,}"
        return f"drawn from {merged}"
    there = int((kept == pool).sum())
    if pool != wanted or not (own_parts(kept) or pool == "source"):
        of = f"official {pool} part's" if own_parts(kept) else "target's"
        return f"drawn from the {of} {there:,}"
    if part.startswith("source"):
        return "official source part"
    return WHOLE if size == there else f"of the official part's {there:,}"
