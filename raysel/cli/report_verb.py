"""The verb report: a sweep's page anew, a page of several that compares them, their tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysel.cli import suite_verbs
from raysel.cli.arguments import AsJson, Storage, checked_names, path_option
from raysel.common.disk_errors import cannot
from raysel.common.errors import OperationalError, user_error
from raysel.common.output import PATH, print_json, say, say_error
from raysel.common.user_files import any_error_as

if TYPE_CHECKING:
    from raysel.report.compared import Compared
    from raysel.sweep.results import SweepResults
    from raysel.sweep.views import SweepView

    Read = list[tuple[SweepView, SweepResults]]


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(report)


def report(
    sweeps: Annotated[
        list[str],
        typer.Argument(
            metavar="SWEEP...",
            help="One sweep or suite, or several to compare.",
            callback=checked_names,
        ),
    ],
    to: Annotated[
        Path | None,
        path_option("--to", "DIR", "Folder for the comparison of several sweeps."),
    ] = None,
    tables: Annotated[
        Path | None,
        path_option(
            "--tables",
            "DIR",
            "Write every table as CSV and LaTeX and every figure as PDF and PNG into this folder.",
        ),
    ] = None,
    storage: Storage = "runs",
    as_json: AsJson = False,
) -> None:
    """Write the report of a sweep or a suite again, or a page that compares several; --tables for a
    paper."""
    from raysel.sweep.views import read_results  # noqa: PLC0415

    if tables is not None:
        _check("--tables", tables)
    if len(sweeps) == 1 and suite_verbs.is_stored(storage, sweeps[0]):
        if to is not None:
            raise user_error("--to", "the report of a suite lies in its own folder")
        return suite_verbs.report(storage, sweeps[0], tables, as_json)
    read = [read_results(storage, name) for name in dict.fromkeys(sweeps)]
    if tables is not None:
        _check_outside("--tables", tables, read)
    if len(read) == 1:
        if to is not None:
            raise user_error(
                "--to",
                "is for the comparison of several sweeps; the report of one lies in its own folder",
            )
        index, changed = _own_page(read)
    else:
        index, changed = _comparison(read, to, storage), None
    with _shown(*(view for view, _ in read)):
        files = _tables(read, tables) if tables is not None else []
    problems = [line for view, results in read for line in _problems(view, results)]
    problems += [changed] if changed else []
    if not as_json:
        for problem in problems:
            say_error(f"problem  {problem}")
        say(index, most=PATH)
        return say(f"{tables / 'tables.tex'}", most=PATH) if tables is not None else None
    figures = sorted(str(path) for path in (index.parent / "figures").glob("*.png"))
    names = [view.folder.name for view, _ in read]
    found: dict[str, Any] = {"report": str(index), "sweeps": names, "figures": figures}
    found["problems"] = problems
    if len(read) > 1:
        found["ranks"] = _ranks(read)
    if tables is not None:
        found["tables"] = [str(path) for path in files]
    return print_json(found)


def _problems(view: SweepView, results: SweepResults) -> list[str]:
    from raysel.report.wrong_pictures import damaged_answers  # noqa: PLC0415

    damaged = damaged_answers(results, view.folder)
    return [*view.problems, *filter(None, (damaged,))]


def _own_page(read: Read) -> tuple[Path, str | None]:
    """The page of one sweep, in its folder; and why its pictures have no names, where so."""
    from raysel.record.layout import tracking_uri  # noqa: PLC0415
    from raysel.record.mlflow_page import mlflow_lines  # noqa: PLC0415
    from raysel.report.page import write_report  # noqa: PLC0415
    from raysel.report.wrong_pictures import changed_pictures, kept_mistakes  # noqa: PLC0415

    ((view, results),) = read
    folder = view.folder.path
    with _shown(view):
        lines = mlflow_lines(folder, tracking_uri(view.spec))
        found = kept_mistakes(results, folder, view.spec)
        return write_report(results, folder, lines, found), changed_pictures(found)


def _comparison(read: Read, to: Path | None, storage: str) -> Path:
    """The page of several sweeps, in the folder that was given or beside them."""
    from raysel.common.locations import working_folder  # noqa: PLC0415
    from raysel.common.user_files import lies_below, own_folder  # noqa: PLC0415
    from raysel.report.comparison import write_comparison  # noqa: PLC0415

    target = to or working_folder(storage) / "comparison"
    _check_outside("--to", target, read)
    try:
        if to is None:  # a link that nobody has named is not followed
            own_folder(target)
        with _shown(*(view for view, _ in read)):
            return write_comparison(_compared(read), target)
    except OSError as error:
        if to is None or not lies_below(Path(error.filename or to), to):
            raise  # the disk of the storage, or a file of a sweep's
        raise user_error("--to", f"{target} {cannot('be written', error, target)}") from None


def _compared(read: Read) -> list[Compared]:
    from raysel.report.compared import Compared  # noqa: PLC0415

    return [Compared(view.folder.name, results, view.spec) for view, results in read]


def _tables(read: Read, folder: Path) -> list[Path]:
    """Every table and figure of the page, as files for a paper."""
    from raysel.report import comparison, page  # noqa: PLC0415

    if len(read) > 1:
        return comparison.write_comparison_tables(_compared(read), folder)
    ((view, results),) = read
    return page.write_report_tables(results, view.folder.path, folder)


def _ranks(read: Read) -> dict[str, Any]:
    from raysel.report.compared import ranking  # noqa: PLC0415

    return asdict(ranking(_compared(read)))


def _check(option: str, folder: Path) -> None:
    from raysel.common.user_files import why_not_made  # noqa: PLC0415

    if problem := why_not_made(folder):
        raise user_error(option, f"{folder} cannot be written: {problem}")


def _check_outside(option: str, folder: Path, read: Read) -> None:
    from raysel.common.user_files import lies_below  # noqa: PLC0415

    own = [view.folder.path for view, _ in read]
    if inside := [path for path in own if lies_below(folder, path)]:
        raise user_error(option, f"{folder} lies in a sweep ({inside[0]}); give a folder outside")


@contextmanager
def _shown(*sweeps: SweepView) -> Iterator[None]:
    """What a damaged `results.json` makes the report raise, in one line.

    Raises:
        OperationalError: in its place; what is wrong with the disk is reported as it is.
    """
    files = ", ".join(str(one.folder.results) for one in sweeps)
    again = " or ".join(one.folder.resume() for one in sweeps)
    with any_error_as(
        lambda why: OperationalError(files, f"cannot be shown: {why}; write it anew with: {again}"),
        passing=(OSError,),
    ):
        yield
