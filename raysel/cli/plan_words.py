"""The plan of a sweep or a suite whose data are not here, printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from raysel.common.output import print_json, print_table, say

if TYPE_CHECKING:
    from raysel.service.plan.counted import Counted


def print_counted(
    name: str, cells: Mapping[str, Counted], rate: float | None, as_json: bool
) -> None:
    """Print the plan of a sweep, or of a suite's cells.

    Args:
        rate: training images a second of one trial.
    """
    from raysel.report.words import hours, size  # noqa: PLC0415
    from raysel.service.plan.counted import summed  # noqa: PLC0415

    whole = summed(list(cells.values()))
    time = None if rate is None else whole.hours(rate)
    if as_json:
        found = {"name": name, "measured_on": None, "hours": time, **whole.to_dict()}
        return print_json(found | {"cells": {cell: one.to_dict() for cell, one in cells.items()}})
    head = f"{whole.trials:,.0f} trials, {whole.runs:,} confirm runs · {whole.epochs:,.0f} epochs"
    say(f"{name} · {head}, {whole.steps:,.0f} steps")
    if len(cells) > 1:
        rows = [
            (cell, f"{one.trials:.0f}", f"{one.runs}", f"{one.epochs:,.0f}", f"{one.trained:,.0f}")
            for cell, one in cells.items()
        ]
        columns = ("cell", "trials", "confirm runs", "epochs", "training images")
        print_table(columns, rows, numbers=range(1, 5))
    say("note   the data are not here: this is counted, and nothing was measured")
    say(f"images {whole.trained:,.0f} through training steps, {whole.evaluated:,.0f} evaluated")
    if time is None:
        say("time   not estimated; of one trial's training images a second: --images-per-second N")
    else:
        say(f"time   {hours(time)} hours of one trial at {rate:g} training images a second")
    for what, count in whole.downloads.items():
        say(f"fetch  {what}: {size(count)}")
    return say(f"space  about {size(whole.disk)} of disk")
