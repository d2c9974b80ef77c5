"""The table of a suite in the form of a paper's: a row an arm, a column a cell, then the average
and the mean rank; what is best is marked, and what its interval holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysel.report.compared import Compared, Sweeps, by_rank, ranking
from raysel.report.published_tables import ComparedRow, compare
from raysel.report.sweep_tables import interval_values
from raysel.report.table import Table, make
from raysel.report.tables import ConfirmRow, plus_minus, values_in_words
from raysel.report.words import in_points
from raysel.spec.confirm import BestBy
from raysel.sweep.results import Interval
from raysel.sweep.verdict import interval

BEST, SECOND, CLOSE = "best", "second", "close"
"""Marks of an entry: the lowest test error of its cell, the second, and any other whose interval
holds the lowest."""

UNTOUCHED = "untouched"
"""The row of the model before it was tuned."""

SIGNS = {BEST: "**", SECOND: "*", CLOSE: "°", "": ""}
"""The marks where there is no bold type."""


@dataclass(frozen=True)
class Entry:
    """An arm's test error in a cell, in words, and its mark."""

    words: str
    mark: str = ""


@dataclass(frozen=True)
class ArmRow:
    """A row of the table.

    Attributes:
        entries: a cell each.
        average: mean test error over the cells; None where one is missing.
        rank: mean rank over the cells; None where one is missing.
    """

    arm: str
    entries: tuple[Entry, ...]
    average: float | None
    rank: float | None


def arm_rows(cells: Sweeps) -> list[ArmRow]:
    """The rows, the best mean rank first."""
    ranks, marks = ranking(cells).mean, [_marks(cell) for cell in cells]
    rows = []
    for arm in by_rank(cells):
        found = [cell.confirmed.get(arm) for cell in cells]
        entries = tuple(
            Entry("–") if row is None else Entry(row.test_error, mark.get(arm, ""))
            for row, mark in zip(found, marks, strict=True)
        )
        means = [row.mean for row in found if row is not None and row.mean is not None]
        average = math.fsum(means) / len(means) if len(means) == len(cells) else None
        rows.append(ArmRow(arm, entries, average, ranks.get(arm)))
    return rows


def untouched_row(cells: Sweeps) -> ArmRow | None:
    """The model before it was tuned; None where no cell has tested it. It has no mark and no rank:
    it is no arm."""
    found = [_as_interval(cell.results.untouched) for cell in cells]
    means = [own.mean for own in found if own.mean is not None]
    if not means:
        return None
    entries = tuple(Entry(plus_minus(own.mean, own.high)) for own in found)
    average = math.fsum(means) / len(means) if len(means) == len(cells) else None
    return ArmRow(UNTOUCHED, entries, average, None)


@dataclass(frozen=True)
class ConfigurationRow:
    """One configuration of an arm, where the confirm phase had several.

    Attributes:
        values: the searched ones that tell it from the arm's others, in words.
        entries: a cell each.
    """

    arm: str
    values: str
    entries: tuple[str, ...]


def configuration_rows(cells: Sweeps) -> list[ConfigurationRow]:
    """Every configuration that a cell tested (`confirm.configurations`), arm by arm; nothing where
    the best of each arm alone was."""
    if not any(cell.results.other_configurations for cell in cells):
        return []
    found: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        searched = {trial.id: trial.searched for trial in cell.results.trials}
        for entry in (*cell.results.confirm, *cell.results.other_configurations):
            words = values_in_words(_named(cell, searched.get(entry.trial or "", {})))
            shown = plus_minus(entry.test_error.mean, entry.test_error.high)
            found.setdefault((entry.strategy, words), {})[cell.name] = shown
    names = [cell.name for cell in cells]
    return [
        ConfigurationRow(arm, words, tuple(own.get(name, "–") for name in names))
        for (arm, words), own in sorted(found.items())
    ]


