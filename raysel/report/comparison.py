"""`raysel report A B C`: one page that sets several sweeps side by side, over models, over shifts,
over numbers of target examples.

Each sweep brings its results and its file; a figure is drawn where they hold what it compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysel.common.text import one_line
from raysel.record.layout import write_whole
from raysel.report.blocks import (
    BASELINES,
    QUARTERS,
    TUNERS,
    BlockScore,
    baseline_accuracies,
    block_scores,
    by_quarter,
    draw_boxes,
)
from raysel.report.curves import shots_axis
from raysel.report.drawing import (
    ACCENT,
    Style,
    css,
    drawn,
    is_left,
    legend,
    panels,
    strategy_keys,
    styles,
)
from raysel.report.maps import OPACITY, opacity_legend, shade
from raysel.report.page import badge, safe, templates
from raysel.report.tables import ConfirmRow, confirm_rows, percent, strategies
from raysel.spec.sweep import Spec
from raysel.sweep.results import SweepResults, Verdict


@dataclass(frozen=True)
class Compared:
    """One sweep of a comparison."""

    name: str
    results: SweepResults
    spec: Spec

    @property
    def model(self) -> str:
        """timm's name without the tag of its weights."""
        return self.spec.model.name.split(".")[0]

    @property
    def shift(self) -> str:
        """The kind of shift; the data set where nothing was put on it."""
        task = self.spec.task
        return task.name if task.shift.kind == "none" else task.shift.kind

    @property
    def shots(self) -> int | None:
        """Target examples a class that every trial trained on; None where that varies or was
        given otherwise."""
        asked = self.spec.training.shots
        return asked if isinstance(asked, int) else None if asked else self.spec.task.split.shots

    @property
    def data(self) -> str:
        """The data set, and what was put on it: `digits, gaussian_noise 5`."""
        task = self.spec.task
        shift = "" if task.shift.kind == "none" else f", {task.shift.kind} {task.shift.severity}"
        return f"{task.name}{shift}"

    @property
    def badge(self) -> tuple[str, str]:
        """The verdict's tone and its few words."""
        return badge(self.results)

    @property
    def difference(self) -> str:
        """Winner minus full fine-tuning in points, in words."""
        return difference(self.results.verdict)

    @cached_property
    def confirmed(self) -> dict[str, ConfirmRow]:
        """The confirmed strategies, the winner first."""
        return {row.strategy: row for row in confirm_rows(self.results)}

    @cached_property
    def blocks(self) -> tuple[str, list[BlockScore]] | None:
        """The strategy that tuned single blocks, and those that are in a quarter."""
        for name in TUNERS:
            placed = [s for s in block_scores(self.results, name) if s.quarter is not None]
            if len(placed) > 1:
                return name, placed
        return None


Sweeps = Sequence[Compared]


def mean_ranks(sweeps: Sweeps) -> dict[str, float]:
    """Strategy -> its mean rank by test error over all sweeps, 1 the best, of those that every
    sweep confirmed; equals share their mean rank."""
    common = [
        name
        for name in every_strategy(sweeps)
        if all(name in s.confirmed and s.confirmed[name].mean is not None for s in sweeps)
    ]
    ranks: dict[str, list[float]] = {name: [] for name in common}
    for sweep in sweeps:
        errors = [sweep.confirmed[name].mean or 0.0 for name in common]
        for name, error in zip(common, errors, strict=True):
            below = sum(other < error for other in errors)
            same = sum(other == error for other in errors)
            ranks[name].append(below + (same + 1) / 2)
    return {name: sum(own) / len(own) for name, own in ranks.items()}


def every_strategy(sweeps: Sweeps) -> list[str]:
    """Every strategy that a sweep confirmed, in the sweeps' order."""
    return list(dict.fromkeys(name for sweep in sweeps for name in sweep.confirmed))


# --- the figures ------------------------------------------------------------------------------


