import math
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from results_kit import typed

from raysel.report import drawing, figures
from raysel.report.drawing import draw_styled, legend, save_png, to_svg

PANELS = {
    "error_by_epoch": 5,
    "heat_maps": 5,
    "confirm_intervals": 1,
    "explored": 1,
    "bias_variance_ratios": 5,
    "gradient_norms": 5,
    "parameter_changes": 5,
    "cost_against_error": 3,
    "search_front": 1,
    "importances": 2,
}


@pytest.mark.parametrize("name", PANELS)
def test_a_figure_has_a_panel_for_each_of_what_it_shows(figure_of, name):
    assert sum(axes.get_visible() for axes in figure_of(name).axes) == PANELS[name]


@pytest.mark.parametrize("name", figures.FIGURES)
def test_nothing_to_draw_is_none(results, name):
    results |= {"trials": [], "confirm": [], "confusion": {}, "importance": []}
    results |= {"verdict": {}, "effort": []}
    assert draw_styled(figures.FIGURES[name], typed(results)) is None


def test_every_figure_is_drawn_from_a_complete_sweep(figure_of):
    assert all(figure_of(name) is not None for name in figures.FIGURES)


def test_a_picture_is_written_whole(figure_of, tmp_path):
    path = save_png(figure_of("explored"), tmp_path / "explored.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no half file left


def test_the_intervals_drawn_are_those_of_the_results(results, figure_of):
    axes = figure_of("confirm_intervals").axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    drawn = {
        labels[int(line.get_ydata()[0])].removesuffix(" ◂"): tuple(line.get_xdata())
        for line in axes.lines
        if len(line.get_xdata()) == 2
    }
    expected = {
        e["strategy"]: (e["test_error"]["low"], e["test_error"]["high"]) for e in results["confirm"]
    }
    assert drawn == expected
    assert labels[0] == f"{results['verdict']['winner']} ◂"


def test_the_line_of_a_panel_joins_what_no_other_strategy_beats_in_its_two_numbers(results):
    seconds = {"full": 3.0, "linear_probe": 1.0, "surgical": 2.0, "bvg_ls": 4.0}
    errors = {"full": 0.5, "linear_probe": 0.6, "surgical": 0.4, "bvg_ls": 0.3}
    for entry in results["confirm"]:
        entry["seconds"] = seconds.get(entry["strategy"], 2.5)
        entry["test_error"] = {"mean": errors.get(entry["strategy"], 0.45), "n": 1}
    axes = draw_styled(figures.FIGURES["cost_against_error"], typed(results)).axes[2]
    (front,) = [line for line in axes.lines if len(line.get_xdata()) > 1]
    assert list(front.get_xdata()) == [1.0, 2.0, 4.0]
    assert list(front.get_ydata()) == [0.6, 0.4, 0.3]


def test_the_bars_of_what_mattered_are_the_shares(results, figure_of):
    figure = figure_of("importances")
    everything, own = figure.axes
    assert [bar.get_width() for bar in everything.patches] == [0.7, 0.3]
    assert [label.get_text() for label in own.get_yticklabels()] == ["ema decay", "learning rate"]
    assert own.get_title(loc="left") == "bvg_ls · 20 trials"


def test_one_seed_is_drawn_without_an_interval(results):
    for entry in results["confirm"]:
        entry["runs"] = entry["runs"][:1]
        entry["test_error"] |= {"low": None, "high": None, "n": 1}
    axes = draw_styled(figures.FIGURES["confirm_intervals"], typed(results)).axes[0]
    assert all(len(line.get_xdata()) == 1 for line in axes.lines)


def test_the_best_trial_is_the_thick_curve(results, figure_of):
    best = min(
        (t for t in results["trials"] if t["strategy"] == "surgical" and t["status"] == "COMPLETE"),
        key=lambda t: t["value"],
    )
    figure = figure_of("error_by_epoch")
    panel = next(a for a in figure.axes if a.get_title("left").startswith("surgical"))
    thick = max(panel.lines, key=lambda line: line.get_linewidth())
    assert list(thick.get_ydata()) == [epoch["val/error"] for epoch in best["epochs"]]
    assert panel.get_title("left") == f"surgical · trial {best['id']}"


def test_heat_map_is_layer_by_epoch_in_forward_order(results, figure_of):
    figure = figure_of("heat_maps")
    panel = next(a for a in figure.axes if a.get_title("left").startswith("linear_probe"))
    grid = np.asarray(panel.images[0].get_array())
    assert grid.shape == (6, 15)
    assert grid[5].tolist() == [1.0] * 15
    assert grid[:5].sum() == 0


def test_transient_share_is_not_a_layer_even_with_a_finer_partition(results):
    for trial in results["trials"]:
        for epoch in trial["epochs"]:
            for layer in results["layers"]:
                epoch[f"select/{layer}.weight"] = epoch.pop(f"select/{layer}")
    figure = draw_styled(figures.FIGURES["heat_maps"], typed(results))
    panel = next(a for a in figure.axes if a.get_title("left").startswith("bvg_ls ·"))
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == [f"{layer}.weight" for layer in results["layers"]]


def test_a_value_that_is_not_finite_is_a_gap_and_no_error(results):
    for trial in results["trials"]:
        trial["epochs"][0]["val/error"] = math.nan
        trial["epochs"][0]["select/stem"] = None
    with np.errstate(all="raise"):
        for name in figures.FIGURES:
            assert draw_styled(figures.FIGURES[name], typed(results)) is not None


@pytest.mark.parametrize(
    ("figure", "prefix"),
    [
        ("bias_variance_ratios", "ratio/"),
        ("gradient_norms", "rgn/"),
        ("parameter_changes", "change/"),
    ],
)
def test_a_diagnostic_is_drawn_as_it_was_measured(results, figure_of, figure, prefix):
    axes = figure_of(figure).axes[0]
    trial = next(t for t in results["trials"] if axes.get_title("left").endswith(t["id"]))
    grid = np.asarray(axes.images[0].get_array())
    measured = [[epoch[prefix + name] for epoch in trial["epochs"]] for name in results["layers"]]
    assert grid.shape == (6, 15)
    assert grid.tolist() == measured


def test_a_measured_value_below_the_scale_is_drawn_as_its_lowest_and_zero_as_nothing(results):
    for trial in results["trials"]:
        trial["epochs"][0] |= {"rgn/stem": 1e-9, "rgn/head": 0.0}
    axes = draw_styled(figures.FIGURES["gradient_norms"], typed(results)).axes[0]
    grid, norm = np.asarray(axes.images[0].get_array()), axes.images[0].norm
    assert grid[0, 0] == pytest.approx(grid.max() / 1000)
    assert norm(grid[0, 0]) > 0
    assert grid[5, 0] == 0


def test_what_was_not_measured_is_not_drawn(results):
    for trial in results["trials"]:
        for epoch in trial["epochs"]:
            for name in results["layers"]:
                del epoch[f"ratio/{name}"]
    assert draw_styled(figures.FIGURES["bias_variance_ratios"], typed(results)) is None
    assert draw_styled(figures.FIGURES["gradient_norms"], typed(results)) is not None


def test_a_diagnostic_without_a_positive_value_is_not_drawn(results):
    for trial in results["trials"]:
        for epoch in trial["epochs"]:
            epoch |= {f"change/{name}": 0.0 for name in results["layers"]}
    assert draw_styled(figures.FIGURES["parameter_changes"], typed(results)) is None


def test_weights_are_numbers_and_shares_are_percent(results):
    results["confirm"][0] |= {"moved_is": "weight", "moved": dict.fromkeys(results["layers"], 1.5)}
    strategy = results["confirm"][0]["strategy"]
    axes = draw_styled(figures.FIGURES["update_share"], typed(results)).axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    texts = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts}
    assert texts[rows.index(strategy), 0] == "1.5"
    assert texts[rows.index("linear_probe"), 5] == "100 %"


