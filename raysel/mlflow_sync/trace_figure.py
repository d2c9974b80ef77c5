"""The selection trace as a picture: which layer moved at which step.

A row a layer in forward order, the input at the top; a column a step, or the mean of several
neighbouring steps where there are more steps than columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

COLUMNS = 360
"""The most columns of a picture."""

_ROWS_ON_A_PAGE = 40
_LONGEST_TITLE = 100
# one hue from light to dark, without the near-white end: distinct from grey for every eye
_COLOURS = ListedColormap(colormaps["Blues"](np.linspace(0.25, 1, 256))).with_extremes(
    bad="#ececec"
)
_INK = "#222222"


@dataclass(frozen=True)
class Trace:
    """A trial's decisions as arrays.

    Attributes:
        layers: L names, in forward order.
        steps: [S] the steps that were kept, ascending.
        epochs: [S] the epoch of each.
        weights: [L, S] float32, the weight that each layer moved with; 0 where it did not.
    """

    layers: tuple[str, ...]
    steps: np.ndarray
    epochs: np.ndarray
    weights: np.ndarray


def part(trace_parts: Path, epoch: int) -> Path:
    """The file of one epoch."""
    return trace_parts / f"epoch-{epoch:04d}.parquet"


def read(trace_parts: Path) -> pa.Table:
    """The parts of a trial's trace, one an epoch, as one table in the order of the steps.

    Raises:
        FileNotFoundError: there are no parts.
        pyarrow.ArrowInvalid: a part is not whole.
    """
    parts = sorted(trace_parts.glob("epoch-*.parquet"))
    if not parts:
        raise FileNotFoundError(f"no parts of a trace in {trace_parts}")
    return pa.concat_tables(pq.read_table(part) for part in parts).unify_dictionaries()


def trace_of(table: pa.Table, layers: Sequence[str]) -> Trace:
    """The table of a trace (step, epoch, layer, weight) as arrays.

    Args:
        table: a row for each step and layer.
        layers: the model's layers in forward order. A strategy may work on finer ones
            (Strategy.refine): where the trace has a layer that is not among them, its own
            order stands.
    """
    frame = table.select(["step", "epoch", "layer", "weight"]).to_pandas()
    frame["layer"] = frame["layer"].astype(str)
    found = tuple(frame["layer"].unique())
    order = tuple(layers) if set(found) <= set(layers) else found
    grid = frame.pivot(index="layer", columns="step", values="weight").reindex(order).fillna(0)
    epochs = frame.groupby("step")["epoch"].first()
    return Trace(order, grid.columns.to_numpy(), epochs.to_numpy(), grid.to_numpy(np.float32))


def columns_of(trace: Trace, columns: int = COLUMNS) -> np.ndarray:
    """[L, at most `columns`] mean weights of equal runs of neighbouring steps (the last run
    may be shorter)."""
    width = -(-len(trace.steps) // columns)
    starts = np.arange(0, len(trace.steps), width)
    sizes = np.diff(np.append(starts, len(trace.steps)))
    return np.add.reduceat(trace.weights, starts, axis=1) / sizes


def draw(trace_parts: Path, layers: Sequence[str], path: Path, title: str = "") -> None:
    """Draw the heat map of a trial's trace as a PNG.

    Args:
        trace_parts: the folder with one Parquet part an epoch.
        layers: the model's layers in forward order.
        path: the file to write; its folder must exist.
        title: the trial in a few words.

    Raises:
        FileNotFoundError: there are no parts.
        ValueError: the parts hold no steps, or one is not whole.
    """
    trace = trace_of(read(trace_parts), layers)
    if not len(trace.steps):
        raise ValueError(f"the trace in {trace_parts} holds no steps")
    FigureCanvasAgg(_figure(trace, title)).print_png(str(path))


def _figure(trace: Trace, title: str) -> Figure:
    cells, rows = columns_of(trace), len(trace.layers)
    height = 1.3 + 0.24 * min(max(rows, 4), _ROWS_ON_A_PAGE)
    figure = Figure(figsize=(8, height), dpi=100, layout="constrained")
    axes = figure.subplots()
    highest = max(1.0, float(cells.max()))
    image = axes.imshow(
        np.ma.masked_equal(cells, 0),
        aspect="auto",
        interpolation="nearest",
        cmap=_COLOURS,
        vmin=0,
        vmax=highest,
        extent=(0, len(trace.steps), rows, 0),
    )
    _mark_epochs(axes, trace.epochs)
    _name_layers(axes, trace)
    axes.spines[:].set_visible(False)
    short = title if len(title) <= _LONGEST_TITLE else title[: _LONGEST_TITLE - 1] + "…"
    figure.suptitle(short, x=0.015, ha="left", fontsize=10, color=_INK)
    bar = figure.colorbar(image, ax=axes, aspect=30, pad=0.02)
    bar.set_ticks([0, highest], labels=["0", f"{highest:.3g}"])
    bar.set_label("weight (grey: none)", fontsize=8, color=_INK, labelpad=-4)
    bar.ax.tick_params(length=0, labelsize=8, colors=_INK)
    bar.outline.set_visible(False)
    return figure


def _mark_epochs(axes: Axes, epochs: np.ndarray) -> None:
    """A line where an epoch starts, and a number in the middle of it where there is room."""
    starts = np.flatnonzero(np.diff(epochs, prepend=epochs[0] - 1))
    middles = (starts + np.append(starts[1:], len(epochs))) / 2
    every = -(-len(starts) // 20)
    axes.set_xticks(middles[::every], labels=[str(epoch) for epoch in epochs[starts][::every]])
    axes.set_xlabel(f"epoch ({len(epochs)} steps)", fontsize=8, color=_INK)
    if len(starts) <= 60:
        for start in starts[1:]:
            axes.axvline(start, color="white", linewidth=0.6)


def _name_layers(axes: Axes, trace: Trace) -> None:
    """A layer's name left of its row, and the share of steps in which it moved right of it."""
    rows = len(trace.layers)
    every = -(-rows // _ROWS_ON_A_PAGE)
    middles = np.arange(0, rows, every) + 0.5
    axes.set_yticks(middles, labels=trace.layers[::every])
    for row in range(1, rows) if rows <= _ROWS_ON_A_PAGE else ():
        axes.axhline(row, color="white", linewidth=1.2)
    moved = (trace.weights > 0).mean(axis=1)
    right = axes.secondary_yaxis("right")
    right.set_yticks(middles, labels=[f"{share:.0%}" for share in moved[::every]])
    right.set_ylabel("steps moved", fontsize=8, color=_INK)
    right.spines[:].set_visible(False)
    for side in (axes, right):
        side.tick_params(length=0, labelsize=8, colors=_INK)
