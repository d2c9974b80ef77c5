"""The figure and the table of a profile: what each layer is worth, beside what criteria say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from raysel.report.drawing import ACCENT, INK, WIDTH, styles
from raysel.report.table import Table, make
from raysel.sweep.layer_profile import Effect, Profile
from raysel.sweep.statistics.rank_correlation import RankCorrelation

_WORDS = {
    "gradient_norm": "gradient norm",
    "rgn": "relative gradient norm",
    "newton_step": "Newton step",
    "snr": "signal to noise",
    "surprise": "surprise",
    "criticality": "criticality",
    "bvr_1": "bias-variance, 1 batch",
    "bvr_10": "bias-variance, 10 batches",
    "bvr_100": "bias-variance, 100 batches",
}


def in_words(criterion: str) -> str:
    """A criterion as a person says it."""
    return _WORDS.get(criterion, criterion)


def points(effect: Effect) -> str:
    """`+12.3 (+8.0 to +16.6)`, in points of test error."""
    if effect.low is None or effect.high is None:
        return f"{100 * effect.mean:+.1f}"
    return f"{100 * effect.mean:+.1f} ({100 * effect.low:+.1f} to {100 * effect.high:+.1f})"


def rank(correlation: RankCorrelation | None) -> str:
    """`+0.83 (+0.31 to +1.00)`."""
    if correlation is None:
        return "–"
    c = correlation
    return f"{c.value:+.2f} ({c.low:+.2f} to {c.high:+.2f})"


def layer_table(found: Profile) -> Table:
    """A row a layer with both measurements and every criterion's score; below them the rank
    correlations of each criterion."""
    names = list(found.criteria)
    rows: list[tuple[Sequence[str], Mapping[str, Any]]] = []
    for place, layer in enumerate(found.layers):
        gain, cost = found.gain[layer], found.cost[layer]
        scores = {name: found.criteria[name][place] for name in names}
        words = [layer, points(gain), points(cost), *(f"{scores[n]:.3g}" for n in names)]
        values = {"layer": layer, **_values("gain", gain), **_values("cost", cost)}
        rows.append((words, values | scores))
    for index, what in enumerate(("the gain alone", "the cost left out")):
        ranks = {name: found.correlations[name][index] for name in names}
        title = f"rank correlation with {what}"
        empty = dict.fromkeys([k for k in rows[0][1] if k.startswith(("gain", "cost"))])
        correlations = {name: r and r.value for name, r in ranks.items()}
        words = [title, "", "", *(rank(r) for r in ranks.values())]
        rows.append((words, {"layer": title, **empty, **correlations}))
    heads = {"layer": False, "gain alone": True, "cost left out": True}
    caption = (
        "Points of test error with 95 % intervals over the splits, and the scores of each criterion"
        " on the initial model."
    )
    heads |= {in_words(name): True for name in names}
    table = make("profile", "What each layer is worth", caption, heads, rows)
    assert table is not None
    return table


def _values(name: str, effect: Effect) -> dict[str, float | None]:
    return {name: effect.mean, f"{name}_low": effect.low, f"{name}_high": effect.high}


def draw_profile(found: Profile) -> Figure:
    """Left both measurements with their intervals, right each criterion's scores over its largest;
    below a criterion its rank correlation with the gain and with the cost."""
    rows = len(found.layers)
    figure = Figure((WIDTH, 1.9 + 0.34 * rows), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.25))
    look = styles(["alone", "without"])
    left.axvline(0, color=INK, lw=0.9)
    kinds: Sequence[tuple[str, Mapping[str, Effect], float]] = (
        ("alone", found.gain, -0.16),
        ("without", found.cost, 0.16),
    )
    words = {"alone": "tuned alone: error falls by", "without": "left out: error rises by"}
    for kind, effects, shift in kinds:
        style = look[kind]
        for place, layer in enumerate(found.layers):
            effect, y = effects[layer], place + shift
            if effect.low is not None and effect.high is not None:
                left.plot([100 * effect.low, 100 * effect.high], [y, y], color=style.light, lw=1.6)
            label = words[kind] if place == 0 else None
            left.plot(100 * effect.mean, y, style.marker, color=style.light, ms=5, label=label)
    _layers(left, found.layers)
    left.set_xlabel(f"points of test error, mean and 95 % interval over {found.splits} splits")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=7.5)
    _heat_map(right, found)
    return figure


def _layers(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _heat_map(axes: Axes, found: Profile) -> None:
    names = list(found.criteria)
    shares = np.array([_shares(found.criteria[name]) for name in names]).T
    colours = LinearSegmentedColormap.from_list("scores", ["white", ACCENT])
    axes.imshow(shares, cmap=colours, aspect="auto", vmin=0, vmax=1)
    labels = []
    for name in names:
        values = [f"{c.value:+.1f}" if c else "–" for c in found.correlations[name]]
        labels.append(f"{in_words(name)}  {' '.join(values)}")
    axes.set_xticks(range(len(names)), labels, rotation=40, ha="right", fontsize=7.5)
    _layers(axes, found.layers)
    axes.set_yticklabels([])
    axes.grid(visible=False)
    axes.set_title(
        "scores before training, over the largest; rank correlation with gain, cost", fontsize=8
    )


def _shares(scores: Sequence[float]) -> list[float]:
    """Scores over the largest finite one; infinite ones are 1, undefined ones 0."""
    finite = [score for score in scores if math.isfinite(score)]
    top = max(finite, default=0.0) or 1.0
    return [
        0.0 if math.isnan(score) else 1.0 if math.isinf(score) else max(score, 0.0) / top
        for score in scores
    ]
