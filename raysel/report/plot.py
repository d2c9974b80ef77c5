"""Small plots for a terminal, as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_BARS = "▁▂▃▄▅▆▇█"
_MARKS = "●○×+"


def sparkline(shares: Sequence[float | None], top: float = 1.0) -> str:
    """One character a value: `▁` for 0, `█` for `top`, `·` where there is no value."""
    return "".join(_bar(share, top) for share in shares)


def _bar(value: float | None, top: float) -> str:
    if value is None or not math.isfinite(value):
        return "·"
    place = value / top if top > 0 else 0.0
    # what moved at all is never drawn as nothing
    step = math.ceil(max(0.0, min(1.0, place)) * (len(_BARS) - 1))
    return _BARS[step]


def curves(
    series: Mapping[str, Sequence[float | None]], width: int = 60, height: int = 10
) -> list[str]:
    """Curves over the epochs, a mark each, the axis at the left and a legend below.

    Args:
        series: name -> a value an epoch, from epoch 1; None where there is none.
        width, height: of the drawing itself, in characters.

    Returns:
        Lines of text; none where no series holds a finite value.
    """
    points = {
        name: [(e, v) for e, v in enumerate(values, 1) if v is not None and math.isfinite(v)]
        for name, values in series.items()
    }
    everything = [value for listed in points.values() for _, value in listed]
    if not everything:
        return []
    low, high = min(everything), max(everything)
    if low == high:
        height = 1
    epochs = max(len(values) for values in series.values())
    width = min(width, 4 * epochs)
    grid = [[" "] * width for _ in range(height)]
    for mark, listed in zip(_MARKS, points.values(), strict=False):
        for epoch, value in listed:
            column = round((epoch - 1) / max(epochs - 1, 1) * (width - 1))
            row = round((high - value) / (high - low) * (height - 1)) if height > 1 else 0
            grid[row][column] = mark
    labels = {height - 1: f"{low:.3g}", 0: f"{high:.3g}"}
    margin = max(map(len, labels.values()))
    lines = [
        f"{labels.get(index, ''):>{margin}} ┤{''.join(row).rstrip()}"
        for index, row in enumerate(grid)
    ]
    last = str(epochs) if epochs > 1 else ""
    lines.append(f"{'':>{margin}} └{'─' * width}")
    lines.append(f"{'':>{margin}}  1{last:>{max(width - 1, 1)}}  epoch")
    legend = "   ".join(f"{m} {n}" for m, n in zip(_MARKS, points, strict=False))
    return [*lines, f"{'':>{margin}}  {legend}"]