def _named(cell: Compared, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of searched values those by which configurations were chosen."""
    asked = cell.spec.confirm.configurations
    return {k: v for k, v in values.items() if not isinstance(asked, BestBy) or k in asked.by}


def configuration_table(cells: Sweeps) -> Table | None:
    """The same for a paper and for a script."""
    names = [cell.name for cell in cells]
    rows = [
        (
            (row.arm, row.values, *row.entries),
            {"arm": row.arm, "values": row.values} | dict(zip(names, row.entries, strict=True)),
        )
        for row in configuration_rows(cells)
    ]
    return make(
        "configurations",
        "Test error of every configuration",
        "Mean test error and half the 95 % interval over the confirm runs of every configuration"
        " that was tested, and not of each arm's best alone.",
        {"arm": False, "with": False, **dict.fromkeys(names, True)},
        rows,
    )


def _marks(cell: Compared) -> dict[str, str]:
    """Arm -> its mark in a cell."""
    known = {name: row.mean for name, row in cell.confirmed.items() if row.mean is not None}
    means = {name: round(mean, 9) for name, mean in known.items()}  # of rates of a count
    levels = sorted(set(means.values()))
    if len(means) < 2:
        return {}
    marks = {name: CLOSE for name in means if _holds(cell.confirmed[name], levels[0])}
    marks |= {name: SECOND for name, mean in means.items() if mean in levels[1:2]}
    return marks | {name: BEST for name, mean in means.items() if mean == levels[0]}


def _holds(row: ConfirmRow, value: float) -> bool:
    return row.low is not None and row.high is not None and row.low <= value <= row.high


def suite_table(cells: Sweeps, axes: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """The table for a paper and for a script.

    Args:
        axes: cell -> key -> value.
    """
    rows: list[tuple[Sequence[str], Mapping[str, Any]]] = []
    for row in arm_rows(cells):
        words = [f"{entry.words}{SIGNS[entry.mark]}" for entry in row.entries]
        average = "–" if row.average is None else f"{row.average:.3f}"
        rank = "–" if row.rank is None else f"{row.rank:.2f}"
        values: dict[str, Any] = {"arm": row.arm, "average": row.average, "mean_rank": row.rank}
        for cell in cells:
            entry = next((e for e in cell.results.confirm if e.strategy == row.arm), None)
            values |= interval_values(cell.name, entry.test_error if entry else Interval())
        rows.append(((row.arm, *words, average, rank), values))
    if (before := untouched_row(cells)) is not None:
        average = "–" if before.average is None else f"{before.average:.3f}"
        values = {"arm": before.arm, "average": before.average, "mean_rank": None}
        for cell in cells:
            values |= interval_values(cell.name, _as_interval(cell.results.untouched))
        rows.append(
            ((before.arm, *(entry.words for entry in before.entries), average, "–"), values)
        )
    return make(
        "suite",
        "Test error of every arm in every cell",
        "Mean test error and half the 95 % interval over the confirm runs; ** the lowest of its"
        " cell, * the second, ° an interval that holds the lowest. Average and mean rank over the"
        f" {len(cells)} cells ({_keys(axes)}).",
        {"arm": False, **{cell.name: True for cell in cells}, "average": True, "mean rank": True},
        rows,
    )


def _as_interval(values: Sequence[float]) -> Interval:
    mean, low, high = interval(values) if values else (None, None, None)
    return Interval(mean=mean, low=low, high=high, n=len(values))


def _keys(axes: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(next(iter(axes.values()), {}))


@dataclass(frozen=True)
class PublishedEntry:
    """An arm of a cell beside a published number.

    Attributes:
        difference: ours minus theirs, in points.
        differs: what of the settings is another, in words.
    """

    cell: str
    arm: str
    source: str
    ours: str
    theirs: str
    difference: str
    differs: str


def published_entries(cells: Sweeps) -> list[PublishedEntry]:
    """Every number of the suite that a published table has."""
    return [
        _published(cell.name, f"{found.paper}, {found.table}", row)
        for cell in cells
        for found in compare(cell.results, cell.spec)
        for row in found.rows
    ]


def _published(cell: str, source: str, row: ComparedRow) -> PublishedEntry:
    return PublishedEntry(
        cell=cell,
        arm=row.strategy,
        source=f"{source}: {row.published}",
        ours=plus_minus(row.ours, row.high),
        theirs=f"{row.theirs:.3f}",
        difference=in_points(row.difference),
        differs=", ".join(row.differs) or "nothing that the file says",
    )


def published_table(cells: Sweeps) -> Table | None:
    """The same for a paper and for a script."""
    rows = [
        (
            (e.cell, e.arm, e.source, e.ours, e.theirs, e.difference),
            {
                "cell": e.cell,
                "arm": e.arm,
                "published": e.source,
                "ours": e.ours,
                "theirs": e.theirs,
                "difference": e.difference,
                "differs": e.differs,
            },
        )
        for e in published_entries(cells)
    ]
    return make(
        "published",
        "Beside the published numbers",
        "Test error here and as published, and the difference in points.",
        {
            "cell": False,
            "arm": False,
            "published": False,
            "here": True,
            "there": True,
            "difference": True,
        },
        rows,
    )
