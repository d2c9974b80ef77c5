"""Start a suite, or resume one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from raysel.common.errors import OperationalError, Problem, UserError
from raysel.common.locations import SPEC_FILE
from raysel.record.layout import CODE, SweepFolder, tracking_uri, write_whole
from raysel.record.ownership import FileOwner
from raysel.record.state import COMPLETE
from raysel.spec import user_code
from raysel.spec.reader import SweepFile
from raysel.spec.suite import Suite
from raysel.spec.sweep import BudgetSpec, Spec
from raysel.sweep import start
from raysel.sweep.manifest import SENT_AS
from raysel.sweep.outcome import Publish
from raysel.sweep.priors import notes_of_cells
from raysel.sweep.suite_folder import (
    CellView,
    StoredAxis,
    StoredCell,
    StoredSuite,
    SuiteView,
    bring_code,
    is_suite,
    merged,
    read_suite,
    stored_suite,
    write_suite,
)
from raysel.sweep.suite_session import CellToRun, SuiteReporter, SuiteSession


@dataclass(frozen=True)
class SuiteOutcome:
    """How an attempt at a suite ended.

    Attributes:
        complete: how many cells are.
        failed: cell -> why it failed, in a line.
        cause: why the suite ended before its cells were done; None where it did not.
        resume: the command that goes on with it.
        report: the page; None where no cell has results.
    """

    folder: SweepFolder
    cells: int
    complete: int
    failed: dict[str, str]
    cause: str | None
    resume: str
    tracking_uri: str
    report: Path | None = None


PublishSuite = Callable[[str, str], Path]
"""Writes the page of a suite, given its storage and its name."""


def start_suite(
    suite: Suite,
    specs: Sequence[Spec],
    reporter: SuiteReporter,
    publish: Publish,
    publish_suite: PublishSuite,
    resume_if_exists: bool = False,
) -> SuiteOutcome:
    """Run a new suite, or go on with the one of that name if that is requested.

    Args:
        specs: of the suite's cells, checked.

    Raises:
        UserError: a sweep or a suite of that name exists, or it would change its meaning.
        OperationalError: the suite is run elsewhere, or its records cannot be kept.
    """
    storage = specs[0].storage
    folder = SweepFolder.of(storage, suite.name)
    if folder.spec.exists():
        raise UserError(Problem("name", f"a sweep named {suite.name} exists; --set name=OTHER"))
    sources = user_code.read(specs[0].listed_code, Path())
    wanted = stored(suite, [user_code.located(spec, sources, CODE) for spec in specs])
    if is_suite(storage, suite.name):
        view = read_suite(storage, suite.name)
        if not resume_if_exists:
            raise UserError(_exists(view))
        begun = [cell.cell.name for cell in view.cells if cell.view is not None]
        wanted = merged(view.suite, wanted, begun, storage)
    else:
        notes_of_cells(suite, specs)  # refuses what cannot be used
    folder.path.mkdir(parents=True, exist_ok=True)
    with closing(_Lock(folder)):
        for source in sources:
            write_whole(folder.code / source.name, source.text)
        write_suite(folder, wanted)
        return _run(storage, suite.name, reporter, publish, publish_suite, ())


def resume_suite(
    storage: str,
    name: str,
    reporter: SuiteReporter,
    publish: Publish,
    publish_suite: PublishSuite,
    overrides: Sequence[str] = (),
) -> SuiteOutcome:
    """Go on with the cells that are not complete; with `overrides`, which may extend them, with
    all.

    Raises:
        As `start_suite`.
    """
    folder, suite = stored_suite(storage, name)  # brought from a bucket before it is locked here
    bring_code(folder, suite)
    with closing(_Lock(folder)):
        return _run(storage, name, reporter, publish, publish_suite, overrides)


class _Lock:
    """The suite's own lock: one driver at a time takes up its cells."""

    def __init__(self, folder: SweepFolder) -> None:
        self._owner = FileOwner(folder.lock, folder.name)

    def close(self) -> None:
        """Release it."""
        self._owner.release()


