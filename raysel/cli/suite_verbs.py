"""What validate, plan and run do with a suite: a sweep file with `axes:`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysel.cli.arguments import say_not_for_all
from raysel.common.errors import BAD_INPUT, FAILED, INTERRUPTED, Problem, UserError
from raysel.common.output import PATH, print_json, print_table, say, say_error
from raysel.common.text import count_of

if TYPE_CHECKING:
    from raysel.search.summary import Summary
    from raysel.search.validate_suite import CheckedSuite
    from raysel.service.plan.estimate_suite import SuitePlan
    from raysel.spec.suite import Suite
    from raysel.sweep.start_suite import SuiteOutcome


def is_suite(file: Path, overrides: Sequence[str]) -> bool:
    """Whether a sweep file has axes.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    from raysel.spec import reader, suite  # noqa: PLC0415

    return suite.is_suite(reader.read(file, overrides))


def checked_suite(
    file: Path, overrides: Sequence[str], even_many: bool, counted: bool = False
) -> CheckedSuite:
    """Read and check a suite's file; `counted`: see `validate.check`."""
    from raysel.search import validate_suite  # noqa: PLC0415

    found = validate_suite.read(file, overrides, even_many, counted)
    say_not_for_all(overrides, found.suite.cells[0].spec)
    return found


def checked_for_there(file: Path, overrides: Sequence[str], even_many: bool) -> Suite:
    """Read and check a suite that will run on a cluster: whether its storage can be written, and
    which packages its databases need, is checked on the machines there."""
    from raysel.common.locations import check_bucket, check_record_url, is_bucket  # noqa: PLC0415
    from raysel.search import validate_suite  # noqa: PLC0415
    from raysel.spec import reader, suite  # noqa: PLC0415

    given = reader.read(file, overrides)
    wanted = suite.read_suite(given, even_many)
    first = wanted.cells[0].spec
    problems = [check_bucket(first.storage)] if is_bucket(first.storage) else []
    if first.database_url is not None:
        names = (cell.spec.name for cell in wanted.cells)
        problems += [check_record_url(first.database_url, name) for name in names]
    if found := [problem for problem in problems if problem]:
        raise UserError(*given.locate(dict.fromkeys(found)))
    apart = ("database_url=", "tracking.uri=", f"storage={tempfile.gettempdir()}")
    checked = validate_suite.read(file, [*overrides, *apart], even_many)
    say_not_for_all(overrides, first)
    code = checked.cells[0].spec.code_files
    cells = tuple(
        replace(cell, spec=cell.spec.model_copy(update={"code_files": code}))
        for cell in wanted.cells
    )
    return replace(wanted, cells=cells)


# --- validate -------------------------------------------------------------------------------------


def validate(
    file: Path, overrides: Sequence[str], even_many: bool, without_data: bool, as_json: bool
) -> int:
    """`raysel validate SUITE`."""
    try:
        checked = checked_suite(file, overrides, even_many, counted=without_data)
        notes = _notes(checked)
    except UserError as error:
        if as_json:
            print_json({"valid": False, "problems": [asdict(p) for p in error.problems]})
        raise
    absent, warnings = _absences(checked)
    from raysel.search.summary import summary  # noqa: PLC0415

    found = {cell.name: summary(cell.spec, cell.task) for cell in checked.cells}
    valid = not absent or without_data
    warned = [*warnings, *(absent if valid else ())]
    if as_json:
        out: dict[str, Any] = {"valid": valid, "name": checked.suite.name}
        out["problems"] = [] if valid else [asdict(problem) for problem in absent]
        out["cells"] = {name: asdict(one) for name, one in found.items()}
        print_json(out | {"notes": notes, "warnings": [asdict(problem) for problem in warned]})
        return 0 if valid else BAD_INPUT
    _print(checked.suite, found, notes)
    for problem in warned:
        say_error(f"warning  {problem}")
    if not valid:
        from raysel.sweep.absences import WITHOUT_DATA  # noqa: PLC0415

        for problem in absent:
            say_error(f"error  {problem} ({WITHOUT_DATA}: a warning, and exit code 0)")
    return 0 if valid else BAD_INPUT


