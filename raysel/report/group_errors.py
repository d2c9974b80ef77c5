"""Test errors by group, of data with groups (`raysel.tasks.groups`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raysel.report.table import Table, make
from raysel.report.tables import measured_in_words, plus_minus, ranked
from raysel.sweep.results import ConfirmRun, SweepResults

TITLE = "Groups"

_WORST = "test/worst_group_error"

SHOWN = 8
"""Groups with a column of their own: those with the largest errors."""


@dataclass(frozen=True)
class GroupRow:
    """Test errors of a confirmed strategy: of its worst group, mean and half the 95 % interval over
    the runs, and of each group in the columns' order, mean over the runs."""

    strategy: str
    worst: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class GroupTable:
    """Rows, the winner first, and the groups of their columns."""

    groups: tuple[str, ...]
    rows: tuple[GroupRow, ...]
    others: int


def group_table(results: SweepResults) -> GroupTable | None:
    """The table; None where no run has groups. The groups are in the order of the first
    row's errors, the largest first."""
    entries = {entry.strategy: entry for entry in results.confirm}
    rows = [entries[name] for name in ranked(results) if name in entries]
    rows = [row for row in rows if row.runs and all(run.group_errors for run in row.runs)]
    if not rows:
        return None
    means = [_means(row.runs) for row in rows]
    groups = sorted(means[0], key=lambda name: (-means[0][name], name))
    shown = tuple(groups[:SHOWN])
    found = tuple(
        GroupRow(
            row.strategy,
            measured_in_words(row, _WORST),
            tuple(plus_minus(own.get(name), None) for name in shown),
        )
        for row, own in zip(rows, means, strict=True)
    )
    return GroupTable(shown, found, len(groups) - len(shown))


def groups_for_paper(results: SweepResults) -> Table | None:
    """The same with its values, of every group."""
    table = group_table(results)
    if table is None:
        return None
    entries = {entry.strategy: entry for entry in results.confirm}
    rows = []
    for row in table.rows:
        runs = entries[row.strategy].runs
        values = {"test_worst_group_error": _mean([run.test_worst_group_error for run in runs])}
        words = (row.strategy, row.worst, *row.groups)
        rows.append((words, {"strategy": row.strategy, **values, **_means(runs)}))
    return make(
        "groups",
        TITLE,
        "Test error of each strategy's worst group, mean and half the 95 % interval over the runs,"
        " and of each group (mean).",
        {"strategy": False, "worst group": True, **dict.fromkeys(table.groups, True)},
        rows,
    )


def _means(runs: Sequence[ConfirmRun]) -> dict[str, float]:
    """Of each group that every run has."""
    names = [name for name in runs[0].group_errors if all(name in run.group_errors for run in runs)]
    return {name: sum(run.group_errors[name] for run in runs) / len(runs) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
