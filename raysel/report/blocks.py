"""Which part of a model is the one to tune: accuracy against the place of the block that moved.

It is test accuracy where the confirm phase had every block (`confirm.configurations: {by:
[block]}`, or `all`), else the validation accuracy of each block's best trial.

A block is what `surgical` or `blockwise` tuned in a trial. Its quarter is that of the
block-wise paper: block i of N is in quarter k = ceil(4 i / N); the head is none of
`blockwise`'s blocks, for it moves beside each of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysel.common.text import one_line
from raysel.models.partition_types import joined_layers
from raysel.report.curves import accuracy_of
from raysel.report.drawing import INK, LABEL, Style, legend, panels, styles
from raysel.report.tables import completed, strategies
from raysel.sweep.ranking import best_trial, confirmed_rank, leaders
from raysel.sweep.results import SweepResults, TrialResult

TUNERS = ("blockwise", "surgical")
"""The registered strategies that tune one named block."""

BASELINES = {"linear_probe": "BL1, the head alone", "full": "BL2, everything"}
"""What blocks are measured against, by the block-wise paper's names."""

QUARTERS = (1, 2, 3, 4)
_HEAD = "head"


@dataclass(frozen=True)
class BlockScore:
    """One block that was tuned.

    Attributes:
        place: of its first layer among the model's, from 0.
        quarter: 1 to 4; None of a block of several layers.
        accuracy: 0..1, on test data, or of its best trial on validation data.
        tested: by seed the test error of its confirm runs; None where validation data are meant.
    """

    block: str
    place: int
    quarter: int | None
    accuracy: float
    tested: Mapping[int, float] | None = None


def measured_in_words(scores: Iterable[BlockScore]) -> str:
    """What the accuracies are of: `test accuracy`."""
    kinds = {"validation" if score.tested is None else "test" for score in scores}
    return f"{' or '.join(sorted(kinds))} accuracy"


def tuners(results: SweepResults) -> list[str]:
    """The arms that tune one named block."""
    return [arm for name in TUNERS for arm, its in results.registered.items() if its == name]


def block_scores(results: SweepResults, arm: str) -> list[BlockScore]:
    """Every block that an arm tuned to the end, in forward order."""
    tried: dict[str, list[TrialResult]] = {}
    for trial in completed(results):
        block = trial.parameters.get("block")
        if trial.strategy == arm and isinstance(block, str):
            tried.setdefault(block, []).append(trial)
    tested = _tested_blocks(results, arm)
    all_tested = tested.keys() >= tried.keys() and bool(tested)
    scores = []
    for block in tested if all_tested else tried:
        errors = tested[block] if all_tested else None
        accuracy = _accuracy(tried.get(block, ()), errors, results.objective.metric)
        place = _place(block, results.layers_of(arm))
        if accuracy is not None and place is not None:
            quarter = _quarter(block, results.layers_of(arm), results.registered[arm])
            scores.append(BlockScore(block, place, quarter, accuracy, errors))
    return sorted(scores, key=lambda score: (score.place, score.block))


def _accuracy(
    trials: Sequence[TrialResult], errors: Mapping[int, float] | None, metric: str
) -> float | None:
    if errors is not None:
        return 1 - math.fsum(errors.values()) / len(errors)
    best = best_trial(trials, metric)
    return accuracy_of(best) if best else None


def _tested_blocks(results: SweepResults, arm: str) -> dict[str, Mapping[int, float]]:
    """Block -> by seed the test errors of the best of its configurations that was confirmed."""
    of_trial = {trial.id: trial.parameters for trial in results.trials}
    entries = [
        entry
        for entry in (*results.confirm, *results.other_configurations)
        if entry.strategy == arm and entry.by_seed("test/error")
    ]
    found: dict[str, Mapping[int, float]] = {}
    for entry in sorted(entries, key=lambda e: confirmed_rank(e, results.objective.metric)):
        parameters = of_trial.get(entry.trial or "", entry.config.get("parameters") or {})
        if isinstance(block := parameters.get("block"), str):
            found.setdefault(block, entry.by_seed("test/error"))
    return found


def baseline_accuracies(
    results: SweepResults, tested: bool = False, beside: str = ""
) -> dict[str, float]:
    """Baseline -> validation accuracy of its best complete trial, or its test accuracy.

    Args:
        beside: of several models that of this arm; none where nothing is given.
    """
    if tested:
        entries = {entry.strategy: entry.test_error.mean for entry in results.confirm}
        errors = {name: entries.get(results.arm_of(name, beside) or "") for name in BASELINES}
        return {name: 1 - error for name, error in errors.items() if error is not None}
    best = leaders(completed(results), results.objective.metric)
    arms = {name: results.arm_of(name, beside) for name in BASELINES}
    found = {name: accuracy_of(best[own]) for name, own in arms.items() if own in best}
    confirmed = {row.strategy: row.validation_error for row in results.confirm}
    for name, own in arms.items():  # without a search it has runs of the confirm phase alone
        if name not in found and (error := confirmed.get(own or "")) is not None:
            found[name] = 1 - error
    return {name: value for name, value in found.items() if value is not None}