def test_update_share_falls_back_on_the_best_trial(results):
    results["confirm"] = []
    axes = draw_styled(figures.FIGURES["update_share"], typed(results)).axes[0]
    grid = np.asarray(axes.images[0].get_array())
    row = [label.get_text() for label in axes.get_yticklabels()].index("full")
    assert grid[row].tolist() == [1.0] * 6


def test_a_strategy_has_one_colour_in_every_figure_and_full_its_own():
    few, many = drawing.styles(["full", "bvg_ls"]), drawing.styles([f"s{i}" for i in range(16)])
    assert few["full"].light != few["bvg_ls"].light
    assert drawing.styles(["bvg_ls", "full"]) == few
    assert len({(style.light, style.marker) for style in many.values()}) == 16


def test_svg_takes_its_colours_from_the_page(results, figure_of):
    svg = to_svg(figure_of("error_by_epoch"), "error_by_epoch")
    variables = set(re.findall(r"var\((--c[0-9a-f]{6})", svg))
    assert variables
    assert variables <= {variable for variable, _, _ in drawing.css()}
    assert "var(--ink" in svg
    assert "<style" not in svg


def test_a_dollar_or_a_tag_in_a_name_is_text(results):
    hostile = r"$\nope$ <script>x</script>--><b>"
    for entry in [*results["trials"], *results["confirm"]]:
        entry["strategy"] = hostile if entry["strategy"] == "bvg_ls" else entry["strategy"]
    for name in ("confirm_intervals", "heat_maps", "explored"):
        svg = to_svg(draw_styled(figures.FIGURES[name], typed(results)), name)
        assert "<script" not in svg
        assert "&lt;script&gt;" in svg