def stored(suite: Suite, specs: Sequence[Spec]) -> StoredSuite:
    """What `suite.json` has of a suite.

    Args:
        specs: of its cells.
    """
    cells = (
        StoredCell(
            name=cell.name,
            settings=dict(cell.cell.settings),
            labels=cell.cell.labels,
            spec=spec.to_yaml(),
        )
        for cell, spec in zip(suite.cells, specs, strict=True)
    )
    axes = tuple(StoredAxis(keys=axis.keys) for axis in suite.axes.axes)
    return StoredSuite(
        id=uuid.uuid4().hex,
        name=suite.name,
        description=suite.description,
        axes=axes,
        cells=tuple(cells),
        sent_as=os.environ.get(SENT_AS),
    )


def _exists(view: SuiteView) -> Problem:
    name = view.suite.name
    return Problem(
        "",
        f'a suite named "{name}" exists ({view.complete} of {len(view.cells)} cells complete). '
        f"Go on: {view.folder.resume()}. New one: --set name={name}-2",
    )


def _run(
    storage: str,
    name: str,
    reporter: SuiteReporter,
    publish: Publish,
    publish_suite: PublishSuite,
    overrides: Sequence[str],
) -> SuiteOutcome:
    view = read_suite(storage, name)
    budget = _budget(view, overrides)
    failed: dict[str, str] = {}
    cells = list(_to_run(storage, view, overrides, failed))
    reporter.suite(name, len(view.cells), len(view.cells) - len(cells) - len(failed))
    session = SuiteSession(view.folder, cells, reporter, publish, budget, failed)
    cause = session.run() if cells else None
    report = None
    with suppress(OperationalError):  # no cell has results
        report = publish_suite(storage, name)
    first = view.suite.cells[0].parsed().model_copy(update={"storage": storage})
    return SuiteOutcome(
        folder=view.folder,
        cells=len(view.cells),
        complete=read_suite(storage, name).complete,
        failed=failed,
        cause=cause,
        resume=view.folder.resume(),
        tracking_uri=tracking_uri(first),
        report=report,
    )


def _budget(view: SuiteView, overrides: Sequence[str]) -> float | None:
    """Seconds of the suite; what `overrides` say goes before its file."""
    own = [one for one in overrides if one.partition(".")[0].strip() == "budget"]
    return SweepFile(SPEC_FILE, view.suite.cells[0].spec, tuple(own), True).spec().budget.total


def _to_run(
    storage: str, view: SuiteView, overrides: Sequence[str], failed: dict[str, str]
) -> Iterator[CellToRun]:
    """The cells that are not complete; with `overrides`, which may extend them, all of them.

    Args:
        failed: gets the cells that cannot be read, with the reason.

    Raises:
        UserError: something would change what a cell's results mean.
    """
    problems: dict[Problem, None] = {}
    for cell in view.cells:
        if cell.state == COMPLETE and not overrides:
            continue
        try:
            yield _cell_to_run(storage, view, cell, overrides)
        except UserError as error:
            problems |= dict.fromkeys(error.problems)
        except OperationalError as error:
            failed[cell.cell.name] = str(error)
    if problems:
        raise UserError(*problems)


def _cell_to_run(
    storage: str, view: SuiteView, cell: CellView, overrides: Sequence[str]
) -> CellToRun:
    whole = f"{view.suite.name}/{cell.cell.name}"
    if cell.view is None and cell.problem is None:
        folder, spec = start.first_begun(storage, whole, cell.cell, overrides)
        code = view.folder.path
    else:
        folder, spec = start.resumed(storage, whole, overrides)
        code = folder.path
    spec = spec.model_copy(update={"budget": BudgetSpec()})  # the suite's ends it
    return CellToRun(whole, spec, folder, user_code.read(spec.listed_code, code))
