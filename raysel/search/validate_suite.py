"""Validate a suite: each of its cells as a sweep, everything that is wrong reported together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysel.common.errors import Problem, UserError
from raysel.search import validate
from raysel.spec import reader, user_code
from raysel.spec.axes import AXES
from raysel.spec.suite import Suite, SuiteCell, of_cells, read_suite
from raysel.spec.sweep import Spec
from raysel.tasks.opened_task import OpenedTask, open_task


@dataclass(frozen=True)
class CheckedCell:
    """A cell that can be run, as far as that is known without compute.

    Attributes:
        name: in the suite.
        spec: the sweep, its code files by absolute path and hash.
        task: the data set that was opened for it.
    """

    name: str
    spec: Spec
    task: OpenedTask


@dataclass(frozen=True)
class CheckedSuite:
    """A suite whose cells were checked."""

    suite: Suite
    cells: tuple[CheckedCell, ...]


def read(
    path: Path, overrides: Sequence[str] = (), even_many: bool = False, counted: bool = False
) -> CheckedSuite:
    """Read a suite's file, run the code that it names, and check every cell.

    Args:
        overrides: `a.b=c` strings, applied on top.
        even_many: also a suite of more than `raysel.spec.axes.MOST_CELLS` cells.
        counted: see `validate.check`.

    Raises:
        UserError: all problems, each once, with the cells that have it.
    """
    file = reader.read(path, overrides)
    suite = read_suite(file, even_many)
    listed = suite.cells[0].spec.listed_code  # of all cells alike
    try:
        sources = user_code.read(listed, path.parent)
    except UserError as error:
        raise UserError(*file.locate(error.problems)) from None
    user_code.load(sources)
    opened: dict[str, OpenedTask] = {}
    checked, problems = [], {}
    for cell in suite.cells:
        spec = user_code.located(cell.spec, sources)
        task = _opened(spec, opened)
        if found := validate.check(spec, task, counted):
            problems[cell.name] = found
        checked.append(CheckedCell(cell.name, spec, task))
    if problems:
        raise UserError(*of_cells(problems, suite.axes, file, len(suite.cells)))
    if alike := list(_alike(suite.cells)):
        raise UserError(*file.locate(alike))
    return CheckedSuite(suite, tuple(checked))


def _opened(spec: Spec, opened: dict[str, OpenedTask]) -> OpenedTask:
    """The task, opened once for the cells that share it."""
    key = spec.task.model_dump_json()
    if key not in opened:
        opened[key] = open_task(spec.task)
    return opened[key]


def _alike(cells: Sequence[SuiteCell]) -> Iterator[Problem]:
    """Cells that are one sweep under two names: their results would be counted twice."""
    known: dict[str, str] = {}
    for cell in cells:
        dump = json.dumps(cell.spec.model_dump(mode="json", exclude={"name"}), sort_keys=True)
        first = known.setdefault(dump, cell.name)
        if first != cell.name:
            yield Problem(AXES, f"the cells {first} and {cell.name} are one and the same sweep")