def accuracy_by_block(results: SweepResults) -> Figure | None:
    """Accuracy of each block against its place, with both baselines; nothing below two."""
    found = _found(results)
    if not found:
        return None
    style_of = styles(strategies(results), results.verdict.baseline)
    levels: dict[str, float] = {}
    figure, placed = panels(list(found), height=2.9)
    for name, axes in placed.items():
        scores = found[name]
        places = range(1, len(scores) + 1)
        values = [score.accuracy for score in scores]
        axes.plot(
            places, values, marker=style_of[name].marker, ms=5, lw=1.2, color=style_of[name].light
        )
        for at, score in zip(places, scores, strict=True):
            if score.tested is not None:
                half = standard_error(list(score.tested.values()))
                axes.plot([at, at], [score.accuracy - half, score.accuracy + half], color=INK, lw=1)
        best = max(values)
        tops = [place for place, value in zip(places, values, strict=True) if value == best]
        axes.plot(tops, [best] * len(tops), "o", ms=11, mfc="none", color=INK)
        levels |= (own := baseline_accuracies(results, scores[0].tested is not None, name))
        _baselines(axes, own, style_of)
        named = scores[tops[0] - 1].block if len(tops) == 1 else f"{len(tops)} blocks alike"
        axes.set_title(f"{name} · best: {named}")
        _block_ticks(axes, [score.block for score in scores])
        axes.set_ylabel(measured_in_words(scores))
    legend(figure, baseline_keys(levels, style_of), "outside lower right")
    return figure


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of some values; 0 of a single one."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def accuracy_by_quarter(results: SweepResults) -> Figure | None:
    """A box of all blocks of each quarter, with both baselines; nothing below four blocks."""
    found = _found(results)
    boxes = {name: by_quarter(scores) for name, scores in found.items()}
    boxes = {name: box for name, box in boxes.items() if sum(map(len, box.values())) >= 4}
    if not boxes:
        return None
    style_of = styles(strategies(results), results.verdict.baseline)
    levels: dict[str, float] = {}
    figure, placed = panels(list(boxes), height=2.7)
    for name, axes in placed.items():
        draw_boxes(axes, [boxes[name][q] for q in QUARTERS], style_of[name].light)
        axes.set_xticks(QUARTERS, [f"Q{q} ({len(boxes[name][q])})" for q in QUARTERS])
        levels |= (own := baseline_accuracies(results, found[name][0].tested is not None, name))
        _baselines(axes, own, style_of)
        axes.set_title(name)
        axes.set_xlabel("quarter of the model, from the input (blocks)")
        axes.set_ylabel(measured_in_words(found[name]))
    legend(figure, baseline_keys(levels, style_of), "outside lower right")
    return figure


def by_quarter(scores: Sequence[BlockScore]) -> dict[int, list[float]]:
    """Quarter -> accuracies of its blocks."""
    return {q: [s.accuracy for s in scores if s.quarter == q] for q in QUARTERS}


def draw_boxes(axes: Axes, boxes: Sequence[Sequence[float]], colour: str) -> None:
    """Boxes at 1, 2, …: median, quartiles, whiskers to the extremes; each value as a dot."""
    for place, values in enumerate(boxes, 1):
        if not values:
            continue
        low, first, middle, third, high = np.percentile(values, [0, 25, 50, 75, 100])
        axes.plot([place, place], [low, high], color=colour, lw=1, zorder=1)
        axes.bar(
            place,
            third - first,
            0.5,
            bottom=first,
            color=colour,
            alpha=0.25,
            edgecolor=colour,
            zorder=2,
        )
        axes.plot([place - 0.25, place + 0.25], [middle, middle], color=colour, lw=2, zorder=3)
        axes.plot([place] * len(values), values, "o", ms=3, color=colour, alpha=0.7, zorder=3)
    axes.set_xlim(0.4, len(boxes) + 0.6)
    axes.use_sticky_edges = False  # a box without a height, at an edge, would be cut in half


def baseline_keys(levels: Mapping[str, float], style_of: Mapping[str, Style]) -> list[Line2D]:
    """What the lines of the baselines mean."""
    return [
        Line2D([], [], color=_colour(name, style_of), ls=_DASHES[name], label=f"{words} ({name})")
        for name, words in BASELINES.items()
        if name in levels
    ]


_DASHES: Mapping[str, Any] = {"linear_probe": (0, (1, 1.5)), "full": (0, (4, 2))}


def _baselines(axes: Axes, levels: Mapping[str, float], style_of: Mapping[str, Style]) -> None:
    for name, value in levels.items():
        axes.axhline(value, color=_colour(name, style_of), ls=_DASHES[name], lw=1.3)


def _colour(baseline: str, style_of: Mapping[str, Style]) -> str:
    """Of a baseline's line; that of an arm with another name has none of its own."""
    return style_of[baseline].light if baseline in style_of else INK


def _found(results: SweepResults) -> dict[str, list[BlockScore]]:
    found = {arm: block_scores(results, arm) for arm in tuners(results)}
    return {name: scores for name, scores in found.items() if len(scores) > 1}


def _place(block: str, layers: Sequence[str]) -> int | None:
    places = [layers.index(name) for name in joined_layers(block, layers) if name in layers]
    return min(places, default=None)


def _quarter(block: str, layers: Sequence[str], strategy: str) -> int | None:
    blocks = [name for name in layers if strategy != "blockwise" or name != _HEAD]
    if block not in blocks:
        return None
    return math.ceil(4 * (blocks.index(block) + 1) / len(blocks))


def _block_ticks(axes: Axes, names: Sequence[str]) -> None:
    """At most thirty names, evenly taken, turned where there are many."""
    every = math.ceil(len(names) / 30)
    crowded = len(names) > 6 or max(map(len, names)) > 8
    axes.set_xticks(
        range(1, len(names) + 1, every),
        [one_line(name, LABEL) for name in names[::every]],
        rotation=70 if crowded else 0,
        ha="center",
    )
    axes.set_xlim(0.5, len(names) + 0.5)
