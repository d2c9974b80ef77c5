"""Saved views of MLflow's page of runs: a sweep is read without a click.

MLflow (from 3.16 on) keeps such a view as an experiment's tag `mlflow.sharedViewState.<id>`: JSON
of a name and of the page's state, that state as zlib in base64 behind `deflate;`. It stands in
the menu "Views", and `viewStateShareKey=<id>` in the address opens it. A server that does not
know them has four tags more.

MLflow draws a chart of its own for every metric that has none, in the section that is named by
what stands before the metric's last slash. A view therefore lists these sections too, closed and
below its own.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from raysel.common.errors import UserError
from raysel.common.tracking_uri import TRIALS_VIEW
from raysel.mlflow_sync.runs import best_key, milliseconds
from raysel.record.state import SweepState
from raysel.spec.arms import BASELINES, arm_with_model
from raysel.spec.reader import parse_resolved
from raysel.spec.sweep import Spec
from raysel.spec.values import SEARCH, Distribution

TAG = "mlflow.sharedViewState."

_MOST_CHARACTERS = 5000
"""Of an experiment's tag, as MLflow's own stores have it."""

_OWN = "raysel"
"""The section of a view's own charts."""

_CLOSED = (
    *("best", "train", "val", "cost", "select", "score", "test", "confirm", "confirm/distance"),
    *("confirmed", "Model metrics", "System metrics"),
)
"""Sections of MLflow's own charts, closed."""

_RATE = "params.`training.learning_rate`"
_STRATEGY, _STATUS, _EPOCHS = "params.`strategy`", "tags.`raysel.status`", "tags.`raysel.epochs`"
_CELL = "tags.`raysel.cell`"
_MOST_CHARTS = 200
"""In a section."""

_MOST_RUNS = 100
"""Drawn in a chart of runs."""

_MOST_GROUPS = 30
"""Lines in a chart of lines; a sweep has fewer strategies."""


@dataclass(frozen=True)
class _View:
    """One view.

    Attributes:
        runs: a filter of MLflow's.
        order: what the rows are sorted by, the smallest first. MLflow shows children without their
            parents when runs are sorted by a metric.
        columns: in their order.
        sections: title -> its charts.
        by: the parameter or tag by which runs are taken together, as `param` or `tag` and its name.
        closed: groups of which one row is shown, with the means of its runs.
    """

    id: str
    name: str
    runs: str
    order: str
    columns: Sequence[str]
    sections: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    by: tuple[tuple[str, str], ...] = ()
    closed: Sequence[str] = ()


def saved_views(sweep: SweepState, experiment: str) -> dict[str, str]:
    """The four views as tags of an experiment: their names and contents.

    Of a sweep that has an experiment of its own its runs alone are shown; where several share one
    (the cells of a suite, `tracking.experiment`), those of all.

    Args:
        sweep: its layers, its objective and its file are looked at.
        experiment: the experiment's name.
    """
    made = milliseconds(sweep.started_at or 0.0)
    views = _views(sweep, experiment)
    return {f"{TAG}{view.id}": _content(view, made) for view in views}


def _views(sweep: SweepState, experiment: str) -> Iterator[_View]:
    in_suite = "/" in sweep.name
    spec = _spec(sweep)
    own = experiment == sweep.name
    of_sweep = f" AND tags.`raysel.sweep_id` = '{sweep.id}'" if own else ""
    search = f"tags.`raysel.phase` = 'search'{of_sweep}"
    confirm = f"tags.`raysel.phase` = 'confirm'{of_sweep}"
    best = best_key(sweep.metric)
    cell = (_CELL,) if in_suite else ()
    by = (("tag", "raysel.cell"), ("param", "strategy")) if in_suite else (("param", "strategy"),)
    searched = _searched(spec)
    grouped = (f"metrics.`{best}`", _EPOCHS, _STATUS)
    groups = () if in_suite else _groups(spec)
    yield _View(
        TRIALS_VIEW,
        "Trials",
        search,
        best,
        (*cell, _STRATEGY, f"metrics.`{best}`", *searched, _EPOCHS, _STATUS),
        {
            "Search": [
                _bars(best),
                _scatter("training.learning_rate", best),
                _parallel(["strategy", "training.learning_rate"], [best]),
            ]
        },
    )
    yield _View(
        "raysel-confirmed",
        "Confirmed",
        confirm,
        "test/error",
        ("metrics.`test/error`", f"metrics.`{best}`", *searched),
        {"Confirmed": [_bars("test/error"), _bars(best)]},
        by,
        groups,
    )
    yield _View(
        "raysel-curves",
        "Curves",
        search,
        best,
        grouped,
        {"By epoch": [_lines(key) for key in ("val/error", "val/loss", "train/loss")]},
        by,
        groups,
    )
    yield _View(
        "raysel-layers",
        "Layers",
        search,
        best,
        grouped,
        {
            "How often a layer moved": [_lines(f"select/{name}") for name in sweep.layers],
            "Score of a layer": [_lines(f"score/{name}") for name in sweep.layers],
        },
        by,
        groups,
    )


def _spec(sweep: SweepState) -> Spec | None:
    """The sweep's file; None of a version with other keys."""
    try:
        return parse_resolved(sweep.spec)
    except UserError:
        return None


