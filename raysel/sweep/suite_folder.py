"""A suite's folder: `suite.json` with its cells, each a sweep in a folder of its own below it.

Which cells have begun, and how far they are, is in their own records; `suite.json` changes only
when cells are added.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from raysel.common.errors import (
    OperationalError,
    Problem,
    UserError,
    in_a_line,
    nearest,
    user_error,
)
from raysel.common.locations import sweep_command
from raysel.common.object_store import Bucket
from raysel.common.text import and_more
from raysel.common.user_files import MIB, read_regular, reason
from raysel.record.layout import SweepFolder, write_json
from raysel.record.ownership import Holder, holder_of_file
from raysel.record.state import COMPLETE, INTERRUPTED, RUNNING
from raysel.spec.reader import parse_resolved
from raysel.spec.sweep import Spec
from raysel.spec.values import FrozenModel
from raysel.sweep.own_record import is_half_made, own_results
from raysel.sweep.replica import storage_errors
from raysel.sweep.results import SweepResults
from raysel.sweep.views import SweepView, names, read_sweep, suites

_MOST_BYTES = 1024 * MIB

NOT_BEGUN = "NOT BEGUN"
"""The state of a cell without a folder, and of a suite without any."""


class StoredAxis(FrozenModel):
    """One axis: the keys that it sets together."""

    keys: tuple[str, ...]


class StoredCell(FrozenModel):
    """One cell.

    Attributes:
        name: in the suite.
        settings: key of the sweep file -> value.
        labels: of its values, an axis each.
        spec: its resolved sweep file.
    """

    name: str
    settings: dict[str, Any]
    labels: tuple[str, ...]
    spec: str

    def parsed(self) -> Spec:
        """Its sweep."""
        return parse_resolved(self.spec)


class StoredSuite(FrozenModel):
    """The content of `suite.json`.

    Attributes:
        id: of its run in MLflow; empty in older ones.
        sent_as: under which id it was sent, of a job's suite.
    """

    kind: Literal["suite"] = "suite"
    id: str = ""
    name: str
    description: str = ""
    axes: tuple[StoredAxis, ...]
    cells: tuple[StoredCell, ...]
    sent_as: str | None = None


@dataclass(frozen=True)
class CellView:
    """The state of one cell.

    Attributes:
        cell: as the suite has it.
        view: of its sweep; None before it has begun.
        problem: why the sweep cannot be read, in a line.
    """

    cell: StoredCell
    view: SweepView | None
    problem: str | None = None

    @property
    def state(self) -> str:
        """The sweep's state."""
        if self.problem is not None:
            return "UNREADABLE"
        return NOT_BEGUN if self.view is None else self.view.sweep.status


@dataclass(frozen=True)
class SuiteView:
    """The state of a suite.

    Attributes:
        holder: who runs it; None if nobody does.
    """

    folder: SweepFolder
    suite: StoredSuite
    cells: tuple[CellView, ...]
    holder: Holder | None

    @property
    def state(self) -> str:
        """RUNNING while somebody runs it, COMPLETE when all cells are."""
        states = {cell.state for cell in self.cells}
        if self.holder is not None or RUNNING in states:
            return RUNNING
        if states == {COMPLETE}:
            return COMPLETE
        return NOT_BEGUN if states == {NOT_BEGUN} else INTERRUPTED

    @property
    def complete(self) -> int:
        """How many cells are."""
        return sum(cell.state == COMPLETE for cell in self.cells)


def is_suite(storage: str, name: str) -> bool:
    """Whether a name is that of a suite."""
    return "/" not in name and name in suites(storage)


def write_suite(folder: SweepFolder, suite: StoredSuite) -> None:
    """Write `suite.json`, into the bucket too with the code that lies beside it, if the storage is
    one.

    Raises:
        OSError, OperationalError: it cannot be written.
    """
    write_json(folder.suite, suite.model_dump(mode="json"))
    if folder.bucket is not None:
        with storage_errors(folder.bucket):
            for path in _code_of(suite):
                folder.bucket.put(folder.path / path, path)
            folder.bucket.put(folder.suite, folder.suite.name)


def bring_code(folder: SweepFolder, suite: StoredSuite) -> None:
    """Fetch the code of a suite in a bucket that is not here; of cells that have not begun it lies
    nowhere else."""
    bucket: Bucket | None = folder.bucket
    if bucket is not None:
        with storage_errors(bucket):
            for path in _code_of(suite):
                if not (folder.path / path).exists():
                    bucket.get(path, folder.path / path)


def _code_of(suite: StoredSuite) -> list[str]:
    """The files of code that all cells share, by their paths in the suite's folder."""
    return [file.path for file in suite.cells[0].parsed().listed_code]


