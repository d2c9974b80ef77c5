import pytest
from results_kit import typed

from raysel.report import tables

LAYERS = ["stem", "layer1", "layer2", "layer3", "layer4", "head"]


@pytest.mark.parametrize(
    ("moved", "words"),
    [
        (dict.fromkeys(LAYERS, 1.0), "all 6"),
        ({**dict.fromkeys(LAYERS, 0.118), "stem": 0.41}, "all 6 (stem 41 %)"),
        ({**dict.fromkeys(LAYERS, 0.0), "stem": 1.0}, "stem"),
        ({"head": 0.5}, "head (50 %)"),
        ({"layer4": 1.0, "head": 1.0}, "layer4 + head"),
        ({"head": 1.0, "layer4": 0.5}, "layer4 + head (head 100 %)"),
        ({"stem": 0.2, "layer1": 0.3, "layer2": 0.2, "head": 0.3}, "4 of 6 (layer1 30 %)"),
        (dict.fromkeys(LAYERS, 0.0), "none"),
        ({}, "none"),
    ],
)
def test_layers_in_words(moved, words):
    assert tables.layers_in_words(moved, LAYERS) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.41, "41 %"),
        (0.0059, "0.6 %"),
        (0.00001, "<0.1 %"),
        (0.996, "99.6 %"),
        (0.99999, ">99.9 %"),
    ],
)
def test_percent_never_rounds_something_to_nothing_or_all(share, words):
    assert tables.percent(share) == words


def test_plus_minus_shows_the_half_width():
    assert tables.plus_minus(0.251, 0.263) == "0.251 ± 0.012"
    assert tables.plus_minus(0.251, None) == "0.251"
    assert tables.plus_minus(None, None) == "–"


def test_search_rows_count_every_trial_once(results):
    rows = tables.search_rows(typed(results))
    counted = sum(row.done + row.pruned + row.failed + row.interrupted for row in rows)
    assert counted == len(results["trials"]) == 40
    assert sum(row.failed for row in rows) == 1
    assert [row.best for row in rows] == sorted(row.best for row in rows)


def test_best_is_of_complete_trials_only(results):
    bvg = [t for t in results["trials"] if t["strategy"] == "bvg_ls"]
    pruned = next(t for t in bvg if t["status"] != "COMPLETE")
    pruned["value"] = 0.001
    row = next(row for row in tables.search_rows(typed(results)) if row.strategy == "bvg_ls")
    assert row.best == min(t["value"] for t in bvg if t["status"] == "COMPLETE")
    assert row.with_values.startswith("learning_rate 0.0")
    assert ", ema_decay 0." in row.with_values


def test_a_strategy_without_a_complete_trial_stands_last(results):
    for trial in results["trials"]:
        if trial["strategy"] == "bvg_ls":
            trial["status"], trial["value"] = "FAILED", None
    row = tables.search_rows(typed(results))[-1]
    assert (row.strategy, row.best, row.done, row.with_values) == ("bvg_ls", None, 0, "")


def test_confirm_rows_begin_with_the_winner_and_follow_validation_error(results):
    rows = tables.confirm_rows(typed(results))
    assert rows[0].winner
    assert rows[0].strategy == results["verdict"]["winner"]
    errors = [row.validation for row in rows]
    assert errors == sorted(errors)
    assert not any(row.winner for row in rows[1:])
    assert all(len(row.tests) == row.n == 5 for row in rows)


def test_confirm_row_in_words(results):
    rows = {row.strategy: row for row in tables.confirm_rows(typed(results))}
    assert rows["linear_probe"].layers == "head"
    assert rows["linear_probe"].parameters == "0.1 %"
    assert rows["full"].layers == "all 6"
    assert rows["full"].parameters == "100 %"
    test = results["confirm"][0]["test_error"]
    assert rows["full"].test_error == f"{test['mean']:.3f} ± {test['high'] - test['mean']:.3f}"


def test_transient_note_above_a_fifth_only(results):
    best = next(
        trial
        for trial in results["trials"]
        if trial["id"] == tables.best_trials(typed(results))["bvg_ls"].id
    )
    for trial in results["trials"]:
        for epoch in trial["epochs"]:
            epoch.pop("select/transient_share", None)
    assert tables.transient_notes(typed(results)) == []
    for epoch in best["epochs"]:
        epoch["select/transient_share"] = 0.20
    assert tables.transient_notes(typed(results)) == []
    best["epochs"][0]["select/transient_share"] = 0.35  # 15 epochs: the mean is now 21 %
    (note,) = tables.transient_notes(typed(results))
    assert note.startswith("bvg_ls: in 21 % of the steps")
    assert "ema_init: debiased" in note


def test_nothing_found_gives_empty_tables(results):
    results |= {"trials": [], "confirm": [], "verdict": {}}
    assert tables.search_rows(typed(results)) == []
    assert tables.confirm_rows(typed(results)) == []
    assert tables.transient_notes(typed(results)) == []


def test_not_finite_is_no_number():
    assert [tables.finite(v) for v in (float("nan"), float("inf"), None, "1", True, 2)] == [
        None,
        None,
        None,
        None,
        None,
        2.0,
    ]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, 0.1, 0.5, 0.2, 0.3, 0.4], "all 6 (0.1 to 1, most stem)"),
        ([0.004, 3.2, 0.5, 0.2, 0.3, 0.4], "all 6 (0.004 to 3.2, most layer1)"),
        ([1.0] * 6, "all 6"),
        ([0.5] * 6, "all 6 (weight 0.5)"),
        ([0.0, 0.0, 0.25, 1.0, 0.0, 0.0], "2 of 6 (0.25 to 1, most layer3)"),
        ([0.0] * 6, "none"),
    ],
)
def test_weights_of_learning_rates_are_not_reported_as_shares_of_steps(results, weights, words):
    moved = dict(zip(results["layers"], weights, strict=True))
    results["confirm"][0] |= {"moved": moved, "moved_is": "weight"}
    strategy = results["confirm"][0]["strategy"]
    row = next(row for row in tables.confirm_rows(typed(results)) if row.strategy == strategy)
    assert row.layers == words


def test_the_best_complete_trial_is_no_pruned_one(results):
    for trial in results["trials"]:
        if trial["strategy"] == "bvg_ls":
            trial |= {"status": "PRUNED", "value": 0.3}
    row = next(row for row in tables.search_rows(typed(results)) if row.strategy == "bvg_ls")
    assert (row.done, row.best, row.best_trial, row.with_values) == (0, None, None, "")
    assert row.pruned == 8


def test_seeds_that_are_all_alike_have_no_interval():
    assert tables.plus_minus(0.25, 0.25) == "0.250 each"
