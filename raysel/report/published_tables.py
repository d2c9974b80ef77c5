"""The papers' published numbers beside a sweep's own.

The numbers are in `published/*.yaml` as printed. A sweep is a paper's where its data set and
model are a table's; a row belongs to a confirmed strategy with the row's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from raysel.spec.sweep import Distribution, ShiftSpec, Spec
from raysel.sweep.results import SweepResults, TrialResult
from raysel.sweep.verdict import NO_SPREAD


@dataclass(frozen=True)
class PublishedRow:
    """One printed number, as an error rate in 0..1, and whose it is."""

    name: str
    strategy: str
    parameters: Mapping[str, Any]
    error_rate: float


@dataclass(frozen=True)
class PublishedTable:
    """The part of a paper's table that is about one data set and model.

    Attributes:
        models: timm's names without the tag of their weights.
        protocol: settings of the training that the paper states.
        model: settings of the model that the paper states.
        settings: parameters that the paper states, by strategy.
        shifts: those of the data; a sweep has one of them.
        is_mean: whether the numbers are means over all the shifts.
        severity: of the shifts; None where they have none.
        remarks: what else differs from any sweep here.
    """

    paper: str
    table: str
    data: str
    models: tuple[str, ...]
    protocol: Mapping[str, Any]
    model: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    shifts: tuple[str, ...]
    is_mean: bool
    severity: int | None
    remarks: tuple[str, ...]
    rows: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class ComparedRow:
    """Ours beside theirs; error rates in 0..1.

    Attributes:
        strategy: raysel's name.
        published: the paper's name.
        low, high: of our 95 % interval; None with one seed.
        difference: ours - theirs.
        inside: whether theirs is in our interval; None where there is none (one seed, or
            seeds that are all alike).
        differs: settings of the data, the model, the strategy and the training that are not
            the paper's.
    """

    strategy: str
    published: str
    ours: float
    low: float | None
    high: float | None
    theirs: float
    difference: float
    inside: bool | None
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """One published table beside the sweep's own numbers."""

    paper: str
    table: str
    remarks: tuple[str, ...]
    rows: tuple[ComparedRow, ...]


@cache
def published_tables() -> tuple[PublishedTable, ...]:
    """Every published table that the package knows."""
    folder = files("raysel.report").joinpath("published")
    texts = [
        file.read_text("utf-8")
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".yaml")
    ]
    return tuple(
        _table(paper, {**table, **column}, index)
        for paper in map(yaml.safe_load, texts)
        for table in paper["tables"]
        for index, column in enumerate(table["columns"])
    )


def compare(results: SweepResults, spec: Spec) -> list[Comparison]:
    """The published tables of the sweep's data and model that hold one of its strategies.

    Args:
        spec: the sweep's file.
    """
    if len(spec.model.names) > 1:  # theirs chose among the strategies of one
        return []
    model = spec.model_name.split(".")[0]
    compared = []
    for table in published_tables():
        if table.data != spec.task.data or model not in table.models:
            continue
        apart = (*_shift_differs(spec.task.shift, table), *_differs(table.model, dict(spec.model)))
        if spec.model.adapter is not None:
            apart = (*apart, f"{spec.model.adapter} (theirs none)")
        rows = tuple(row for entry in table.rows for row in _rows(results, table, entry, apart))
        if rows:
            remarks = (*table.remarks, *_split_remarks(spec))
            compared.append(Comparison(table.paper, table.table, remarks, rows))
    return compared


def _table(paper: Mapping[str, Any], table: Mapping[str, Any], column: int) -> PublishedTable:
    """One column of a printed table."""
    is_accuracy = paper["measure"] == "test accuracy"
    values = {name: row[column] for name, row in table["rows"].items()}
    rows = (
        PublishedRow(
            name=name,
            strategy=strategy,
            parameters=paper["methods"][name].get("parameters") or {},
            error_rate=round((100 - value if is_accuracy else value) / 100, 6),
        )
        for name, value in values.items()
        for strategy in _each(paper["methods"][name]["strategy"])
        if value is not None
    )
    shift = table.get("shift") or {}
    return PublishedTable(
        paper=paper["paper"],
        table=table["table"],
        data=table["data"],
        models=tuple(table["models"]),
        protocol={**paper["protocol"], **table["protocol"]},
        model=paper["model"],
        settings=paper["settings"],
        shifts=tuple(shift.get("kinds", ("none",))),
        is_mean=shift.get("is_mean", False),
        severity=shift.get("severity"),
        remarks=(*paper["remarks"], *(table.get("remarks") or ())),
        rows=tuple(rows),
    )


def _each(strategies: str | list[str]) -> list[str]:
    """A method may be any of several registered strategies, by their parameters."""
    return [strategies] if isinstance(strategies, str) else strategies


def _rows(
    results: SweepResults, table: PublishedTable, theirs: PublishedRow, apart: tuple[str, ...]
) -> list[ComparedRow]:
    stated = {**table.settings.get(theirs.strategy, {}), **theirs.parameters}
    trials = {trial.id: trial for trial in results.trials}
    rows = []
    for entry in results.confirm:
        trial = trials.get(entry.trial or "", TrialResult(config=entry.config))
        error, parameters = entry.test_error, trial.parameters
        if error.mean is None or not _is_of(theirs, entry.registered or entry.strategy, parameters):
            continue
        rows.append(
            ComparedRow(
                strategy=entry.strategy,
                published=theirs.name,
                ours=error.mean,
                low=error.low,
                high=error.high,
                theirs=theirs.error_rate,
                difference=error.mean - theirs.error_rate,
                inside=_inside(theirs.error_rate, error.low, error.high),
                differs=(
                    *apart,
                    *_differs(stated, parameters),
                    *_differs(table.protocol, trial.training),
                ),
            )
        )
    return rows


def _inside(value: float, low: float | None, high: float | None) -> bool | None:
    if low is None or high is None or high - low < NO_SPREAD:
        return None
    return low <= value <= high


def _is_of(row: PublishedRow, strategy: str, parameters: Mapping[str, Any]) -> bool:
    return row.strategy == strategy and all(
        parameters.get(name) == value for name, value in row.parameters.items()
    )


def _differs(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings in words: `epochs 5 (theirs 50)`; one that ours leaves open is the strategy's."""
    return tuple(
        f"{name} {_short(ours[name])} (theirs {_short(value)})"
        for name, value in theirs.items()
        if ours.get(name) is not None and ours[name] != value
    )


def _shift_differs(shift: ShiftSpec, table: PublishedTable) -> list[str]:
    """What of the data's shift is not the table's; `shift frost (theirs the mean of 14)`."""
    differences = []
    is_theirs = shift.kind in table.shifts
    if table.is_mean:
        others = "" if is_theirs else " others"
        differences.append(f"shift {shift.kind} (theirs the mean of {len(table.shifts)}{others})")
    elif not is_theirs:
        differences.append(f"shift {shift.kind} (theirs {' or '.join(table.shifts)})")
    if table.severity not in (None, shift.severity):
        differences.append(f"severity {shift.severity} (theirs {table.severity})")
    return differences


def _split_remarks(spec: Spec) -> list[str]:
    """What of the sweep's own file sets its numbers apart."""
    remarks = []
    if spec.confirm.epoch == "best":
        remarks.append("ours is tested at the best epoch by validation")
    if isinstance(spec.training.shots, Distribution):
        remarks.append("ours is of the number of examples a class that the search found best")
    if isinstance(spec.task.split.test, int):
        remarks.append(f"ours is tested on {spec.task.split.test} examples of the test part")
    return remarks


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
