"""The papers' published numbers beside a sweep's own.

The numbers lie in `published/*.yaml` as printed. A sweep is a paper's where its data set and
model are a table's; a row belongs to a confirmed strategy with the row's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from raysel.report.tables import Results, finite
from raysel.spec import Distribution, Spec


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
        remarks: what else differs from any sweep here.
    """

    paper: str
    table: str
    data: str
    models: tuple[str, ...]
    protocol: Mapping[str, Any]
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
        inside: whether theirs lies in our interval; None where there is none.
        differs: settings of the training that are not the paper's.
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
        _table(paper, table) for paper in map(yaml.safe_load, texts) for table in paper["tables"]
    )


def compare(results: Results, spec: Spec) -> list[Comparison]:
    """The published tables of the sweep's data and model that hold one of its strategies.

    Args:
        results: the content of `results.json`.
        spec: the sweep's file.
    """
    model = spec.model.name.split(".")[0]
    compared = []
    for table in published_tables():
        if table.data != spec.task.data or model not in table.models:
            continue
        rows = tuple(row for entry in table.rows for row in _rows(results, table, entry))
        if rows:
            remarks = (*table.remarks, *_split_remarks(spec))
            compared.append(Comparison(table.paper, table.table, remarks, rows))
    return compared


def _table(paper: Mapping[str, Any], table: Mapping[str, Any]) -> PublishedTable:
    is_accuracy = paper["measure"] == "test accuracy"
    rows = (
        PublishedRow(
            name=str(row["name"]),
            strategy=row["strategy"],
            parameters=row.get("parameters") or {},
            error_rate=round((100 - row["value"] if is_accuracy else row["value"]) / 100, 6),
        )
        for row in table["rows"]
    )
    return PublishedTable(
        paper=paper["paper"],
        table=table["table"],
        data=table["data"],
        models=tuple(table["models"]),
        protocol={**paper["protocol"], **table["protocol"]},
        remarks=(*paper["remarks"], *(table.get("remarks") or ())),
        rows=tuple(rows),
    )


def _rows(results: Results, table: PublishedTable, theirs: PublishedRow) -> list[ComparedRow]:
    configs = {trial["id"]: trial["config"] for trial in results.get("trials") or []}
    rows = []
    for entry in results.get("confirm") or []:
        config = configs.get(entry["trial"], {})
        error = entry["test_error"]
        ours, low, high = (finite(error.get(key)) for key in ("mean", "low", "high"))
        if ours is None or not _is_of(theirs, entry["strategy"], config.get("parameters") or {}):
            continue
        rows.append(
            ComparedRow(
                strategy=entry["strategy"],
                published=theirs.name,
                ours=ours,
                low=low,
                high=high,
                theirs=theirs.error_rate,
                difference=ours - theirs.error_rate,
                inside=None if low is None or high is None else low <= theirs.error_rate <= high,
                differs=_differences(table.protocol, config.get("training") or {}),
            )
        )
    return rows


def _is_of(row: PublishedRow, strategy: str, parameters: Mapping[str, Any]) -> bool:
    return row.strategy == strategy and all(
        parameters.get(name) == value for name, value in row.parameters.items()
    )


def _differences(protocol: Mapping[str, Any], training: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings in words: `epochs 5 (theirs 50)`."""
    return tuple(
        f"{name} {_short(training[name])} (theirs {_short(value)})"
        for name, value in protocol.items()
        if name in training and training[name] != value
    )


def _split_remarks(spec: Spec) -> list[str]:
    """What of the sweep's own file sets its numbers apart."""
    remarks = []
    if spec.confirm.epoch == "best":
        remarks.append("ours is tested at the best epoch by validation")
    if isinstance(spec.training.shots, Distribution):
        remarks.append("ours is of the number of examples a class that the search found best")
    if spec.task.split.test != "all":
        remarks.append(f"ours is tested on {spec.task.split.test} examples of the test part")
    return remarks


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
