"""Start a suite, or resume one: its cells one after another on one Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from raysel.common.errors import OperationalError, Problem, UserError
from raysel.common.text import first_line
from raysel.engine.connect import connected
from raysel.record.layout import CODE, SweepFolder, tracking_uri, write_whole
from raysel.record.ownership import FileOwner
from raysel.record.state import COMPLETE
from raysel.spec import user_code
from raysel.spec.suite import Suite
from raysel.spec.sweep import Spec
from raysel.sweep import start
from raysel.sweep.manifest import SENT_AS
from raysel.sweep.outcome import Outcome, Publish
from raysel.sweep.progress_reporter import ProgressReporter
from raysel.sweep.session import run_session
from raysel.sweep.suite_folder import (
    CellView,
    StoredAxis,
    StoredCell,
    StoredSuite,
    SuiteView,
    is_suite,
    merged,
    read_suite,
    write_suite,
)
from raysel.sweep.views import folder_of


class SuiteReporter(ProgressReporter, Protocol):
    """Shows the progress of a suite to the user."""

    def suite(self, name: str, cells: int, complete: int) -> None:
        """How many cells there are, and how many are complete already."""
        ...

    def cell_ended(self, name: str, number: int, cells: int, words: str) -> None:
        """A cell has ended: its verdict, or why it failed."""
        ...


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
        wanted = merged(view.suite, wanted, begun)
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
    with closing(_Lock(SweepFolder.of(storage, name))):
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
    reporter.suite(name, len(view.cells), view.complete)
    failed: dict[str, str] = {}
    cause: str | None = None
    open_ones = [cell for cell in view.cells if overrides or cell.state != COMPLETE]
    with connected():
        for number, cell in enumerate(view.cells, 1):
            if cell not in open_ones:
                continue
            try:
                outcome = _run_cell(storage, view, cell, reporter, publish, overrides)
            except UserError as error:
                failed[cell.cell.name] = " · ".join(str(error).splitlines())
                words = f"failed: {failed[cell.cell.name]}"
            else:
                words = outcome.results.verdict.sentence
                if outcome.failed:
                    failed[cell.cell.name] = outcome.cause or first_line(Exception("failed"))
                    words = f"failed: {outcome.cause}"
                elif not outcome.complete:
                    cause = outcome.cause
                    break
            reporter.cell_ended(f"{name}/{cell.cell.name}", number, len(view.cells), words)
    ended = read_suite(storage, name)
    report = None
    with suppress(OperationalError):  # no cell has results
        report = publish_suite(storage, name)
    first = view.suite.cells[0].parsed().model_copy(update={"storage": storage})
    return SuiteOutcome(
        folder=view.folder,
        cells=len(view.cells),
        complete=ended.complete,
        failed=failed,
        cause=cause,
        resume=view.folder.resume(),
        tracking_uri=tracking_uri(first),
        report=report,
    )


def _run_cell(
    storage: str,
    view: SuiteView,
    cell: CellView,
    reporter: ProgressReporter,
    publish: Publish,
    overrides: Sequence[str],
) -> Outcome:
    whole = f"{view.suite.name}/{cell.cell.name}"
    if cell.view is not None or cell.problem is not None:
        folder_of(storage, whole)
        return start.resume(storage, whole, reporter, publish, overrides)
    spec = cell.cell.parsed().model_copy(update={"storage": storage})
    sources = user_code.read(spec.listed_code, view.folder.path)
    folder = SweepFolder.of(storage, whole)
    return run_session(spec, folder, reporter, sources, publish)
