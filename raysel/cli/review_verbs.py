"""The verbs that show and remove sweeps: list, show, rm, gc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from raysel.cli import cluster, suite_verbs
from raysel.cli.arguments import AsJson, Storage, SweepName, day
from raysel.cli.cluster import Address
from raysel.common.errors import FAILED, user_error
from raysel.common.output import ask, print_json, print_table, say

if TYPE_CHECKING:
    from raysel.record.state import TrialState
    from raysel.report.review import RangeLine, SweepRow, TrialLine
    from raysel.sweep.gc import Leftover
    from raysel.sweep.views import SweepView

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("list")(list_sweeps)
    app.command()(show)
    app.command("rm")(remove)
    app.command("gc")(collect)


def list_sweeps(
    storage: Storage = "runs", address: Address = None, as_json: AsJson = False
) -> None:
    """List sweeps and suites: state, progress, best trial, verdict; with --address a cluster's
    jobs."""
    if address is not None:
        return cluster.list_there(address, as_json)
    from raysel.report.review import sweep_row  # noqa: PLC0415
    from raysel.sweep.views import read_all, suites  # noqa: PLC0415

    known = suites(storage)
    views = dict(read_all(storage, cells=as_json))
    rows = [sweep_row(view) for view in views.values() if not isinstance(view, str)]
    broken = {name: line for name, line in views.items() if isinstance(line, str)}
    if as_json:
        unreadable = [{"name": name, "problem": line} for name, line in broken.items()]
        listed = {"sweeps": [asdict(row) for row in rows], "unreadable": unreadable}
        return print_json(listed | {"suites": [suite_verbs.as_row(storage, n) for n in known]})
    if not views and not known:
        return say(f"there is no sweep in {storage}/")
    if rows:
        head = ("sweep", "state", "search", "confirm", "best", "with", "began")
        cells = [_cells(row) for row in rows]
        print_table(head, cells, numbers=(2, 3, 4), whole=range(5))
    for row in rows:
        for words in filter(None, _remarks(row)):
            say(f"{row.name}: {words}")
        if row.verdict:
            say(f"{row.name}: {row.verdict}")
    for name, line in broken.items():
        say(f"{name}: cannot be read: {line}")
    if known:
        if rows or broken:
            say("")
        rows_of = [suite_verbs.as_row(storage, name) for name in known]
        cells = [
            (row["name"], row["state"], f"{row['complete']}/{row['cells']}") for row in rows_of
        ]
        print_table(("suite", "state", "cells"), cells, numbers=(2,), whole=range(3))
    return None


def _remarks(row: SweepRow) -> tuple[str | None, ...]:
    copied = row.copy_of and f'a copy of the sweep "{row.copy_of}"; its name is the folder\'s'
    return copied, row.running and f"run by {row.running}", row.cause


def _cells(row: SweepRow) -> tuple[str, ...]:
    began = "" if row.started_at is None else day(row.started_at)
    return (
        row.name,
        row.state,
        f"{row.done}/{row.trials}",
        f"{row.confirmed}/{row.runs}" if row.runs else "",
        "" if row.best is None else f"{row.best:.3f}",
        row.best_label or "",
        began,
    )


def show(
    sweep: SweepName,
    trial: Annotated[
        str | None, typer.Argument(metavar="[TRIAL]", help="17, or confirm-full-s0.")
    ] = None,
    storage: Storage = "runs",
    as_json: AsJson = False,
) -> None:
    """Show a suite's cells, a sweep's trials, or one trial: configuration, curves, updated layers,
    result."""
    from raysel.sweep.views import read_sweep  # noqa: PLC0415

    if suite_verbs.is_stored(storage, sweep):
        if trial is not None:
            raise user_error(trial, f"is of a cell: raysel show {sweep}/CELL {trial}")
        return suite_verbs.show(storage, sweep, as_json)
    view = read_sweep(storage, sweep)
    if trial is None:
        return _show_sweep(view, as_json)
    return _show_trial(view, view.trial(trial), as_json)


def _show_sweep(view: SweepView, as_json: bool) -> None:
    from raysel.report.review import range_lines, sweep_row, trial_lines  # noqa: PLC0415

    row, lines, tests = sweep_row(view), trial_lines(view), range_lines(view)
    if as_json:
        listed = {"trials": [asdict(line) for line in lines], "problems": view.problems}
        tested = {"range_tests": [asdict(test) for test in tests]} if tests else {}
        return print_json(asdict(row) | tested | listed)
    say(f"{row.name} · {row.state} · {row.done}/{row.trials} trials · {row.metric}")
    for words in filter(None, _remarks(row)):
        say(words)
    if tests:
        say("")
        columns = ("range test", "state", "steps", "suggested", "")
        print_table(columns, list(map(_range_cells, tests)), numbers=(2, 3), whole=range(4))
    secondary = view.spec.objective.secondary
    for phase, measure, more in (("search", row.metric, secondary), ("confirm", "test/error", ())):
        head = (phase, "state", "epochs", measure, *more, "seconds", "")
        cells = [_trial_cells(line, more) for line in lines if line.phase == phase]
        if cells:
            say("")
            places = range(2, len(head) - 1)
            print_table(head, cells, numbers=places, whole=range(len(head) - 1))
    if any(line.on_front for line in lines):
        say("", "* no other trial dominates it: none is as good in every objective")
    if row.verdict:
        say("", f"verdict  {row.verdict}")
    for problem in view.problems:
        say("", f"problem  {problem}")
    return None


def _range_cells(test: RangeLine) -> tuple[str, ...]:
    return (
        test.id,
        test.state,
        "" if test.steps is None else f"{test.steps}",
        "" if test.suggested is None else f"{test.suggested:.2g}",
        test.cause or ("nothing is suggested" if test.steps and test.suggested is None else ""),
    )


def _trial_cells(line: TrialLine, secondary: Sequence[str]) -> tuple[str, ...]:
    from raysel.report.words import objective_value  # noqa: PLC0415

    confirm = line.phase == "confirm"  # the id says the strategy
    measured = line.test_error if confirm else line.value
    label = line.label.removeprefix(line.strategy).strip() if confirm else line.label
    more = [(name, line.values.get(name)) for name in secondary]
    return (
        f"{line.id} *" if line.on_front else line.id,
        line.state,
        f"{line.epochs}/{line.of}",
        "" if measured is None else f"{measured:.3f}",
        *("" if value is None else objective_value(name, value) for name, value in more),
        f"{line.seconds:.1f}",
        f"{label}: {line.cause}" if line.state == "FAILED" else label,
    )


def _show_trial(view: SweepView, trial: TrialState, as_json: bool) -> None:
    from raysel.record.state import RANGE  # noqa: PLC0415
    from raysel.report import plot, review  # noqa: PLC0415

    layers = view.sweep.layers_of(trial)
    rows = review.moved(trial, layers)
    if as_json:
        listed = {line.id: line for line in review.trial_lines(view)}
        line = asdict(listed.get(trial.id) or review.trial_line(trial, on_front=False))
        out = {"config": trial.config, "searched": trial.searched, "notes": trial.notes}
        measured = {"curve": trial.epochs, "end_metrics": trial.end_metrics}
        moved = [asdict(row) for row in rows]
        files = None if view.is_gone(trial) else str(view.folder.trial(trial.id))
        return print_json(line | out | measured | {"moved": moved, "files": files})
    say(f"{trial.id} {trial.label} · {trial.status}")
    say(review.ending(trial, view))
    for note in trial.notes:
        say(f"note  {note}")
    say("")
    print_table(("configuration", ""), list(review.configuration(trial).items()))
    losses = ["train/loss", "val/loss"]
    metric = view.spec.objective.metric
    for group in (losses, [metric]) if metric not in losses else (losses,):
        drawn = plot.curves({name: [row.get(name) for row in trial.epochs] for name in group})
        if drawn:
            say("", *drawn)
    if rows:
        top = max(1.0, *(value or 0.0 for row in rows for value in row.epochs))
        say("", f"moved  {review.moved_in_words(rows, layers)}")
        cells = [(r.layer, plot.sparkline(r.epochs, top), f"{r.share:.3g}") for r in rows]
        print_table(("layer", "by epoch", "mean weight"), cells, numbers=(2,))
    if trial.end_metrics:
        say("")
        ends = [
            (name, f"{value:.4g}") for name, value in trial.end_metrics.items() if value is not None
        ]
        print_table(("at the end", ""), ends, numbers=(1,))
    if trial.phase != RANGE:  # which has no files
        gone = ", which is gone: no trace of its layers is left here" if view.is_gone(trial) else ""
        say("", f"files  {view.folder.trial(trial.id)}{gone}")
    return None


def remove(
    sweep: SweepName, storage: Storage = "runs", yes: Yes = False, as_json: AsJson = False
) -> int:
    """Remove a sweep or a suite: records, results, traces and models. MLflow keeps its runs."""
    from raysel.sweep.gc import suite_to_remove, sweep_to_remove  # noqa: PLC0415

    if suite_verbs.is_stored(storage, sweep):
        return _remove(suite_to_remove(storage, sweep), (), yes, as_json)
    return _remove([sweep_to_remove(storage, sweep, even_elsewhere=yes)], (), yes, as_json)


def collect(storage: Storage = "runs", yes: Yes = False, as_json: AsJson = False) -> int:
    """Delete unused files: caches, checkpoints of ended trials, Ray's own files."""
    from raysel.sweep.gc import leftovers  # noqa: PLC0415

    found = leftovers(storage)
    return _remove(found.found, found.kept, yes, as_json)


def _remove(
    items: list[Leftover] | tuple[Leftover, ...], kept: tuple[str, ...], yes: bool, as_json: bool
) -> int:
    from raysel.sweep import gc  # noqa: PLC0415

    freed = sum(item.bytes for item in items)
    if not as_json:
        if items:
            print_table(("MB", ""), [(_megabytes(i.bytes), i.what) for i in items], numbers=(0,))
        for line in kept:
            say(line)
        if not items:
            say("there is nothing to free")
            return 0
    elif items and not yes:
        raise typer.BadParameter("--json does not ask; give --yes with it")
    if items and not yes and not ask(f"Remove {_megabytes(freed)} MB?", "--yes"):
        say("nothing was removed")
        return FAILED
    problems = gc.remove(items)
    freed -= gc.left_of(items)
    if as_json:
        removed = [{"what": item.what, "bytes": item.bytes} for item in items]
        out = {"freed_bytes": freed, "removed": removed, "kept": kept, "problems": problems}
        print_json(out)
    else:
        for line in problems:
            say(line)
        say(f"{_megabytes(freed)} MB freed")
    return 1 if problems else 0


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"