def test_a_pruned_trial_is_drawn_with_its_last_value(results):
    pruned = next(t for t in results["trials"] if t["status"] == "PRUNED")
    for epoch, error in zip(pruned["epochs"], (0.5, 0.3, 0.7), strict=False):
        epoch["val/error"] = error
    pruned["value"] = 0.3
    pruned["epochs"] = pruned["epochs"][:3]
    rate = pruned["config"]["training"]["learning_rate"]
    (axes,) = figures.explored(typed(results)).axes
    drawn = [y for line in axes.lines for x, y in line.get_xydata() if x == rate]
    assert drawn == [0.7]


def test_a_trial_that_failed_or_was_stopped_is_not_drawn_as_pruned(results):
    results["trials"] = [t for t in results["trials"] if t["status"] == "COMPLETE"]
    results["trials"][0] |= {"status": "INTERRUPTED"}
    figure = figures.explored(typed(results))
    drawn = sum(len(line.get_xdata()) for line in figure.axes[0].lines)
    assert drawn == len(results["trials"]) - 1
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert not any("pruned" in label for label in labels)


def test_the_keys_of_many_lines_stay_within_the_figure():
    names = [f"a model of a long name {n}, digits, gaussian_noise {n}" for n in range(9)]
    figure = Figure((7, 3), layout="constrained")
    axes = figure.subplots()
    legend(figure, [Line2D([], [], label=name) for name in names], "outside lower right")
    figure.draw_without_rendering()
    (keys,) = figure.legends
    extent = keys.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.width
    assert extent.y1 <= axes.get_window_extent().y0
    assert axes.get_window_extent().height > 0.6 * 3 * figure.dpi


def test_a_panel_says_that_its_best_trial_was_pruned(results):
    for trial in results["trials"]:
        if trial["strategy"] == "bvg_ls" and trial["status"] == "COMPLETE":
            trial["status"] = "PRUNED"
    titles = [axes.get_title() for axes in figures.heat_maps(typed(results)).axes]
    assert any(t.startswith("bvg_ls · trial") and t.endswith(", pruned") for t in titles)
    assert not any(t.startswith("full") and t.endswith(", pruned") for t in titles)
