"""Figures over the cells of a suite: each block against full fine-tuning, and layers by arm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raysel.common.text import one_line
from raysel.report.blocks import block_scores, standard_error, tuners
from raysel.report.compared import Compared, Sweeps, every_strategy
from raysel.report.comparison_figures import FIGURES as OF_COMPARISONS
from raysel.report.comparison_figures import styles_of
from raysel.report.drawing import ACCENT, INK, LABEL, is_left, panels

_HEAD = "linear_probe"


def blocks_against_full(cells: Sweeps) -> Figure | None:
    """Test accuracy of each block, tuned alone, minus that of full fine-tuning, in points: the
    mean over the cells with its standard error, and each cell; of one cell over its runs. Only
    where every cell tested the same blocks of the same layers."""
    found = [_differences(cell) for cell in cells]
    names = list(found[0]) if found else []
    if len(names) < 2 or any(list(own) != names for own in found):
        return None
    figure, placed = panels(["blocks"], height=3.0)
    axes = placed["blocks"]
    for place, name in enumerate(names):
        means = [100 * math.fsum(own[name]) / len(own[name]) for own in found]
        spread = means if len(cells) > 1 else [100 * value for value in found[0][name]]
        mean, half = math.fsum(means) / len(means), standard_error(spread)
        axes.bar(place, mean, 0.6, color=ACCENT, alpha=0.3)
        axes.plot([place, place], [mean - half, mean + half], color=INK, lw=1.6)
        beside = place + np.linspace(-0.22, 0.22, len(spread))  # the line stays to be seen
        axes.plot(beside, spread, "o", ms=3, color=ACCENT, alpha=0.6)
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xticks(range(len(names)), [one_line(name, LABEL) for name in names])
    axes.grid(axis="x", visible=False)
    over = f"{len(cells)} cells" if len(cells) > 1 else "the confirm runs"
    axes.set_ylabel("points of test accuracy against full")
    axes.set_xlabel(f"block that was tuned alone; bar and line: mean ± standard error over {over}")
    return figure


def _differences(cell: Compared) -> dict[str, list[float]]:
    """Block, from the input on, -> test error of full fine-tuning minus its own, by seed."""
    if cell.results.models:
        return {}  # a block is one model's
    entries = {entry.strategy: entry for entry in cell.results.confirm}
    full = entries.get(cell.results.arm_of("full") or "")
    scores = [s for arm in tuners(cell.results) for s in block_scores(cell.results, arm)]
    if full is None or not scores or any(score.tested is None for score in scores):
        return {}
    errors = {score.block: dict(score.tested or {}) for score in scores}
    head = entries.get(cell.results.arm_of(_HEAD) or "")
    if head is not None and "head" not in errors:
        errors["head"] = head.by_seed("test/error")
    base = full.by_seed("test/error")
    found = {name: [base[s] - own[s] for s in own if s in base] for name, own in errors.items()}
    return {name: values for name, values in found.items() if values}


def weights_by_arm(cells: Sweeps) -> Figure | None:
    """Mean weight of each layer's learning rate as bars, a panel an arm that weighs rates: the
    mean over the cells and its standard error. Only of models with the same layers."""
    layers = [cell.results.layers for cell in cells]
    if not cells or any(own != layers[0] for own in layers):
        return None
    weights = {name: grid for name in every_strategy(cells) if (grid := _weights(cells, name))}
    if not weights:
        return None
    look = styles_of(cells)
    figure, placed = panels(list(weights), height=1.9, share_y=True)
    highest = 0.0
    for index, (name, axes) in enumerate(placed.items()):
        highest = max(highest, _bars(axes, np.array(weights[name]), look[name].light))
        axes.set_title(name)
        crowded = len(layers[0]) > 6
        axes.set_xticks(range(len(layers[0])), layers[0], rotation=60 if crowded else 0)
        axes.tick_params(labelbottom=True)
        if is_left(axes, index):
            axes.set_ylabel("weight")
    axes.set_ylim(0, 1.05 * highest or 1.0)  # of all panels: they share it
    return figure


def _weights(cells: Sequence[Compared], arm: str) -> list[list[float]]:
    """Of each cell the mean weights of the layers; nothing of an arm that weighs no rates."""
    entries = [e for c in cells for e in c.results.confirm if e.strategy == arm]
    layers = cells[0].results.layers
    return [[e.moved.get(name, math.nan) for name in layers] for e in entries if e.weighs_rates]


def _bars(axes: Axes, grid: np.ndarray, colour: str) -> float:
    """Means of the columns of [cells, layers] with their standard errors; the highest end."""
    highest = 0.0
    for place, values in enumerate(grid.T):
        known = [float(value) for value in values if math.isfinite(value)]
        if known:
            mean, half = math.fsum(known) / len(known), standard_error(known)
            axes.bar(place, mean, 0.7, color=colour, alpha=0.45)
            axes.plot([place, place], [mean - half, mean + half], color=INK, lw=1.2)
            highest = max(highest, mean + half)
    axes.grid(axis="x", visible=False)
    return highest


FIGURES: Mapping[str, Callable[[Sweeps], Figure | None]] = {
    **OF_COMPARISONS,
    "blocks_against_full": blocks_against_full,
    "weights_by_arm": weights_by_arm,
}
"""Every figure of a suite's page by the name of its file."""
