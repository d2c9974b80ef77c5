"""Losses side by side, and accuracy against the number of shots."""

import pytest
from results_kit import typed

from raysel.report import figures
from raysel.report.curves import shots_searched
from raysel.report.drawing import draw_styled
from raysel.report.tables import best_trials


def titles(figure):
    return [axes.get_title("left") for axes in figure.axes]


def test_training_and_validation_loss_stand_side_by_side(results):
    figure = draw_styled(figures.FIGURES["loss_by_epoch"], typed(results))
    assert titles(figure) == ["training loss", "validation loss", "test loss"]
    best = best_trials(typed(results))
    for axes, metric in zip(figure.axes, ("train/loss", "val/loss"), strict=False):
        drawn = [list(line.get_ydata()) for line in axes.lines]
        expected = [[row[metric] for row in trial.epochs] for trial in best.values()]
        assert sorted(drawn) == sorted(expected)


def test_the_test_loss_is_there_only_where_every_epoch_was_tested(results):
    for entry in results["confirm"]:
        for run in entry["runs"]:
            del run["test_curve"]
    figure = draw_styled(figures.FIGURES["loss_by_epoch"], typed(results))
    assert titles(figure) == ["training loss", "validation loss"]


def test_the_test_loss_is_the_mean_of_the_runs_at_the_epochs_that_all_have(results):
    results["confirm"] = [entry for entry in results["confirm"] if entry["strategy"] == "full"]
    (entry,) = results["confirm"]
    entry["runs"] = entry["runs"][:2]
    for run, losses in zip(entry["runs"], ([3.0, 2.0, 1.0], [5.0, 4.0, None]), strict=True):
        run["test_curve"] = [
            {"epoch": epoch, "error": 0.1, "loss": loss} for epoch, loss in enumerate(losses, 1)
        ]
    axes = draw_styled(figures.FIGURES["loss_by_epoch"], typed(results)).axes[2]
    (line,) = axes.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2], [4.0, 3.0])


def with_shots(number, shots, error):
    return {
        "id": f"{number:04d}",
        "number": number,
        "strategy": "full",
        "status": "COMPLETE",
        "value": error,
        "best_epoch": 1,
        "config": {"training": {"shots": shots}},
        "epochs": [{"epoch": 1, "val/error": error, "val/loss": 1.0}],
    }


def test_each_number_of_shots_has_its_best_trial(results):
    tried = [(5, 0.6), (5, 0.5), (1, 0.8), (50, 0.2), (50, 0.3)]
    trials = [with_shots(n, *one) for n, one in enumerate(tried)]
    pruned = with_shots(9, 5, 0.1) | {"status": "PRUNED"}
    results |= {"trials": [*trials, pruned], "confirm": []}
    found = shots_searched(typed(results))
    assert list(found) == ["full"]
    assert found["full"] == [(n, pytest.approx(a)) for n, a in ((1, 0.2), (5, 0.5), (50, 0.8))]
    axes = draw_styled(figures.FIGURES["accuracy_by_shots"], typed(results)).axes[0]
    assert list(axes.lines[0].get_xdata()) == [1, 5, 50]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "50"]


def test_one_number_of_shots_is_no_axis(results):
    results |= {"trials": [with_shots(n, 5, 0.5) for n in range(3)], "confirm": []}
    assert draw_styled(figures.FIGURES["accuracy_by_shots"], typed(results)) is None
    for trial in results["trials"]:
        trial["config"]["training"]["shots"] = None
    assert draw_styled(figures.FIGURES["accuracy_by_shots"], typed(results)) is None