def refuse_absent(checked: CheckedSuite) -> None:
    """Raise `UserError` where data or weights of a cell are not there."""
    if absent := _absences(checked)[0]:
        raise UserError(*absent)


def _absences(checked: CheckedSuite) -> tuple[list[Problem], list[Problem]]:
    """What is not there for a cell, and why a trial fits onto no node here."""
    from raysel.spec.suite import of_cells  # noqa: PLC0415
    from raysel.sweep import absences  # noqa: PLC0415

    suite = checked.suite
    found = {cell.name: absences.absences(cell.spec, cell.task) for cell in checked.cells}
    absent = of_cells(found, suite.axes, suite.file, len(suite.cells))
    return absent, absences.resource_warnings(checked.cells[0].spec)


def _notes(checked: CheckedSuite) -> list[str]:
    """The notes about the cells, each once."""
    from raysel.search.validate import notes  # noqa: PLC0415

    every = [note for cell in checked.cells for note in notes(cell.spec, cell.task)]
    return list(dict.fromkeys([*every, *_prior_notes(checked)]))


def _prior_notes(checked: CheckedSuite) -> list[str]:
    """What the cells would take from earlier sweeps; raises `UserError` where one of them cannot
    be used."""
    if not any(cell.spec.search.prior for cell in checked.cells):
        return []
    from raysel.sweep.priors import notes_of_cells  # noqa: PLC0415  (what it imports takes long)

    specs, tasks = [cell.spec for cell in checked.cells], [cell.task for cell in checked.cells]
    return notes_of_cells(checked.suite, specs, tasks)


def _print(suite: Suite, found: dict[str, Summary], notes: Sequence[str]) -> None:
    say(f"{suite.name} · {axes_in_words(suite)}", "")
    rows = [
        (
            *(name, one.model, str(len(one.layers)), str(len(one.strategies))),
            "unlimited" if one.size is None else f"{one.size:,}",
            f"{one.trials:,}",
        )
        for name, one in found.items()
    ]
    head = ("cell", "model", "layers", "strategies", "configurations", "trials")
    print_table(head, rows, numbers=range(2, 6))
    trials = count_of(sum(one.trials for one in found.values()), "trial")
    say("", f"{count_of(len(found), 'cell')} · {trials}")
    for note in notes:
        say(f"note   {note}")


# --- run, resume, reconcile -----------------------------------------------------------------------


def is_stored(storage: str, name: str) -> bool:
    """Whether a name on the command line is that of a suite in the storage."""
    from raysel.sweep.suite_folder import is_suite  # noqa: PLC0415

    return is_suite(storage, name)