def stored_suite(storage: str, name: str) -> tuple[SweepFolder, StoredSuite]:
    """A suite by its name.

    Raises:
        UserError: there is none of that name; the message has the nearest one.
        OperationalError: its file cannot be read.
    """
    known = suites(storage)
    if name not in known:
        every = [*known, *names(storage)]
        hint = f"; {nearest(name, every)}" if every else ""
        raise user_error(name, f"there is no suite of that name in {storage}/{hint}")
    folder = SweepFolder.of(storage, name)
    bring_suite(folder)
    way_on = f"; run its file again: raysel run FILE --resume-if-exists, or {folder.command('rm')}"
    try:
        text = read_regular(folder.suite, _MOST_BYTES).decode("utf-8")
        return folder, StoredSuite.model_validate(json.loads(text))
    except OSError as error:
        words = f"cannot be read: {reason(error)}"
    except (ValueError, ValidationError):
        words = "is damaged"
    raise OperationalError(str(folder.suite), words + way_on)


def cell_not_begun(storage: str, name: str) -> tuple[SweepFolder, StoredCell] | None:
    """The suite's folder and the cell, of a name `suite/cell` whose sweep has not begun; None of
    any other name.

    Raises:
        As `stored_suite`.
    """
    suite, _, wanted = name.partition("/")
    if not wanted or not is_suite(storage, suite):
        return None
    folder, stored = stored_suite(storage, suite)
    if wanted in _begun(folder):
        return None
    found = next((cell for cell in stored.cells if cell.name == wanted), None)
    if found is None:
        return None
    bring_code(folder, stored)
    return folder, found


def bring_suite(folder: SweepFolder) -> None:
    """Fetch the `suite.json` of a suite in a bucket, unless somebody runs it here."""
    bucket: Bucket | None = folder.bucket
    if bucket is not None and holder_of_file(folder.lock) is None:
        with storage_errors(bucket):
            bucket.get(folder.suite.name, folder.suite)


def read_suite(storage: str, name: str) -> SuiteView:
    """The state of a suite; errors as in `stored_suite`."""
    folder, suite = stored_suite(storage, name)
    begun = _begun(folder)
    cells = []
    for cell in suite.cells:
        view, problem = None, None
        if cell.name in begun:
            try:
                view = read_sweep(storage, f"{name}/{cell.name}")
            except (UserError, OperationalError) as error:
                problem = in_a_line(error)
        cells.append(CellView(cell, view, problem))
    holder = holder_of_file(folder.lock)
    return SuiteView(folder, suite, tuple(cells), holder)


def _begun(folder: SweepFolder) -> set[str]:
    """The cells of a suite's folder that have begun; a kill can leave one half made."""
    if folder.bucket is not None:
        return set(names(folder.bucket.uri))
    found = names(str(folder.path))
    return {name for name in found if not is_half_made(SweepFolder(folder.path / name))}


class ReadCells(NamedTuple):
    """The cells of a suite that have results, complete or not.

    Attributes:
        problems: why a cell that has begun cannot be read, by its name.
    """

    found: tuple[tuple[StoredCell, SweepView, SweepResults], ...]
    problems: dict[str, str]


def read_cells(suite: SuiteView) -> ReadCells:
    """Read the results of a suite's cells.

    Raises:
        OperationalError: none has results yet, or none can be read.
    """
    found, problems = [], {}
    for cell in suite.cells:
        if cell.problem is not None:
            problems[cell.cell.name] = cell.problem
        if cell.view is None:
            continue
        try:
            results = own_results(cell.view.folder, cell.view.sweep)
            found.append((cell.cell, cell.view, results))
        except (UserError, OperationalError) as error:
            if cell.state == COMPLETE:  # another one may have none yet
                problems[cell.cell.name] = in_a_line(error)
    if not found:
        way_on = f"no cell has results yet; go on with: {suite.folder.resume()}"
        raise OperationalError(suite.suite.name, next(iter(problems.values()), way_on))
    return ReadCells(tuple(found), problems)


def merged(
    stored: StoredSuite, wanted: StoredSuite, begun: Sequence[str], storage: str
) -> StoredSuite:
    """A suite as its file is now, in the place of the stored one.

    Args:
        begun: the names of the cells that have a folder; what they are is in it.
        storage: where that is.

    Raises:
        UserError: a cell that has begun is not in the file any more.
    """
    known = {cell.name for cell in wanted.cells}
    if gone := [name for name in begun if name not in known]:
        removal = sweep_command("rm", f"{stored.name}/{gone[0]}", storage)
        way_on = f"remove it with {removal}, or keep its value in the file"
        raise UserError(Problem("axes", f"no cell {and_more(gone)}, which has begun; {way_on}"))
    return wanted.model_copy(update={"id": stored.id})
