"""What is taken for what: read from the runs' files, shown for the winner."""

import numpy as np
import pytest
from results_kit import typed

from raysel.report import figures
from raysel.report.confusions import commonest_mistakes, measure_rows, read_confusions
from raysel.report.drawing import draw_styled
from raysel.report.page import write_report
from raysel.sweep.verdict import interval
from raysel.training.confusion import write_confusion

CLASSES = ("cat", "dog", "newt")
MATRIX = [[8, 2, 0], [5, 4, 1], [0, 0, 10]]


def test_the_matrices_of_a_strategys_runs_are_added_up(results, tmp_path):
    entry = results["confirm"][0]
    for run in entry["runs"][:2]:
        folder = tmp_path / run["id"]
        folder.mkdir()
        write_confusion(folder, MATRIX, CLASSES)
    found = read_confusions(typed(results), tmp_path)
    (one,) = found.values()
    assert list(found) == [entry["strategy"]] and one.classes == CLASSES
    assert np.array(one.matrix).tolist() == (2 * np.array(MATRIX)).tolist()


def test_the_commonest_mistakes_are_the_winners(results):
    winner = results["verdict"]["winner"]
    results["confusion"] = {winner: {"classes": list(CLASSES), "matrix": MATRIX}}
    reported = [(m.true, m.taken, m.count, m.share) for m in commonest_mistakes(typed(results))]
    assert reported == [("dog", "cat", 5, 0.5), ("cat", "dog", 2, 0.2), ("dog", "newt", 1, 0.1)]
    assert len(commonest_mistakes(typed(results), most=1)) == 1
    assert commonest_mistakes(typed(results | {"confusion": {}})) == []


def test_rows_are_shares_of_their_class(results):
    winner = results["verdict"]["winner"]
    results["confusion"] = {winner: {"classes": list(CLASSES), "matrix": MATRIX}}
    (axes,) = draw_styled(figures.FIGURES["confusions"], typed(results)).axes
    drawn = np.asarray(axes.images[0].get_array())
    assert drawn.tolist() == [[0.8, 0.2, 0.0], [0.5, 0.4, 0.1], [0.0, 0.0, 1.0]]
    texts = {tuple(map(int, reversed(t.get_position()))): t.get_text() for t in axes.texts}
    assert texts == {
        (0, 0): "80",
        (0, 1): "20",
        (1, 0): "50",
        (1, 1): "40",
        (1, 2): "10",
        (2, 2): "100",
    }


def test_many_classes_are_drawn_without_words_and_an_empty_one_does_no_harm(results):
    matrix = np.eye(40, dtype=int) * 3
    matrix[7] = 0
    names = [f"c{n}" for n in range(40)]
    results["confusion"] = {"full": {"classes": names, "matrix": matrix.tolist()}}
    with np.errstate(all="raise"):
        (axes,) = draw_styled(figures.FIGURES["confusions"], typed(results)).axes
    assert not axes.texts
    assert np.asarray(axes.images[0].get_array())[7].sum() == 0


def test_balanced_and_top_5_errors_are_reported_with_their_interval(results):
    rows = {row.strategy: row for row in measure_rows(typed(results))}
    assert measure_rows(typed(results))[0].strategy == results["verdict"]["winner"]
    runs = next(e["runs"] for e in results["confirm"] if e["strategy"] == "full")
    mean, _, high = interval([run["test/balanced_error"] for run in runs])
    assert rows["full"].balanced == f"{mean:.3f} ± {high - mean:.3f}"


def test_what_was_not_measured_for_each_run_is_a_dash(results):
    for entry in results["confirm"]:
        entry["runs"][0]["test/top5_error"] = None
    assert {row.top5 for row in measure_rows(typed(results))} == {"–"}
    for entry in results["confirm"]:
        for run in entry["runs"]:
            del run["test/balanced_error"]
    assert measure_rows(typed(results)) == []


@pytest.mark.parametrize("there", [True, False])
def test_the_page_shows_them_where_they_are(results, tmp_path, there, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {"confusions": figures.FIGURES["confusions"]})
    del results["confusion"]
    winner = results["verdict"]["winner"]
    if there:
        for entry in results["confirm"]:
            for run in entry["runs"]:
                folder = tmp_path / "trials" / run["id"]
                folder.mkdir(parents=True)
                write_confusion(folder, MATRIX, CLASSES)
    text = write_report(typed(results), tmp_path).read_text(encoding="utf-8")
    assert ("dog taken for cat" in text) is there
    assert ("taken for each class" in text) is there
    assert winner in text and "Balanced" in text
