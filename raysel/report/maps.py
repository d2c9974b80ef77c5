"""Heat maps, layer by epoch, of the best trial of each strategy: what moved, and what the
diagnostics measured.

One hue, its opacity is the value, so that a map reads on a white and on a black page; one
scale for all panels of a figure, so that strategies can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize, PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from raysel.common.text import one_line
from raysel.report.drawing import (
    ACCENT,
    INK,
    LABEL,
    is_left,
    label_outer,
    legend,
    panel_title,
    panels,
)
from raysel.report.tables import best_trials, finite, percent, ranked
from raysel.sweep.results import SweepResults, TrialResult

OPACITY = ListedColormap([(*to_rgb(ACCENT), a) for a in np.linspace(0, 0.92, 64)], "opacity")
"""From nothing to the accent's hue."""

_DECADES = 3.0  # a map of measured values spans at most so many

Maps = Mapping[str, tuple[list[str], np.ndarray]]
"""Strategy -> layer names, and values [layers, epochs]."""


def heat_maps(results: SweepResults) -> Figure | None:
    """Share of the steps in which each layer moved, or its mean weight where the strategy
    weighs learning rates."""
    maps = _maps(results, "select/")
    if not maps:
        return None
    top = max(1.0, *(float(np.nanmax(grid)) for _, grid in maps.values()))
    steps = [step * top for step in (0.0, 0.05, 0.25, 0.5, 1.0)]
    words = percent if top == 1 else "{:.2g}".format
    return _drawn(results, maps, shade(top), {step: words(step) for step in steps})


def bias_variance_ratios(results: SweepResults) -> Figure | None:
    """The bias-variance ratio of each layer, epoch mean."""
    return _measured(results, "ratio/")


def gradient_norms(results: SweepResults) -> Figure | None:
    """The relative gradient norm of each layer, epoch mean."""
    return _measured(results, "rgn/")


def parameter_changes(results: SweepResults) -> Figure | None:
    """How far the parameters of each layer are from where they began."""
    return _measured(results, "change/")


def shade(top: float) -> PowerNorm:
    """0..top to opacity, steep at first: with many layers every share is small."""
    return PowerNorm(0.6, vmin=0, vmax=top)


def selection(
    trial: TrialResult, layers: Sequence[str], prefix: str = "select/"
) -> tuple[list[str], np.ndarray]:
    """Layer names and what an epoch's metrics say of them, [layers, epochs]; NaN is a gap."""
    epochs = trial.epochs
    keys = dict.fromkeys(key for epoch in epochs for key in epoch if key.startswith(prefix))
    names = [name for name in layers if f"{prefix}{name}" in keys]
    if not names:  # a strategy with a finer partition of its own
        names = [key.removeprefix(prefix) for key in keys if key != "select/transient_share"]
    rows = {name: [finite(epoch.get(f"{prefix}{name}")) for epoch in epochs] for name in names}
    rows = {name: row for name, row in rows.items() if any(value is not None for value in row)}
    return list(rows), np.array(list(rows.values()), dtype=float)


def _maps(results: SweepResults, prefix: str) -> Maps:
    best, layers_of = best_trials(results), results.layers_of
    found = {name: selection(trial, layers_of(name), prefix) for name, trial in best.items()}
    return {name: found[name] for name in ranked(results) if name in found and found[name][0]}


def _measured(results: SweepResults, prefix: str) -> Figure | None:
    """A map on a logarithmic scale; nothing where a value is 0 or missing."""
    maps = _maps(results, prefix)
    values = np.concatenate([grid.ravel() for _, grid in maps.values()]) if maps else np.zeros(0)
    positive = values[values > 0]  # also false for NaN
    if not positive.size:
        return None
    high = float(positive.max())
    low = max(float(positive.min()), high / 10**_DECADES)
    low = low if low < high else high / 10
    steps = {float(step): f"{step:.2g}" for step in np.geomspace(low, high, 5)}
    lowest = min(steps)
    # what is below the scale is drawn as its lowest value, not as nothing
    raised = {
        name: (names, np.where((grid > 0) & (grid < lowest), lowest, grid))
        for name, (names, grid) in maps.items()
    }
    if float(positive.min()) < low:
        steps[lowest] = f"≤ {steps[lowest]}"
    floor = low * (low / high) ** 0.15  # so that the lowest value is more than nothing
    return _drawn(results, raised, LogNorm(floor, high), steps)


def _drawn(
    results: SweepResults, maps: Maps, norm: Normalize, steps: Mapping[float, str]
) -> Figure:
    """The maps side by side, with `steps` of the scale in words below them."""
    rows = max(len(names) for names, _ in maps.values())
    figure, placed = panels(list(maps), height=0.75 + 0.17 * min(rows, 30))
    alike = len({tuple(names) for names, _ in maps.values()}) == 1
    best = best_trials(results)
    for index, (strategy, axes) in enumerate(placed.items()):
        _draw_map(axes, *maps[strategy], norm)
        axes.set_title(panel_title(strategy, best[strategy]))
        axes.tick_params(axis="y", length=0, labelleft=not alike or is_left(axes, index))
    label_outer(placed, "epoch", None)
    opacity_legend(figure, norm, steps)
    return figure


def _draw_map(axes: Axes, names: list[str], grid: np.ndarray, norm: Normalize) -> None:
    box = (0.5, grid.shape[1] + 0.5, len(names) - 0.5, -0.5)
    axes.imshow(grid, OPACITY, norm=norm, aspect="auto", extent=box)
    axes.grid(False)
    axes.spines[:].set_visible(True)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.set_yticks(*_layer_ticks(names))


def _layer_ticks(names: Sequence[str]) -> tuple[list[int], list[str]]:
    """At most thirty layer names, evenly taken."""
    every = math.ceil(len(names) / 30)
    return list(range(0, len(names), every)), [one_line(name, LABEL) for name in names[::every]]


def opacity_legend(figure: Figure, norm: Normalize, steps: Mapping[float, str]) -> None:
    """What the opacity means, in a few steps."""
    handles = [
        Patch(facecolor=OPACITY(float(norm(step))), edgecolor=INK, linewidth=0.4, label=words)
        for step, words in steps.items()
    ]
    legend(figure, handles, "outside lower right")
