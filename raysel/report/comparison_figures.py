"""The figures of several sweeps side by side; each is drawn where the sweeps hold what it
compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysel.report.blocks import (
    BASELINES,
    QUARTERS,
    BlockScore,
    baseline_accuracies,
    by_quarter,
    draw_boxes,
    measured_in_words,
)
from raysel.report.compared import Compared, Sweeps, every_strategy, ranking
from raysel.report.curves import shots_axis
from raysel.report.drawing import (
    ACCENT,
    LOOK,
    WIDTH,
    Style,
    is_left,
    label_outer,
    legend,
    panels,
    strategy_keys,
    styles,
)
from raysel.report.maps import OPACITY, opacity_legend, shade
from raysel.report.tables import ConfirmRow, percent, strategies

_BESIDE = 1.02
"""How far each strategy stands beside the last at the same number of examples, as a factor: else
their intervals would lie on one another."""


def error_by_shots(sweeps: Sweeps) -> Figure | None:
    """Test accuracy of each strategy against the sweeps' numbers of examples a class; a panel for
    each model and data set."""
    counts = [float(sweep.shots) for sweep in sweeps if sweep.shots is not None]
    if len(set(counts)) < 2 or len(counts) < len(sweeps):
        return None
    look, names = styles_of(sweeps), every_strategy(sweeps)
    same_data = len({sweep.data for sweep in sweeps}) == 1
    titles = [s.model if same_data else f"{s.model}, {s.data}" for s in sweeps]
    figure, placed = panels(list(dict.fromkeys(titles)), height=3.2, share_y=True)
    for title, axes in placed.items():
        own = [sweep for sweep, of in zip(sweeps, titles, strict=True) if of == title]
        for place, name in enumerate(names):
            beside = _BESIDE ** (place - (len(names) - 1) / 2)
            _by_shots(axes, own, name, look[name], beside)
        shots_axis(axes, counts)
        axes.set_title(title if len(placed) > 1 else "")
    several = any(row.low is not None for s in sweeps for row in s.confirmed.values())
    label = "test accuracy, 95 % interval" if several else "test accuracy, one seed"
    label_outer(placed, placed[titles[0]].get_xlabel(), label)
    legend(figure, strategy_keys(names, look), "outside lower right")
    return figure


def _by_shots(axes: Axes, sweeps: Sweeps, name: str, style: Style, beside: float) -> None:
    """A strategy's line with its intervals, its places times `beside`."""
    own = [sweep for sweep in sweeps if name in sweep.confirmed]
    points = sorted(_known([(sweep.shots, sweep.confirmed[name]) for sweep in own]))
    x = [shots * beside for shots, _ in points]
    y = [1 - mean for _, (mean, _, _) in points]
    axes.plot(x, y, marker=style.marker, ms=5, lw=1.4, color=style.light)
    for at, (_, (_, low, high)) in zip(x, points, strict=True):
        ends = [max(0.0, 1 - high), min(1.0, 1 - low)]
        axes.plot([at, at], ends, color=style.light, lw=1, alpha=0.6)


def weights_by_shift(sweeps: Sweeps) -> Figure | None:
    """How often each layer moved (or its mean weight), strategy by layer, a panel a sweep, with its
    shift as the title where each has another; only of models with the same layers."""
    layers = [list(sweep.results.layers) for sweep in sweeps]
    shown = [sweep for sweep in sweeps if sweep.confirmed]
    if len(shown) < 2 or any(own != layers[0] for own in layers):
        return None
    rows = every_strategy(sweeps)
    one_each = len({sweep.shift for sweep in shown}) == len(shown)
    grids = {sweep.name: _moved(sweep, rows, layers[0]) for sweep in shown}
    norm = shade(max(1.0, *(float(np.nanmax(grid)) for grid in grids.values())))
    figure, placed = panels(list(grids), height=0.9 + 0.19 * len(rows))
    for index, (sweep, axes) in enumerate(zip(shown, placed.values(), strict=True)):
        axes.imshow(grids[sweep.name], OPACITY, norm=norm, aspect="auto")
        axes.set_title(sweep.shift if one_each else sweep.name)
        axes.set_yticks(range(len(rows)), rows if is_left(axes, index) else [])
        crowded = len(layers[0]) > 4
        axes.set_xticks(range(len(layers[0])), layers[0], rotation=60 if crowded else 0)
        axes.tick_params(length=0)
        axes.grid(False)
    steps = [norm.vmax * step for step in (0.0, 0.05, 0.25, 0.5, 1.0) if norm.vmax is not None]
    words = percent if norm.vmax == 1 else "{:.2g}".format
    opacity_legend(figure, norm, {step: words(step) for step in steps})
    return figure


