"""Sweeps side by side: each figure where the sweeps hold what it compares."""

import re

import numpy as np
import pytest
from comparison_kit import compared
from results_kit import typed

from raysel.report import comparison
from raysel.report.compared import Compared, cell, ranking
from raysel.report.comparison import write_comparison
from raysel.report.drawing import draw_styled
from raysel.report.tables import confirm_rows


@pytest.fixture
def models(results) -> list[Compared]:
    """The same sweep over three models, of which the second likes its first layer best."""
    sweeps = []
    for name, wanted in {"a18": "layer4", "b50.x": "stem", "c121": "head"}.items():
        for number, trial in enumerate(results["trials"]):
            if trial["strategy"] == "surgical":
                trial |= {"status": "COMPLETE", "value": 0.4, "best_epoch": 1}
                error = 0.4 if name != "b50.x" else 0.6
                best = trial["config"]["parameters"]["block"] == wanted
                trial["epochs"][0]["val/error"] = 0.2 if best else error + number / 1000
        sweeps.append(compared(results, name, f"model.name={name}"))
    return sweeps


@pytest.fixture
def shots(results) -> list[Compared]:
    """The same sweep with 20, 1 and 5 examples a class."""
    return [compared(results, f"s{number}", f"task.split.shots={number}") for number in (20, 1, 5)]


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_each_model_stands_in_the_quarter_of_its_best_block(models):
    """Six layers: stem is i = 1, layer4 i = 5, head i = 6."""
    (axes,) = draw_styled(comparison.FIGURES["best_quarters"], models).axes
    assert texts(axes) == ["a18 (layer4)", "b50 (stem)", "c121 (head)"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["Q1: 1", "Q2: 0", "Q3: 0", "Q4: 2"]


def test_the_first_the_last_and_the_best_block_of_a_model_stand_in_its_row(models):
    (axes,) = draw_styled(comparison.FIGURES["blocks_by_model"], models).axes
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["a18", "b50.x", "c121"]
    marks = {(line.get_marker(), int(line.get_ydata()[0])): line for line in axes.lines}
    assert marks["o", 1].get_xdata()[0] == pytest.approx(0.8)
    assert marks["<", 1].get_xdata()[0] == pytest.approx(0.8)  # its stem is its best
    assert marks[">", 1].get_xdata()[0] < 0.5
    assert marks[">", 2].get_xdata()[0] == pytest.approx(0.8)  # the head


def test_all_blocks_of_all_models_stand_beside_both_baselines(models):
    (axes,) = draw_styled(comparison.FIGURES["quarters"], models).axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert [re.sub(r" \(.*", "", label) for label in labels] == [
        "Q1",
        "Q2",
        "Q3",
        "Q4",
        "BL1",
        "BL2",
    ]
    assert labels[0] == "Q1 (3)" and labels[1] == "Q2 (6)" and labels[5] == "BL2 (3)"


def test_one_model_on_several_data_has_its_cells_names_and_no_boxes(models, results):
    kinds = ("gaussian_noise", "label_flip")
    cells = [
        Compared(kind, models[0].results, compared(results, "x", f"task.shift.kind={kind}").spec)
        for kind in kinds
    ]
    (axes,) = draw_styled(comparison.FIGURES["best_quarters"], cells).axes
    assert texts(axes) == ["gaussian_noise (layer4)", "label_flip (layer4)"]
    assert draw_styled(comparison.FIGURES["quarters"], cells) is None


def test_test_accuracy_is_drawn_against_the_shots_in_their_order(shots):
    (axes,) = draw_styled(comparison.FIGURES["accuracy_by_shots"], shots).axes
    full = shots[0].confirmed["full"]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
    # beside one another, or their intervals would lie on one another
    assert all(np.allclose(line.get_xdata(), (1, 5, 20), rtol=0.1) for line in lines)
    assert len({line.get_xdata()[0] for line in lines}) == len(lines) > 1
    assert any(np.allclose(line.get_ydata(), 1 - full.mean) for line in lines)
    whiskers = [tuple(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 2]
    assert (1 - full.high, 1 - full.low) in whiskers


def test_layers_stand_by_strategy_in_a_panel_a_shift(results):
    kinds = ("gaussian_noise", "label_flip", "none")
    fewer = results | {"confirm": results["confirm"][:2]}
    contents = (results, fewer, results)
    sweeps = [
        compared(content, f"to_{kind}", f"task.shift.kind={kind}")
        for kind, content in zip(kinds, contents, strict=True)
    ]
    figure = draw_styled(comparison.FIGURES["weights_by_shift"], sweeps)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["gaussian_noise", "label_flip", "digits"]
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    grid = np.asarray(figure.axes[0].images[0].get_array())
    entry = next(e for e in results["confirm"] if e["strategy"] == "bvg_ls")
    expected = [entry["moved"][layer] for layer in results["layers"]]
    assert grid[rows.index("bvg_ls")].tolist() == expected
    missing = np.ma.filled(figure.axes[1].images[0].get_array(), np.nan)
    assert np.isnan(missing).any(axis=1).sum() == len(rows) - 2


def test_what_the_sweeps_do_not_hold_is_not_drawn(results, models, shots):
    assert draw_styled(comparison.FIGURES["accuracy_by_shots"], models) is None
    one = [compared(results, "one"), compared(results, "two", "task.split.shots=3")]
    assert draw_styled(comparison.FIGURES["accuracy_by_shots"], one) is None
    one[1] = compared(results | {"layers": ["stem", "head"]}, "two")
    assert draw_styled(comparison.FIGURES["weights_by_shift"], one) is None
    models = [compared(results | {"trials": []}, sweep.name) for sweep in models]
    assert draw_styled(comparison.FIGURES["best_quarters"], models) is None
    assert draw_styled(comparison.FIGURES["blocks_by_model"], models) is None
    assert draw_styled(comparison.FIGURES["quarters"], models) is None


def test_a_searched_number_of_shots_is_none_of_the_sweeps(results):
    axis = compared(results, "x", "training.shots={categorical: [1, 5]}", "task.split.shots=5")
    assert axis.shots is None
    assert compared(results, "x", "training.shots=2", "task.split.shots=5").shots == 2
    assert compared(results, "x", "task.split.shots=5").shots == 5


def test_ranks_are_means_over_the_sweeps_of_what_all_confirmed(results):
    del results["confirm"][3:]
    sweeps = []
    for name, errors in {"a": (0.1, 0.2, 0.3), "b": (0.3, 0.3, 0.1)}.items():
        for entry, error in zip(results["confirm"], errors, strict=True):
            entry["test_error"] = {"mean": error, "low": None, "high": None, "n": 1}
        sweeps.append(compared(results, name))
    names = [entry["strategy"] for entry in results["confirm"]]
    expected = dict(zip(names, ((1 + 2.5) / 2, (2 + 2.5) / 2, (3 + 1) / 2), strict=True))
    assert ranking(sweeps).mean == expected
    del results["confirm"][1]
    assert set(ranking([sweeps[0], compared(results, "b")]).mean) == {names[0], names[2]}


def ranked_alike(results, count: int, strategies: int = 3) -> list[Compared]:
    """Sweeps in which all strategies have the same order."""
    del results["confirm"][strategies:]
    sweeps = []
    for number in range(count):
        for place, entry in enumerate(results["confirm"]):
            entry["test_error"] = {"mean": 0.1 * (1 + place) + 0.01 * number, "n": 1}
        sweeps.append(compared(results, f"s{number}"))
    return sweeps


def test_ranks_have_a_critical_difference_from_five_sweeps_on(results):
    """Nemenyi: q(.05; 3) = 2.343 times sqrt(3 * 4 / (6 * 5)) (Demsar 2006, table 5)."""
    found = ranking(ranked_alike(results, 5))
    assert found.critical_difference == pytest.approx(2.343 * (12 / 30) ** 0.5, abs=1e-3)
    assert found.p_value == pytest.approx(np.exp(-5))  # chi squared of 10, two degrees
    assert found.lacks == ""
    first, second, third = found.mean
    assert found.distinguished(first) == [third]  # ranks 1 and 3 are 2 apart, 1 and 2 only 1
    assert found.distinguished(second) == []


@pytest.mark.parametrize(
    ("sweeps", "strategies", "words"),
    [
        (2, 3, "takes 5 sweeps: 3 more sweeps."),
        (4, 3, "takes 5 sweeps: one more sweep."),
        (5, 2, "takes 3 strategies that every sweep confirmed; here are 2."),
    ],
)
def test_what_a_critical_difference_lacks_is_said(results, sweeps, strategies, words):
    alike = ranked_alike(results, sweeps, strategies)
    found = ranking(alike)
    assert found.critical_difference is None and found.lacks.endswith(words)
    assert draw_styled(comparison.FIGURES["mean_ranks"], alike) is None
    assert words in comparison.page(alike, {})
    assert "<h2>Mean ranks</h2>" not in comparison.page(alike, {})


def test_bars_of_ranks_that_are_distinguished_do_not_overlap(results):
    sweeps = ranked_alike(results, 5)
    (axes,) = draw_styled(comparison.FIGURES["mean_ranks"], sweeps).axes
    bars = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    assert bars[0][1] < bars[2][0] and bars[0][1] > bars[1][0]
    page = comparison.page(sweeps, {"mean_ranks": "<svg></svg>"})
    assert "<h2>Mean ranks</h2>" in page and "of one data set and one model" in page
    other = [*sweeps[:4], compared(results, "other", "model.name=resnet18")]
    assert "of one data set and one model" not in comparison.page(other, {})


def test_the_tables_tell_each_sweep_and_each_strategy(results):
    sweep = compared(results, "digits", "task.split.shots=20")
    verdict = results["verdict"]
    assert (sweep.model, sweep.data, sweep.shots) == ("resnet10t", "digits, gaussian_noise 5", 20)
    assert sweep.difference.startswith(f"{100 * verdict['difference']:+.1f}".replace("-", "−"))
    row = next(row for row in confirm_rows(typed(results)) if row.strategy == "full")
    assert cell(sweep, "full") == row.test_error
    assert cell(sweep, verdict["winner"]).endswith(" ◂")
    assert cell(sweep, "auto_rgn") == "–"


def test_a_sweep_without_a_verdict_is_reported_so(results):
    sweep = compared(results | {"confirm": [], "verdict": {"outcome": "no_result"}}, "stopped")
    assert (sweep.difference, sweep.badge[1]) == ("–", "no result")


def test_the_page_and_its_pictures_are_written_whole(models, tmp_path):
    first = models[0].results
    hostile = first.confirm[0].model_copy(update={"strategy": "<script>x</script>"})
    first = first.model_copy(update={"confirm": (hostile, *first.confirm[1:])})
    models[0] = Compared(models[0].name, first, models[0].spec)
    index = write_comparison(models, tmp_path / "out")
    html = index.read_text(encoding="utf-8")
    assert "3 sweeps side by side" in html
    assert "<script>x" not in html and "&lt;script&gt;x" in html
    files = sorted(path.name for path in (tmp_path / "out").rglob("*.*"))
    drawn = ["best_quarters", "blocks_by_model", "quarters", "weights_by_shift"]
    assert files == sorted(["index.html", *(f"{name}.png" for name in drawn)])
    addresses = set(re.findall(r"https?://[^/\"]+", html))
    assert addresses <= {"http://www.w3.org"}  # the name spaces of SVG
