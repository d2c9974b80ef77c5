"""Blocks by their place: quarters as the paper counts them, each block's best trial."""

import pytest
from blocks_kit import LAYERS, confirmed, sweep, trial
from results_kit import typed

from raysel.report import figures
from raysel.report.blocks import (
    BlockScore,
    baseline_accuracies,
    block_scores,
    by_quarter,
)
from raysel.report.drawing import draw_styled


def every_block(strategy="blockwise"):
    """Error .90, .85, … : the later the block, the better."""
    tried = [trial(n, strategy, 0.9 - 0.05 * n, name) for n, name in enumerate(LAYERS)]
    levels = [trial(90, "full", 0.30), trial(91, "linear_probe", 0.35), trial(92, "full", 0.5)]
    return sweep(*reversed(tried), *levels)


def test_block_i_of_n_lies_in_quarter_ceil_of_four_i_over_n():
    """Nine blocks beside the head: i = 1, 2 | 3, 4 | 5, 6 | 7, 8, 9."""
    scores = block_scores(typed(every_block()), "blockwise")
    assert [s.block for s in scores] == LAYERS
    assert [s.quarter for s in scores] == [1, 1, 2, 2, 3, 3, 4, 4, 4, None]


def test_the_head_is_one_of_the_layers_that_surgical_tunes():
    """Ten of them: i = 1, 2 | 3 to 5 | 6, 7 | 8 to 10."""
    scores = block_scores(typed(every_block("surgical")), "surgical")
    assert [s.quarter for s in scores] == [1, 1, 2, 2, 2, 3, 3, 4, 4, 4]
    assert list(map(len, by_quarter(scores).values())) == [2, 3, 2, 3]


def test_a_block_has_the_accuracy_of_its_best_complete_trial():
    found = sweep(
        trial(0, "surgical", 0.4, "stem"),
        trial(1, "surgical", 0.3, "stem"),
        trial(2, "surgical", 0.1, "stem", status="PRUNED"),
        trial(3, "blockwise", 0.2, "stem"),
    )
    assert block_scores(typed(found), "surgical") == [BlockScore("stem", 0, 1, pytest.approx(0.7))]


def test_joined_layers_have_a_place_and_no_quarter_and_a_strange_one_neither():
    found = sweep(
        trial(0, "surgical", 0.4, "blocks.1+blocks.2"),
        trial(1, "surgical", 0.3, "stem"),
        trial(2, "surgical", 0.3, "elsewhere"),
    )
    scores = block_scores(typed(found), "surgical")
    assert [(s.block, s.place, s.quarter) for s in scores] == [
        ("stem", 0, 1),
        ("blocks.1+blocks.2", 2, None),
    ]


def test_the_baselines():
    expected = {"linear_probe": pytest.approx(0.65), "full": pytest.approx(0.7)}
    assert baseline_accuracies(typed(every_block())) == expected


def test_the_curve_goes_through_the_blocks_in_order_between_the_baselines():
    axes = draw_styled(figures.FIGURES["accuracy_by_block"], typed(every_block())).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == LAYERS
    curve = axes.lines[0]
    assert list(curve.get_ydata()) == pytest.approx([0.1 + 0.05 * n for n in range(10)])
    levels = [line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1]
    assert {round(level, 2) for level in levels} >= {0.65, 0.7}
    assert axes.get_title("left") == "blockwise · best: head"


def test_the_boxes_are_of_the_blocks_of_each_quarter():
    axes = draw_styled(figures.FIGURES["accuracy_by_quarter"], typed(every_block())).axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["Q1 (2)", "Q2 (2)", "Q3 (2)", "Q4 (3)"]
    medians = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2]
    assert medians == pytest.approx([0.125, 0.225, 0.325, 0.45])


def test_one_block_is_no_curve_and_three_are_no_boxes():
    one = sweep(trial(0, "surgical", 0.4, "stem"))
    assert draw_styled(figures.FIGURES["accuracy_by_block"], typed(one)) is None
    three = sweep(*(trial(n, "surgical", 0.4, LAYERS[n]) for n in range(3)))
    assert draw_styled(figures.FIGURES["accuracy_by_block"], typed(three)) is not None
    assert draw_styled(figures.FIGURES["accuracy_by_quarter"], typed(three)) is None


# --- by test accuracy ---------------------------------------------------------------------------


def test_where_every_block_was_confirmed_it_has_its_test_accuracy():
    found = sweep(
        trial(0, "surgical", 0.9, "stem"),
        trial(1, "surgical", 0.8, "head"),
        trial(2, "surgical", 0.1, "head"),
        trial(3, "full", 0.5),
    )
    found["confirm"] = [confirmed("surgical", "0002", 0.1, 0.3), confirmed("full", "0003", 0.4)]
    assert [s.tested for s in block_scores(typed(found), "surgical")] == [None, None]
    found["other_configurations"] = [
        confirmed("surgical", "0001", 0.7, 0.7),  # another rate of a block that has a better one
        confirmed("surgical", "0000", 0.5, 0.6),
    ]
    scores = block_scores(typed(found), "surgical")
    assert [(s.block, s.accuracy) for s in scores] == [
        ("stem", pytest.approx(0.45)),
        ("head", pytest.approx(0.8)),
    ]
    assert scores[1].tested == {0: 0.1, 1: 0.3}
    assert baseline_accuracies(typed(found), tested=True) == {"full": pytest.approx(0.6)}
    axes = draw_styled(figures.FIGURES["accuracy_by_block"], typed(found)).axes[0]
    assert axes.get_ylabel() == "test accuracy"
    # standard error of .1 and .3: .1414 / sqrt 2
    assert list(axes.lines[2].get_ydata()) == pytest.approx([0.7, 0.9])
