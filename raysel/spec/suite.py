"""A suite: a sweep file with `axes:`, each cell of which is a sweep.

Whether a cell can be run is asked in `raysel.search.validate_suite`, as `raysel.search.validate`
asks it of a sweep.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raysel.common.errors import Problem, UserError
from raysel.common.paths import A_NAME
from raysel.common.text import and_more, quoted
from raysel.spec import yaml_core
from raysel.spec.axes import AXES, MOST_CELLS, Axes, Cell, parse_axes
from raysel.spec.reader import SweepFile, put
from raysel.spec.sweep import Spec
from raysel.spec.values import SEARCH

_DISTRIBUTIONS = frozenset({"float", "int", "categorical"})


@dataclass(frozen=True)
class SuiteCell:
    """One sweep of a suite.

    Attributes:
        cell: its name in the suite, and the values that make it.
        spec: the sweep; its name is `suite/cell`.
        file: the suite's file with the cell's values on top, which knows lines.
    """

    cell: Cell
    spec: Spec
    file: SweepFile

    @property
    def name(self) -> str:
        """In the suite."""
        return self.cell.name


@dataclass(frozen=True)
class Suite:
    """A suite's file, read.

    Attributes:
        cells: in the order in which they are run.
    """

    name: str
    description: str
    axes: Axes
    cells: tuple[SuiteCell, ...]
    file: SweepFile


def is_suite(file: SweepFile) -> bool:
    """Whether a sweep file has axes; False where it cannot be read, which its reader reports."""
    try:
        return AXES in file.data()
    except UserError:
        return False


def read_suite(file: SweepFile, even_many: bool = False) -> Suite:
    """A suite from its file.

    Args:
        even_many: also one of more than `MOST_CELLS` cells.

    Raises:
        UserError: what is wrong with the axes; else what the grammar says of the cells, each
            mistake once.
    """
    data = file.data()
    try:
        axes = parse_axes(data.pop(AXES))
        cells = axes.cells()
        problems = [*_name_problems(data), *_given_twice(axes, data, file)]
        if len(cells) > MOST_CELLS and not even_many:
            words = f"{len(cells):,} cells, each a sweep; more than {MOST_CELLS:,} need --yes"
            problems.append(Problem(AXES, words))
        if problems:
            raise UserError(*problems)
    except UserError as error:
        raise UserError(*file.locate(error.problems)) from None
    read: list[SuiteCell] = []
    problems_of: dict[str, Sequence[Problem]] = {}
    for cell in cells:
        own = _file_of(file, cell)
        try:
            read.append(SuiteCell(cell, own.validated(_data_of(data, cell)), own))
        except UserError as error:
            problems_of[cell.name] = error.problems
    if problems_of:
        raise UserError(*of_cells(problems_of, axes, file, len(cells)))
    return Suite(str(data["name"]), str(data.get("description", "")), axes, tuple(read), file)


def of_cells(
    problems_of: Mapping[str, Sequence[Problem]], axes: Axes, file: SweepFile, cells: int
) -> list[Problem]:
    """The problems of cells, each once: with the names of its cells in front, unless all have
    it.

    Args:
        problems_of: name of a cell -> its problems.
        cells: how many the suite has.
    """
    holders: dict[Problem, list[str]] = {}
    for name, problems in problems_of.items():
        for problem in dict.fromkeys(replace(problem, line=None) for problem in problems):
            holders.setdefault(_at_its_axis(problem, axes), []).append(name)
    shown = []
    for problem in file.locate(holders):
        names = holders[replace(problem, line=None)]
        word = "cell" if len(names) == 1 else "cells"
        front = f"{word} {and_more(names, 3)}: " if len(names) < cells else ""
        shown.append(replace(problem, path=f"{front}{problem.path}"))
    return shown


def _at_its_axis(problem: Problem, axes: Axes) -> Problem:
    """A problem of a value that an axis sets, at the axis."""
    if any(f"{problem.path}.".startswith(f"{key}.") for key in axes.keys):
        return replace(problem, path=f"{AXES}.{problem.path}")
    return problem


def _file_of(file: SweepFile, cell: Cell) -> SweepFile:
    values = (f"{key}={json.dumps(value)}" for key, value in cell.settings.items())
    return replace(file, overrides=(*file.overrides, *values))


def _data_of(data: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    own = copy.deepcopy(dict(data))
    for key, value in cell.settings.items():
        if above := put(own, key.split("."), value):
            raise UserError(Problem(key, f"there is nothing below {above}, which has a value"))
    own["name"] = f"{own['name']}/{cell.name}"
    return own


def _name_problems(data: Mapping[str, Any]) -> list[Problem]:
    name = data.get("name")
    if name is None:
        return [Problem("name", "is missing")]
    if isinstance(name, str) and A_NAME.fullmatch(name):
        return []
    words = "1 to 80 letters, digits, dots, underscores and dashes, a letter or digit first"
    return [Problem("name", f"{quoted(name)} is not accepted; give {words}")]


def _given_twice(axes: Axes, data: Mapping[str, Any], file: SweepFile) -> list[Problem]:
    """Axes over keys that are searched, or that the command line sets."""
    set_ = {override.partition("=")[0].strip() for override in file.overrides}
    problems = []
    for key in axes.keys:
        given = _at(data, key.split("."))
        if _is_searched(given):
            shown = yaml_core.in_a_line(given)
            words = f"is searched ({shown}); an axis is not: leave out one of the two"
            problems.append(Problem(f"{AXES}.{key}", words))
        if key in set_:
            words = f'is an axis; give its values, --set "{AXES}.{key}=[…]"'
            problems.append(Problem("--set", f"{key} {words}"))
    return problems


def _at(data: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _is_searched(given: Any) -> bool:
    is_range = isinstance(given, Mapping) and not _DISTRIBUTIONS.isdisjoint(given)
    return is_range or given == SEARCH
