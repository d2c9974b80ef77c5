"""Strategies by layers: how often each layer moved, and how far it went from where it began."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.figure import Figure

from raysel.common.text import one_line
from raysel.report.drawing import LABEL, WIDTH
from raysel.report.maps import OPACITY, selection, shade
from raysel.report.tables import best_trials, percent, ranked
from raysel.sweep.results import SweepResults

_MOST_NUMBERS = 16
"""With more layers the cells hold no numbers."""

ByLayer = Mapping[str, Mapping[str, float]]
"""Strategy -> layer -> value."""


def update_share(results: SweepResults) -> Figure | None:
    """How often each layer moved, strategy by layer: mean over the confirm runs, or over the
    epochs of the best trial where a strategy was not confirmed."""
    weighed = {entry.strategy for entry in results.confirm if entry.weighs_rates}
    shares = _shares(results)

    def words(strategy: str, value: float) -> str:
        return f"{value:.2g}" if strategy in weighed else percent(value)

    return _grid(results, shares, words, 1.0)


def distances(results: SweepResults) -> Figure | None:
    """How far each layer of the tested models is from where it began, relative to its norm there:
    mean over the confirm runs."""
    known = {entry.strategy: entry.distance for entry in results.confirm if entry.distance}
    gone = {name: known[name] for name in ranked(results) if name in known}
    return _grid(results, gone, lambda _, value: f"{value:.2g}", 0.0)


def _grid(
    results: SweepResults, rows: ByLayer, words: Callable[[str, float], str], top: float
) -> Figure | None:
    """Shaded cells with their values in words.

    Args:
        top: the scale reaches at least so far.
    """
    layers = results.layers
    if not rows or not layers:
        return None
    grid = np.array([[row.get(layer, math.nan) for layer in layers] for row in rows.values()])
    if np.isnan(grid).all():
        return None
    figure = Figure((WIDTH, 0.7 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid, OPACITY, norm=shade(max(top, float(np.nanmax(grid))) or 1.0), aspect="auto")
    axes.set_yticks(range(len(rows)), list(rows))
    names = [_layer_head(results, index) for index in range(len(layers))]
    axes.set_xticks(range(len(layers)), names, rotation=60 if len(layers) > 10 else 0)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(grid):
        if len(layers) <= _MOST_NUMBERS and not math.isnan(value):
            text = words(list(rows)[row], float(value))
            axes.text(column, row, text, ha="center", va="center", size=8).set_in_layout(False)
    return figure


def _shares(results: SweepResults) -> ByLayer:
    confirmed = {entry.strategy: entry.moved for entry in results.confirm if entry.moved}
    best = best_trials(results)
    shares: dict[str, Mapping[str, float]] = {}
    for strategy in ranked(results):
        if strategy in confirmed:
            shares[strategy] = confirmed[strategy]
        elif strategy in best:
            names, grid = selection(best[strategy], results.layers_of(strategy))
            if names:
                shares[strategy] = dict(zip(names, np.nanmean(grid, axis=1), strict=True))
    return shares


def _layer_head(results: SweepResults, index: int) -> str:
    """A layer's name above its share of the model's parameters."""
    sizes, name = results.layer_sizes, one_line(results.layers[index], LABEL)
    if len(sizes) != len(results.layers) or not sum(sizes):
        return name
    return f"{name}\n{percent(sizes[index] / sum(sizes))}"