def _groups(spec: Spec | None) -> tuple[str, ...]:
    """MLflow's names of the groups of runs of one strategy."""
    arms = dict.fromkeys((*BASELINES, *(spec.strategies if spec else ())))
    return tuple(f"param.strategy.{name}" for arm in arms for name in _names(arm, spec))


def _names(arm: str, spec: Spec | None) -> list[str]:
    """An arm's names: with each of several models one, unless it is one model's."""
    if spec is None or len(spec.model.names) == 1:
        return [arm]
    own = spec.strategies.get(arm)
    if own is not None and own.model is not None:
        return [arm]
    return [arm_with_model(arm, model) for model in spec.model.names]


def _searched(spec: Spec | None) -> tuple[str, ...]:
    """Columns of what the sweep searches. MLflow sorts them by name, and a run's name has all of a
    strategy's own values: of these the block alone, which follows the strategy."""
    names = _searched_names(spec) if spec else ()
    columns = [f"params.`{name}`" for name in names if name.startswith("training.")]
    blocks = [f"params.`{name}`" for name in names if name.endswith(".block")]
    return tuple(dict.fromkeys((*blocks, _RATE, *columns)))


def _searched_names(spec: Spec) -> list[str]:
    """Parameters of MLflow's runs that differ within a strategy."""
    found = []
    settings = [spec.training, *(arm.training for arm in spec.strategies.values())]
    for given in settings:
        if isinstance(given, BaseModel):
            for name in type(given).model_fields:
                if isinstance(getattr(given, name), Distribution):
                    found.append(f"training.{name}")
    for arm, its in spec.strategies.items():
        for name, value in its.parameters.items():
            if isinstance(value, Distribution) or value == SEARCH:
                found += [f"{own}.{name}" for own in _names(arm, spec)]
    return found


def _content(view: _View, made: int) -> str:
    """A view as the tag's text. Of more layers than the tag has room for the last are left out."""
    most = min(max(map(len, view.sections.values()), default=0), _MOST_CHARTS)
    while True:
        state = json.dumps(_state(view, most))
        packed = base64.b64encode(zlib.compress(state.encode(), 9)).decode()
        text = json.dumps({"name": view.name, "createdAt": made, "state": f"deflate;{packed}"})
        if len(text) <= _MOST_CHARACTERS or not most:
            return text
        most = most * 9 // 10


def _state(view: _View, most: int) -> dict[str, Any]:
    """The state of the page with at most so many charts a section."""
    charts: list[dict[str, Any]] = []
    sections: list[dict[str, Any]] = []
    for number, (title, its) in enumerate(view.sections.items()):
        section = f"{_OWN}-{number}"
        sections.append(_section(section, title, shown=True))
        for chart in its[:most]:
            uuid = f"{section}-{len(charts)}"
            charts.append({"uuid": uuid, "metricSectionId": section, **_ALWAYS, **chart})
    sections += [_section(f"closed-{name}", name, shown=False) for name in _CLOSED]
    keys = [{"mode": mode, "groupByData": name} for mode, name in view.by]
    return {
        **_PAGE,
        "searchFilter": view.runs,
        "orderByKey": f"metrics.`{view.order}`",
        "orderByAsc": True,
        "selectedColumns": list(view.columns),
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": keys} if keys else None,
        "groupsExpanded": dict.fromkeys(view.closed, False),
        "useGroupedValuesInCharts": bool(keys),
    }


_PAGE = {
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "runsExpanded": {},
    "runsPinned": [],
    "runsHidden": [],
    "runsVisibilityMap": {},
    "runsHiddenMode": "SHOWALL",
    "viewMaximized": False,
    "runListHidden": False,
    "isAccordionReordered": True,  # else MLflow sorts the sections by name
    "autoRefreshEnabled": True,
    "hideEmptyCharts": True,
    "chartsSearchFilter": "",
    "globalLineChartConfig": {
        "xAxisKey": "step",
        "lineSmoothness": 0,
        "selectedXAxisMetricKey": "",
    },
}
"""What all views share of the page's state."""

_ALWAYS = {"deleted": False, "isGenerated": False}


def _section(uuid: str, name: str, shown: bool) -> dict[str, Any]:
    return {
        **{"uuid": uuid, "name": name, "display": shown},
        **{"isReordered": False, "columns": 2, **_ALWAYS},
    }


def _bars(metric: str) -> dict[str, Any]:
    return {
        "type": "BAR",
        "metricKey": metric,
        "displayName": metric,
        "runsCountToCompare": _MOST_RUNS,
    }


def _lines(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": metric,
        "runsCountToCompare": _MOST_GROUPS,
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "xAxisKey": "step",
        "ignoreOutliers": metric == "val/loss",  # of a trial that diverges
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _scatter(parameter: str, metric: str) -> dict[str, Any]:
    return {
        "type": "SCATTER",
        "xaxis": {"key": parameter, "type": "PARAM"},
        "yaxis": {"key": metric, "type": "METRIC"},
        "displayName": f"{metric} by {parameter}",
        "runsCountToCompare": _MOST_RUNS,
    }


def _parallel(parameters: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "PARALLEL",
        "selectedParams": list(parameters),
        "selectedMetrics": list(metrics),
        "showAllRuns": False,
        "displayName": "from strategy to error",
        "runsCountToCompare": _MOST_RUNS,
    }
