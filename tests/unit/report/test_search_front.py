"""The Pareto front of a search: rows, table and figure."""

from results_kit import typed

from raysel.report import figures, page
from raysel.report.drawing import draw_styled
from raysel.report.search_front import front_rows, front_table, objective_value


def test_rows_go_from_the_best_by_the_metric_to_the_cheapest(results):
    rows = front_rows(typed(results))
    assert len(rows) > 2
    assert {row.trial for row in rows} == set(results["pareto_front"])
    errors = [float(row.reached[0]) for row in rows]
    seconds = [float(row.reached[1]) for row in rows]
    assert errors == sorted(errors) and seconds == sorted(seconds, reverse=True)


def test_what_was_confirmed_has_its_test_error(results):
    front = results["pareto_front"]
    for entry in results["confirm"]:
        entry["trial"] = None
    results["confirm"][0] |= {"trial": front[0], "test_error": {"mean": 0.25, "n": 1}}
    rows = {row.trial: row.test_error for row in front_rows(typed(results))}
    assert rows.pop(front[0]) == "0.250"
    assert set(rows.values()) == {"–"}


def test_the_table_has_the_values_of_the_results(results):
    table = front_table(typed(results))
    assert table is not None
    values = {trial["id"]: trial.get("values") for trial in results["trials"]}
    for record in table.records:
        assert {name: record[name] for name in ("val/error", "cost/seconds")} == values[
            record["trial"]
        ]


def test_the_figure_fills_the_front_and_leaves_out_what_was_pruned(results):
    (axes,) = draw_styled(figures.FIGURES["search_front"], typed(results)).axes
    groups = [line for line in axes.lines if line.get_marker() != "None"]
    complete = [trial for trial in results["trials"] if trial["status"] == "COMPLETE"]
    filled = [line for line in groups if line.get_markerfacecolor() != "none"]
    shown, best = (sum(len(g.get_xdata()) for g in some) for some in (groups, filled))
    assert shown == len(complete) and best == len(results["pareto_front"])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("seconds a trial", "validation error")


def test_one_objective_has_no_front(results):
    results["objective"] = {"metric": "val/error", "mode": "min"}
    results["pareto_front"] = []
    one = typed(results)
    assert front_rows(one) == [] and front_table(one) is None
    assert draw_styled(figures.FIGURES["search_front"], one) is None
    assert "Pareto front" not in page.page(one, {})


def test_objectives_are_shown_as_what_they_are():
    assert objective_value("val/error", 0.12345) == "0.123"
    assert objective_value("cost/seconds", 61.234) == "61.2"
    assert objective_value("cost/updated_params", 4.9e6) == "4,900,000"