def best_quarters(sweeps: Sweeps) -> Figure | None:
    """In which quarter the best block of each model is: how many models, and which."""
    found = [(sweep, sweep.blocks[1]) for sweep in sweeps if sweep.blocks]
    if len(found) < 2:
        return None
    best = [(sweep, max(scores, key=lambda s: s.accuracy)) for sweep, scores in found]
    figure, placed = panels(["quarters"], height=1.1 + 0.22 * len(best))
    axes = placed["quarters"]
    heights = dict.fromkeys(QUARTERS, 0)
    every_model_once = len({sweep.model for sweep, _ in best}) == len(best)
    for sweep, score in best:
        assert score.quarter is not None
        place = heights[score.quarter]
        axes.bar(score.quarter, 0.9, 0.8, bottom=place, color=ACCENT, alpha=0.25)
        words = f"{sweep.model if every_model_once else sweep.name} ({score.block})"
        axes.text(score.quarter, place + 0.45, words, ha="center", va="center", size=7)
        heights[score.quarter] += 1
    axes.set_xticks(QUARTERS, [f"Q{q}: {heights[q]}" for q in QUARTERS])
    axes.set_xlim(0.5, 4.5)
    axes.set_ylim(0, max(heights.values()) + 0.1)
    axes.set_yticks([])
    axes.grid(False)
    axes.set_xlabel("quarter of the model in which its best block is, from the input")
    return figure


def quarters(sweeps: Sweeps) -> Figure | None:
    """All blocks of all models by quarter, and both baselines over the models; a panel a data set.
    Only where a data set has several models: of one, its blocks are in its own report."""
    found = [(sweep, sweep.blocks[1]) for sweep in sweeps if sweep.blocks]
    if len(found) < 2:
        return None
    data = list(dict.fromkeys(sweep.data for sweep, _ in found))
    if len(data) == len(found):
        return None
    figure, placed = panels(data, height=3.0, share_y=True)
    for name, axes in placed.items():
        own = [(sweep, scores) for sweep, scores in found if sweep.data == name]
        boxes = _boxes(own)
        draw_boxes(axes, list(boxes.values()), ACCENT)
        axes.set_xticks(range(1, len(boxes) + 1), list(boxes), rotation=30 if len(data) > 1 else 0)
        axes.set_title(name if len(data) > 1 else "")
    x = "blocks of each quarter; BL1: the head alone, BL2: everything"
    label_outer(placed, "", measured_in_words(s for _, scores in found for s in scores))
    figure.supxlabel(x, fontsize=LOOK["font.size"])
    return figure


def _boxes(found: Sequence[tuple[Compared, Sequence[BlockScore]]]) -> dict[str, list[float]]:
    """Accuracies of all blocks by quarter, and of both baselines, each under its label."""
    together = by_quarter([score for _, scores in found for score in scores])
    levels = [baseline_accuracies(s.results, scores[0].tested is not None) for s, scores in found]
    boxes = {f"Q{q} ({len(together[q])})": together[q] for q in QUARTERS}
    for name, words in BASELINES.items():
        own = [level[name] for level in levels if name in level]
        boxes[f"{words.split(',')[0]} ({len(own)})"] = own
    return boxes


