"""A table as it goes into a paper (words) and to a script (values)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """One table of a report.

    Attributes:
        name: of its files.
        title: the heading of its section on the page.
        caption: what it holds, in a sentence or two.
        heads: of the columns of words.
        rows: cells in words, numbers with their intervals.
        numbers: columns of numbers, from 0.
        records: the same rows as values, as they stand in `results.json`; rates are 0..1.
    """

    name: str
    title: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int]
    records: tuple[Mapping[str, Any], ...]

    def __post_init__(self) -> None:
        if {len(row) for row in self.rows} - {len(self.heads)}:
            raise ValueError(f"{self.name}: a row has another number of cells than the head")


def make(
    name: str,
    title: str,
    caption: str,
    heads: Mapping[str, bool],
    rows: Sequence[tuple[Sequence[str], Mapping[str, Any]]],
) -> Table | None:
    """A table; None without rows.

    Args:
        heads: the head of each column, and whether it holds numbers.
        rows: the cells of each row in words, and its values.
    """
    if not rows:
        return None
    numbers = frozenset(index for index, number in enumerate(heads.values()) if number)
    cells = tuple(tuple(words) for words, _ in rows)
    return Table(name, title, caption, tuple(heads), cells, numbers, tuple(v for _, v in rows))


def to_csv(table: Table) -> str:
    """The values, a line a row below the names; what is missing is empty."""
    names = list(dict.fromkeys(name for record in table.records for name in record))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.records)
    return stream.getvalue()
