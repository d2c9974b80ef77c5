"""The contrasts of a suite: of every cell, and averaged over all cells."""

from __future__ import annotations

from raysel.report.compared import Sweeps
from raysel.report.table import Table, make
from raysel.report.words import in_points, p_value, size_in_points
from raysel.sweep.averaged_contrasts import AveragedContrasts

_OVER = {
    "split": "The cells have the same test examples and splits: the interval is over the splits and"
    " the test examples, and holds for these cells.",
    "cell": "The interval is over the cells.",
}


def contrast_table(cells: Sweeps, found: AveragedContrasts | None) -> Table | None:
    """A row for each contrast that every cell has; None without any.

    Args:
        cells: those that `found` was made from, in its order.
    """
    if found is None:
        return None
    rows = []
    for c, differences in zip(found.comparisons, found.of_cells, strict=True):
        between = "–" if c.low is None else f"{in_points(c.low)} to {in_points(c.high)}"
        words = (
            f"{c.ours} − {c.theirs}",
            *map(in_points, differences),
            in_points(c.difference),
            between,
            p_value(c.p_holm),
            c.outcome.replace("_", " "),
            size_in_points(c.detectable),
        )
        names = (cell.name for cell in cells)
        rows.append((words, c.model_dump() | dict(zip(names, differences, strict=True))))
    heads = {"contrast": False, **{cell.name: True for cell in cells}}
    heads |= {"average": True, "interval": True, "p (Holm)": True, "outcome": False}
    return make(
        "contrasts",
        "The contrasts, averaged over the cells",
        f"Differences of test error in points. {_OVER[found.unit]} p is corrected for several"
        " contrasts (Holm); detectable is the true difference that as many would show with a"
        " probability of 80 %.",
        heads | {"detectable": True},
        rows,
    )