def blocks_by_model(sweeps: Sweeps) -> Figure | None:
    """For each model the best, the first and the last of its blocks beside both baselines."""
    found = [(sweep, sweep.blocks[1]) for sweep in sweeps if sweep.blocks]
    if len(found) < 2:
        return None
    style_of = styles_of(sweeps)
    figure, placed = panels(["blocks"], height=0.8 + 0.32 * len(found))
    axes = placed["blocks"]
    for place, (sweep, scores) in enumerate(found):
        levels = baseline_accuracies(sweep.results, scores[0].tested is not None)
        for name, value in levels.items():
            axes.plot(value, place, "|", ms=16, mew=2, color=style_of[name].light)
        best = max(score.accuracy for score in scores)
        values = {"<": scores[0].accuracy, ">": scores[-1].accuracy, "o": best}
        for marker, value in values.items():
            hollow = {"mfc": "none", "ms": 11} if marker == "o" else {"ms": 6}
            axes.plot(value, place, marker, color=ACCENT, **hollow)
    axes.set_yticks(range(len(found)), [sweep.name for sweep, _ in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(measured_in_words(s for _, scores in found for s in scores))
    keys = [
        Line2D([], [], ls="", color=ACCENT, marker=marker, mfc=fill, label=words)
        for marker, fill, words in (
            ("<", ACCENT, "first block"),
            (">", ACCENT, "last block"),
            ("o", "none", "best block"),
        )
    ]
    bars = [
        Line2D([], [], ls="", marker="|", ms=12, mew=2, color=style_of[name].light, label=words)
        for name, words in BASELINES.items()
        if name in style_of
    ]
    legend(figure, [*keys, *bars], "outside lower right")
    return figure


def mean_ranks(sweeps: Sweeps) -> Figure | None:
    """Mean rank of each strategy with half the critical difference to both sides: strategies
    whose bars do not overlap are distinguished."""
    found = ranking(sweeps)
    if found.critical_difference is None:
        return None
    look = styles_of(sweeps)
    figure = Figure((WIDTH, 0.75 + 0.36 * len(found.mean)), layout="constrained")
    axes = figure.subplots()
    half = found.critical_difference / 2
    for place, (name, rank) in enumerate(found.mean.items()):
        style = look[name]
        axes.plot([rank - half, rank + half], [place, place], color=style.light, lw=2)
        axes.plot(rank, place, style.marker, color=style.light, ms=7)
    axes.set_yticks(range(len(found.mean)), list(found.mean))
    axes.set_ylim(len(found.mean) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        f"mean rank by test error over {found.sweeps} sweeps (1 is the best), "
        "± half the critical difference"
    )
    return figure


FIGURES: Mapping[str, Callable[[Sweeps], Figure | None]] = {
    "mean_ranks": mean_ranks,
    "blocks_by_model": blocks_by_model,
    "best_quarters": best_quarters,
    "quarters": quarters,
    "accuracy_by_shots": error_by_shots,
    "weights_by_shift": weights_by_shift,
}
"""Every figure by the name of its file."""


def _moved(sweep: Compared, rows: Sequence[str], layers: Sequence[str]) -> np.ndarray:
    """[strategies, layers]; NaN where a strategy was not confirmed."""
    moved = {entry.strategy: entry.moved for entry in sweep.results.confirm}
    return np.array(
        [[moved.get(name, {}).get(layer, np.nan) for layer in layers] for name in rows], dtype=float
    )


def _known(
    rows: Sequence[tuple[int | None, ConfirmRow]],
) -> list[tuple[int, tuple[float, float, float]]]:
    """(shots, (mean, low, high)); with one seed both ends are the mean."""
    known = []
    for shots, row in rows:
        if shots is not None and row.mean is not None:
            low = row.mean if row.low is None else row.low
            known.append((shots, (row.mean, low, row.mean if row.high is None else row.high)))
    return known


def styles_of(sweeps: Sweeps) -> dict[str, Style]:
    """Strategy -> how it is drawn, the same in all of them."""
    return styles(sorted({name for sweep in sweeps for name in strategies(sweep.results)}))
