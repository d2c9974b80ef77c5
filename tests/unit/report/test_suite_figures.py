"""Figures over the cells of a suite, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from blocks_kit import confirmed, sweep, trial
from comparison_kit import compared

from raysel.report.compared import Compared
from raysel.report.drawing import draw_styled
from raysel.report.suite_figures import blocks_against_full, weights_by_arm


def cell(name: str, full: float, stem: float, body: float, head: float) -> Compared:
    """Test errors of full, of two blocks and of the head alone."""
    found = sweep(
        trial(0, "surgical", 0.5, "stem"),
        trial(1, "surgical", 0.4, "blocks.0"),
        trial(2, "full", 0.4),
        trial(3, "linear_probe", 0.4),
    )
    found["confirm"] = [
        confirmed("surgical", "0001", body, body),
        confirmed("full", "0002", full, full + 0.02),
        confirmed("linear_probe", "0003", head, head),
    ]
    found["other_configurations"] = [confirmed("surgical", "0000", stem, stem)]
    return compared(found, name)


def heights(cells: list[Compared]) -> list[float]:
    axes = draw_styled(blocks_against_full, cells).axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["stem", "blocks.0", "head"]
    return [bar.get_height() for bar in axes.patches]


def test_a_block_is_measured_against_full_fine_tuning_over_the_cells():
    """Full has .41 and .21: the stem is 11 points better and 9 worse."""
    cells = [cell("a", 0.4, 0.3, 0.41, 0.61), cell("b", 0.2, 0.3, 0.21, 0.21)]
    assert heights(cells) == pytest.approx([1.0, 0.0, -10.0])
    axes = draw_styled(blocks_against_full, cells).axes[0]
    # values 11 and -9: standard error 14.14 / sqrt 2
    assert list(axes.lines[0].get_ydata()) == pytest.approx([-9.0, 11.0])
    assert "2 cells" in axes.get_xlabel()


def test_of_one_cell_the_runs_are_compared_by_their_seeds():
    assert heights([cell("a", 0.4, 0.3, 0.41, 0.61)]) == pytest.approx([11.0, 0.0, -20.0])


def test_without_a_test_of_every_block_there_is_no_such_figure(results):
    assert draw_styled(blocks_against_full, [compared(results, "a")]) is None


def weighing(results: dict[str, Any], name: str, weight: float) -> Compared:
    """A cell in which one arm weighs rates, every layer alike."""
    own = {**results, "confirm": [dict(entry) for entry in results["confirm"]]}
    own["confirm"][0] |= {"moved_is": "weight", "moved": dict.fromkeys(own["layers"], weight)}
    return compared(own, name)


def test_the_bars_of_an_arm_are_its_mean_weights_over_the_cells(results):
    figure = draw_styled(weights_by_arm, [weighing(results, "a", 0.2), weighing(results, "b", 0.4)])
    (axes,) = figure.axes
    assert axes.get_title("left") == results["confirm"][0]["strategy"]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx(
        [0.3] * len(results["layers"])
    )
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.2, 0.4])


def test_no_bar_of_a_later_arm_is_cut_off(results):
    """The panels share one axis, which the first arm, a low one, must not settle."""
    both = {**results, "confirm": [dict(entry) for entry in results["confirm"]]}
    for entry, weight in zip(both["confirm"][:2], (0.1, 0.8), strict=True):
        entry |= {"moved_is": "weight", "moved": dict.fromkeys(results["layers"], weight)}
    low, high = sorted(entry["strategy"] for entry in both["confirm"][:2])
    weights = {entry["strategy"]: entry["moved"]["stem"] for entry in both["confirm"][:2]}
    assert weights[low] != weights[high]
    figure = draw_styled(weights_by_arm, [compared(both, "a"), compared(both, "b")])
    for axes in figure.axes:
        assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 0.8


def test_arms_that_choose_layers_have_no_bars_of_weights(results):
    assert draw_styled(weights_by_arm, [compared(results, "a")]) is None
