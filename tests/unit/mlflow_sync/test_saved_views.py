"""The saved views as MLflow's page reads them: an experiment's tags."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from raysel.mlflow_sync.saved_views import saved_views
from raysel.record.state import SweepState
from raysel.spec.reader import parse

FILE = """
name: digits
task: {data: digits}
model: {name: test_resnet, weights: random}
training: {learning_rate: {float: [0.001, 0.1], log: true}, epochs: 5, weight_decay: 0.0}
strategies: {full: , surgical: {block: search}, bvg_ls: {ema_decay: {float: [0.5, 0.9]}}}
"""
SWEEP = SweepState(
    id="digits-1a",
    name="digits",
    metric="val/error",
    spec=parse(FILE).to_yaml(),
    layers=("stem", "layer1", "head"),
    started_at=12.5,
)


def views(sweep: SweepState = SWEEP, experiment: str = "digits") -> dict[str, dict[str, Any]]:
    """id -> the state of the page, unpacked as MLflow does it."""
    found = {}
    for tag, text in saved_views(sweep, experiment).items():
        view = json.loads(text)
        assert view["createdAt"] == 12_500
        state = json.loads(
            zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;")))
        )
        found[tag.removeprefix("mlflow.sharedViewState.")] = {"name": view["name"], **state}
    return found


def metrics(view: dict[str, Any]) -> list[str]:
    return [chart.get("metricKey", chart["type"]) for chart in view["compareRunCharts"]]


def test_there_are_four_with_fixed_ids_and_names():
    assert {key: view["name"] for key, view in views().items()} == {
        "raysel-trials": "Trials",
        "raysel-confirmed": "Confirmed",
        "raysel-curves": "Curves",
        "raysel-layers": "Layers",
    }


def test_trials_are_sorted_by_the_best_objective_with_what_is_searched_beside():
    view = views()["raysel-trials"]
    assert view["searchFilter"] == (
        "tags.`raysel.phase` = 'search' AND tags.`raysel.sweep_id` = 'digits-1a'"
    )
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`best/val_error`", True)
    assert view["groupBy"] is None
    assert view["selectedColumns"] == [
        "params.`strategy`",
        "metrics.`best/val_error`",
        "params.`surgical.block`",
        "params.`training.learning_rate`",
        "tags.`raysel.epochs`",
        "tags.`raysel.status`",
    ]


def test_confirm_runs_are_taken_together_by_strategy_a_row_each():
    view = views()["raysel-confirmed"]
    assert "'confirm'" in view["searchFilter"]
    assert view["orderByKey"] == "metrics.`test/error`"
    keys = [{"mode": "param", "groupByData": "strategy"}]
    assert view["groupBy"] == {"aggregateFunction": "average", "groupByKeys": keys}
    arms = ("full", "linear_probe", "surgical", "bvg_ls")
    assert view["groupsExpanded"] == {f"param.strategy.{arm}": False for arm in arms}
    assert metrics(view) == ["test/error", "best/val_error"]


def test_curves_and_layers_have_a_chart_for_each():
    found = views()
    assert metrics(found["raysel-curves"]) == ["val/error", "val/loss", "train/loss"]
    assert metrics(found["raysel-layers"]) == [
        *("select/stem", "select/layer1", "select/head"),
        *("score/stem", "score/layer1", "score/head"),
    ]


def test_every_chart_lies_in_a_section_that_is_open_and_mlflows_own_are_closed():
    for view in views().values():
        shown = {s["uuid"]: s["display"] for s in view["compareRunSections"]}
        assert all(shown[chart["metricSectionId"]] for chart in view["compareRunCharts"])
        names = {s["name"] for s in view["compareRunSections"] if not s["display"]}
        assert {"train", "val", "cost", "select", "score", "test"} <= names
        assert view["isAccordionReordered"]  # else they are sorted by name, ours among them
        uuids = [chart["uuid"] for chart in view["compareRunCharts"]]
        assert len(set(uuids)) == len(uuids)


def test_another_objective_has_its_own_key():
    view = views(replace(SWEEP, metric="val/balanced_error"))["raysel-trials"]
    assert view["orderByKey"] == "metrics.`best/val_balanced_error`"


def test_the_cells_of_a_suite_are_shown_together_each_row_with_its_cell():
    found = views(replace(SWEEP, name="study/pets-resnet"), experiment="study")
    for view in found.values():
        assert "sweep_id" not in view["searchFilter"]
    assert found["raysel-trials"]["selectedColumns"][0] == "tags.`raysel.cell`"
    keys = found["raysel-confirmed"]["groupBy"]["groupByKeys"]
    assert [key["groupByData"] for key in keys] == ["raysel.cell", "strategy"]


def test_an_experiment_that_several_sweeps_share_shows_them_all():
    assert "sweep_id" not in views(experiment="ours")["raysel-trials"]["searchFilter"]


@pytest.mark.parametrize("layers", [150, 3000])
def test_layers_are_left_out_where_a_tag_has_no_room_for_more(layers):
    sweep = replace(SWEEP, layers=tuple(f"blocks.{n}.attn.qkv" for n in range(layers)))
    tag = saved_views(sweep, "digits")["mlflow.sharedViewState.raysel-layers"]
    assert len(tag) <= 5000
    keys = metrics(views(sweep)["raysel-layers"])
    assert keys[0] == "select/blocks.0.attn.qkv"
    assert 20 <= len(keys) < 2 * layers


def test_a_file_that_this_version_does_not_know_has_its_views_too():
    columns = views(replace(SWEEP, spec="camera: 3\n"))["raysel-trials"]["selectedColumns"]
    assert "params.`training.learning_rate`" in columns
