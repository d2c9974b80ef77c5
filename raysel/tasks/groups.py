"""Groups of examples whose errors are measured separately: a background, a hospital, a camera.

The worst-group error is the largest of the groups' own errors (Sagawa et al. 2020,
"Distributionally robust neural networks for group shifts"); a group is a value of one column, or a
combination of several (class and background).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysel.common.errors import user_error
from raysel.common.text import and_more

MOST_GROUPS = 1000
"""Beyond that a column holds ids: a group is several pictures."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The group of each of n examples.

    Attributes:
        columns: those whose values make the groups.
        names: of each group: its value of each column.
        numbers: int64 [n], places in `names`.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def only(self, which: NDArray[np.int64]) -> Groups:
        """The groups of some of the examples; the names are kept."""
        return replace(self, numbers=self.numbers[which])

    def counts(self) -> dict[str, int]:
        """How many examples each group has."""
        counts = np.bincount(self.numbers, minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))

    def errors(self, wrong: NDArray[np.bool_]) -> dict[str, float]:
        """The error of each group that has examples, 0..1.

        Args:
            wrong: [n] whether another class was predicted.
        """
        counts = np.bincount(self.numbers, minlength=len(self.names))
        lost = np.bincount(self.numbers, weights=wrong, minlength=len(self.names))
        return {self.names[g]: float(lost[g] / counts[g]) for g in np.flatnonzero(counts)}


def groups_of(columns: Mapping[str, Sequence[str]]) -> Groups:
    """Groups by one column, or by the combinations of several that occur.

    Args:
        columns: name -> value of each of n examples.

    Raises:
        UserError: there is one group alone, or there are more than `MOST_GROUPS`.
    """
    named = and_more(list(columns))
    rows = list(zip(*columns.values(), strict=True))
    kinds = sorted(set(rows))
    if len(kinds) < 2:
        message = f"{named} has the one value {', '.join(kinds[0])}; groups need two"
        raise user_error("task.data.group_column", message)
    if len(kinds) > MOST_GROUPS:
        message = f"{named} has {len(kinds):,} values in {len(rows):,} rows"
        hint = f"a group is a value that many pictures share ({MOST_GROUPS:,} at most)"
        raise user_error("task.data.group_column", f"{message}; {hint}")
    place = {kind: number for number, kind in enumerate(kinds)}
    numbers = np.array([place[row] for row in rows], np.int64)
    return Groups(tuple(columns), tuple(map(", ".join, kinds)), numbers)