def error_by_shots(sweeps: Sweeps) -> Figure | None:
    """Test accuracy of each strategy against the sweeps' numbers of examples a class."""
    counts = [sweep.shots for sweep in sweeps if sweep.shots is not None]
    if len(set(counts)) < 2 or len(counts) < len(sweeps):
        return None
    style_of = _styles(sweeps)
    figure, placed = panels(["accuracy"], height=3.2)
    axes = placed["accuracy"]
    for name in every_strategy(sweeps):
        rows = [(s.shots, s.confirmed[name]) for s in sweeps if name in s.confirmed]
        points = sorted((n, r) for n, r in _known(rows))
        if not points:
            continue
        x = [n for n, _ in points]
        y = [1 - row[0] for _, row in points]
        axes.plot(x, y, marker=style_of[name].marker, ms=5, lw=1.4, color=style_of[name].light)
        for n, (_, low, high) in points:
            axes.plot([n, n], [1 - high, 1 - low], color=style_of[name].light, lw=1, alpha=0.6)
    shots_axis(axes, [float(n) for n in counts])
    several = any(row.low is not None for s in sweeps for row in s.confirmed.values())
    axes.set_ylabel("test accuracy, 95 % interval" if several else "test accuracy, one seed")
    legend(figure, strategy_keys(every_strategy(sweeps), style_of), "outside lower right")
    return figure


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
    for sweep, score in best:
        assert score.quarter is not None
        place = heights[score.quarter]
        axes.bar(score.quarter, 0.9, 0.8, bottom=place, color=ACCENT, alpha=0.25)
        words = f"{sweep.model} ({score.block})"
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
    """All blocks of all models by quarter, and both baselines over the models."""
    found = [(sweep, sweep.blocks[1]) for sweep in sweeps if sweep.blocks]
    if len(found) < 2:
        return None
    together = by_quarter([score for _, scores in found for score in scores])
    levels = [baseline_accuracies(sweep.results) for sweep, _ in found]
    boxes = {f"Q{q} ({len(together[q])})": together[q] for q in QUARTERS}
    for name, words in BASELINES.items():
        own = [level[name] for level in levels if name in level]
        boxes[f"{words.split(',')[0]} ({len(own)})"] = own
    figure, placed = panels(["boxes"], height=3.0)
    axes = placed["boxes"]
    draw_boxes(axes, list(boxes.values()), ACCENT)
    axes.set_xticks(range(1, len(boxes) + 1), list(boxes))
    axes.set_xlabel("blocks of each quarter; BL1: the head alone, BL2: everything")
    axes.set_ylabel("validation accuracy")
    return figure


def blocks_by_model(sweeps: Sweeps) -> Figure | None:
    """For each model the best, the first and the last of its blocks beside both baselines."""
    found = [(sweep, sweep.blocks[1]) for sweep in sweeps if sweep.blocks]
    if len(found) < 2:
        return None
    style_of = _styles(sweeps)
    figure, placed = panels(["blocks"], height=0.8 + 0.32 * len(found))
    axes = placed["blocks"]
    for place, (sweep, scores) in enumerate(found):
        levels = baseline_accuracies(sweep.results)
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
    axes.set_xlabel("validation accuracy")
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


FIGURES: Mapping[str, Callable[[Sweeps], Figure | None]] = {
    "blocks_by_model": blocks_by_model,
    "best_quarters": best_quarters,
    "quarters": quarters,
    "accuracy_by_shots": error_by_shots,
    "weights_by_shift": weights_by_shift,
}
"""Every figure by the name of its file."""


# --- the page -----------------------------------------------------------------------------------


def write_comparison(sweeps: Sequence[Compared], folder: Path) -> Path:
    """Write the page of two or more sweeps.

    Returns:
        `<folder>/index.html`. The figures lie beside it as PNG in `figures/`; each file is
        there whole or not at all.
    """
    sweeps = [Compared(one_line(s.name), safe(s.results), s.spec) for s in sweeps]
    pictures = drawn(FIGURES, sweeps, folder / "figures")
    index = folder / "index.html"
    write_whole(index, page(sweeps, pictures))
    return index


def page(sweeps: Sequence[Compared], drawn: dict[str, str]) -> str:
    """The page as text; `drawn`: figures as SVG by their name in `FIGURES`."""
    ranks = mean_ranks(sweeps)
    order = sorted(every_strategy(sweeps), key=lambda name: ranks.get(name, float("inf")))
    return (
        templates()
        .get_template("comparison.html.j2")
        .render(
            sweeps=sweeps,
            errors={name: [cell(sweep, name) for sweep in sweeps] for name in order},
            ranks=ranks,
            figures={name: Markup(svg) for name, svg in drawn.items()},
            styles=_styles(sweeps),
            colours=css(),
        )
    )


def cell(sweep: Compared, strategy: str) -> str:
    """A strategy's test error in a sweep, marked where it was chosen."""
    row = sweep.confirmed.get(strategy)
    return "–" if row is None else f"{row.test_error}{' ◂' * row.winner}"


def difference(verdict: Verdict) -> str:
    """Points of test error: `−2.3 [−4.9, +0.3]`; of another measure that is named."""
    if verdict.difference is None:
        return "–"
    known = (verdict.difference, verdict.low, verdict.high)
    shown = [f"{100 * value:+.1f}".replace("-", "−") for value in known if value is not None]
    words = shown[0] if len(shown) < 3 else f"{shown[0]} [{shown[1]}, {shown[2]}]"
    measure = verdict.measure.removeprefix("test/")
    return words if measure == "error" else f"{words} ({measure.replace('_', ' ')})"


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


def _styles(sweeps: Sweeps) -> dict[str, Style]:
    return styles(sorted({name for sweep in sweeps for name in strategies(sweep.results)}))