def run(
    file: Path,
    overrides: Sequence[str],
    even_many: bool,
    resume_if_exists: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """`raysel run SUITE`."""
    checked = checked_suite(file, overrides, even_many)
    refuse_absent(checked)
    from raysel.sweep import start_suite  # noqa: PLC0415

    specs = [cell.spec for cell in checked.cells]
    return _session(
        quiet,
        as_json,
        lambda reporter, publish, page: start_suite.start_suite(
            checked.suite, specs, reporter, publish, page, resume_if_exists
        ),
    )


def resume(storage: str, name: str, overrides: Sequence[str], quiet: bool, as_json: bool) -> int:
    """`raysel resume SUITE`."""
    from raysel.sweep import start_suite  # noqa: PLC0415

    return _session(
        quiet,
        as_json,
        lambda reporter, publish, page: start_suite.resume_suite(
            storage, name, reporter, publish, page, overrides
        ),
    )


def _session(quiet: bool, as_json: bool, action: Callable[..., SuiteOutcome]) -> int:
    """Run a suite with a progress reporter; 130 if it was stopped, 1 if a cell failed."""
    from raysel.cli.live_table import shown  # noqa: PLC0415
    from raysel.cli.publish_artifacts import publish_artifacts, publish_suite  # noqa: PLC0415

    with shown(quiet, as_json) as reporter:
        outcome = action(reporter, publish_artifacts, publish_suite)
        reporter.suite_outcome(outcome)
    if outcome.failed:
        return FAILED
    return 0 if outcome.complete == outcome.cells else INTERRUPTED


def reconcile(storage: str, name: str, dry_run: bool, close: bool, as_json: bool) -> int:
    """`raysel reconcile SUITE`: each of its cells that have begun."""
    from raysel.sweep.reconcile import reconcile_sweep  # noqa: PLC0415
    from raysel.sweep.views import cell_names  # noqa: PLC0415

    found = [reconcile_sweep(storage, cell, dry_run, close) for cell in cell_names(storage, name)]
    if as_json:
        print_json([asdict(one) | {"agree": one.agree} for one in found])
    for one in () if as_json else found:
        say(*one.lines(storage))
    return 0 if all(one.agree for one in found) else FAILED


# --- list, show, report ---------------------------------------------------------------------------


def as_row(storage: str, name: str) -> dict[str, Any]:
    """A suite in a list: its name, state, number of cells and of complete ones."""
    from raysel.common.errors import OperationalError  # noqa: PLC0415
    from raysel.sweep.suite_folder import read_suite  # noqa: PLC0415

    try:
        view = read_suite(storage, name)
    except OperationalError as error:
        return {"name": name, "state": str(error), "cells": 0, "complete": 0}
    row = {"name": name, "state": view.state, "cells": len(view.cells)}
    return row | {"complete": view.complete}


def show(storage: str, name: str, as_json: bool) -> None:
    """`raysel show SUITE`: a line a cell."""
    from raysel.common.locations import sweep_command  # noqa: PLC0415
    from raysel.report.review import sweep_row  # noqa: PLC0415
    from raysel.sweep.suite_folder import read_suite  # noqa: PLC0415

    view = read_suite(storage, name)
    rows = {
        cell.cell.name: None if cell.view is None else sweep_row(cell.view) for cell in view.cells
    }
    if as_json:
        cells = [
            {"name": cell.cell.name, "state": cell.state, "values": cell.cell.settings}
            | {"sweep": None if (row := rows[cell.cell.name]) is None else asdict(row)}
            for cell in view.cells
        ]
        return print_json(as_row(storage, name) | {"cells": cells})
    of = count_of(len(view.cells), "cell")
    say(f"{name} · {view.state} · {view.complete} of {of} complete", "")
    table = []
    for cell in view.cells:
        row = rows[cell.cell.name]
        if row is None:
            table.append((cell.cell.name, cell.state, "", "", "", cell.problem or ""))
            continue
        searched = f"{row.done}/{row.trials}" if row.trials else ""
        confirmed = f"{row.confirmed}/{row.runs}" if row.runs else ""
        best = "" if row.best is None else f"{row.best:.3f}"
        table.append((cell.cell.name, cell.state, searched, confirmed, best, row.best_label or ""))
    head = ("cell", "state", "search", "confirm", "best", "with")
    print_table(head, table, numbers=(2, 3, 4), whole=range(5))
    for cell_name, row in rows.items():
        if row is not None and (words := row.verdict or row.cause):
            say(f"{cell_name}: {words}")
    first = f"{name}/{view.cells[0].cell.name}"
    return say("", f"one cell: {sweep_command('show', first, storage)}")


def report(storage: str, name: str, tables: Path | None, as_json: bool) -> None:
    """`raysel report SUITE`."""
    from raysel.report.suite_page import write_suite_report, write_suite_tables  # noqa: PLC0415

    index = write_suite_report(storage, name)
    files = [] if tables is None else write_suite_tables(storage, name, tables)
    if as_json:
        return print_json({"report": str(index), "tables": [str(file) for file in files]})
    say(index, most=PATH)
    return say(tables / "tables.tex", most=PATH) if tables is not None else None


def axes_in_words(suite: Suite) -> str:
    """`12 cells: task.shift.kind 3 × model.name 2 × training.shots 2`."""
    sizes = [f"{' with '.join(axis.keys)} {len(axis.values)}" for axis in suite.axes.axes]
    left_out = suite.axes.product - len(suite.cells)
    excluded = f", {left_out} excluded" if left_out else ""
    return f"{count_of(len(suite.cells), 'cell')}: {' × '.join(sizes)}{excluded}"


# --- plan -----------------------------------------------------------------------------------------


def plan(
    file: Path,
    overrides: Sequence[str],
    even_many: bool,
    gpus: int | None,
    price: float | None,
    rate: float | None,
    as_json: bool,
) -> None:
    """`raysel plan SUITE`."""
    checked = checked_suite(file, overrides, even_many)
    if any(cell.task.missing for cell in checked.cells):
        return _count(checked, rate, as_json)
    from raysel.service.plan.estimate_suite import SuitePlan  # noqa: PLC0415
    from raysel.service.plan.estimate_sweep import estimate_sweeps  # noqa: PLC0415
    from raysel.spec import user_code  # noqa: PLC0415
    from raysel.spec.sweep import BudgetSpec  # noqa: PLC0415
    from raysel.sweep.plan_cache import write_plan  # noqa: PLC0415

    _prior_notes(checked)  # refused before anything is measured
    specs = [cell.spec for cell in checked.cells]
    budget = specs[0].budget.total
    code = user_code.read(specs[0].listed_code, file.parent)
    unlimited = [spec.model_copy(update={"budget": BudgetSpec()}) for spec in specs]
    plans = {}
    if not as_json:
        say_error("measuring a few steps of each strategy …")
    for cell, spec, found in zip(
        checked.cells, specs, estimate_sweeps(unlimited, code, gpus, price), strict=True
    ):
        plans[cell.name] = found
        write_plan(spec, found.as_json())
        if not as_json:
            say_error(f"  {len(plans)} of {len(specs)}  {cell.name}")
    suite = SuitePlan(checked.suite.name, plans, budget)
    return print_json(suite.as_json()) if as_json else _print_plan(suite)


def _count(checked: CheckedSuite, rate: float | None, as_json: bool) -> None:
    """The plan of a suite whose data are not here."""
    from raysel.cli.plan_words import print_counted  # noqa: PLC0415
    from raysel.service.plan.counted import counted  # noqa: PLC0415

    cells = {cell.name: counted(cell.spec, cell.task) for cell in checked.cells}
    print_counted(checked.suite.name, cells, rate, as_json)


def _print_plan(found: SuitePlan) -> None:
    from raysel.report.words import hours, seconds, size  # noqa: PLC0415

    head = f"{found.trials:,.0f} trials, {found.runs:,} confirm runs · {found.epochs:,.0f} epochs"
    say(f"{found.name} · {count_of(len(found.cells), 'cell')} · {head}, {found.steps:,.0f} steps")
    rows = [
        (
            name,
            *(f"{plan.trials:.0f}", f"{plan.runs}", f"{plan.epochs:,.0f}"),
            "–" if plan.duration is None else seconds(plan.duration.total),
            "–" if plan.hours is None else hours(plan.hours),
        )
        for name, plan in found.cells.items()
    ]
    print_table(("cell", "trials", "confirm runs", "epochs", "alone", "hours"), rows, range(1, 6))
    for note in found.notes:
        say(f"note   {note}")
    first = found.first
    if (time := found.duration) is None:
        why = next((plan.why for plan in found.cells.values() if plan.why), "")
        say(f"time   not estimated: {why or 'a strategy could not be measured'}")
    else:
        around = f"{seconds(time.low)} to {seconds(time.high)}"
        unit = "GPU" if first.costs.gpus else "CPU"
        say(
            f"time   {seconds(time.total)} ({around}), {first.costs.concurrent} trials at a time"
            f" on {first.device} · {hours(found.hours or 0)} {unit} hours"
        )
    if found.cost is not None:
        say(f"cost   {found.cost:,.2f} at {first.costs.price:g} a GPU hour")
    say(f"space  {size(found.disk)} of disk")
