"""Arguments that the verbs share, and how they read sweep files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysel.common.paths import name_problem, path_problem, plain, storage_problem

if TYPE_CHECKING:
    from raysel.spec.sweep import Spec
    from raysel.tasks.opened_task import OpenedTask


def _refuse(place: str, value: str, wrong: str | None) -> None:
    from raysel.common.errors import user_error  # noqa: PLC0415

    if wrong:
        raise user_error(place, f'"{value}" is not accepted: {wrong}')


def _checked_storage(storage: str) -> str:
    _refuse("--storage", storage, storage_problem(storage))
    from raysel.common.errors import user_error  # noqa: PLC0415
    from raysel.common.locations import check_bucket, is_bucket  # noqa: PLC0415

    if not is_bucket(storage):
        return plain(storage)
    if problem := check_bucket(storage):
        raise user_error("--storage", problem.message)
    return storage


def _checked_name(name: str) -> str:
    _refuse("SWEEP", name, name_problem(name))
    return name


def checked_names(names: list[str]) -> list[str]:
    """Sweep names given on the command line, checked."""
    return [_checked_name(name) for name in names]


def path_option(option: str, metavar: str, help: str) -> Any:
    """An option that is a path on this machine; an empty one is refused, as it would be `.`."""

    def read(text: str) -> Path:
        _refuse(option, text, path_problem(text))
        return Path(plain(text))

    return typer.Option(option, metavar=metavar, help=help, parser=read)


SweepFile = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value: training.epochs=5."),
]
ManyCells = Annotated[bool, typer.Option("--yes", help="Also a suite of more than 1,000 cells.")]
SweepName = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP", help="The sweep's name, or suite/cell.", callback=_checked_name
    ),
]
Storage = Annotated[
    str,
    typer.Option("--storage", help="Folder of the sweeps.", callback=_checked_storage),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def checked(file: Path, overrides: Sequence[str]) -> Spec:
    """Read and check a sweep file."""
    return checked_opened(file, overrides)[0]


def checked_opened(
    file: Path, overrides: Sequence[str], counted: bool = False
) -> tuple[Spec, OpenedTask]:
    """The same, with the data set that was opened for it; `counted`: see `validate.check`."""
    from raysel.search.validate import read_opened  # noqa: PLC0415

    spec, task = read_opened(file, overrides, counted)
    say_not_for_all(overrides, spec)
    return spec, task


def say_not_for_all(overrides: Sequence[str], spec: Spec) -> None:
    """Say on standard error which values of the command line some arms do not take."""
    from raysel.common.output import say_error  # noqa: PLC0415
    from raysel.search.arms import not_for_all  # noqa: PLC0415

    for sentence in not_for_all(overrides, spec):
        say_error(f"note   {sentence}")


def checked_for_there(file: Path, overrides: Sequence[str]) -> Spec:
    """The same for a sweep that will run on a cluster: whether its storage can be written, and
    which packages its databases need, is checked on the machines there."""
    return _checked_but(file, overrides, ("storage", "database_url", "tracking.uri"))


def checked_but_storage(file: Path, overrides: Sequence[str]) -> Spec:
    """The same; a separate check finds out whether its storage can be written."""
    return _checked_but(file, overrides, ("storage",))


def _checked_but(file: Path, overrides: Sequence[str], apart: Sequence[str]) -> Spec:
    """Check a sweep file; of the keys `apart` only the syntax."""
    from raysel.common.errors import UserError  # noqa: PLC0415
    from raysel.common.locations import check_bucket, check_record_url, is_bucket  # noqa: PLC0415
    from raysel.spec import reader  # noqa: PLC0415

    given = reader.read(file, overrides)
    wanted = given.spec()
    problems = [check_bucket(wanted.storage)] if is_bucket(wanted.storage) else []
    if "database_url" in apart and wanted.database_url is not None:
        problems.append(check_record_url(wanted.database_url, wanted.name))
    if found := [problem for problem in problems if problem]:
        raise UserError(*given.locate(found))
    here = {"storage": tempfile.gettempdir()}
    spec = checked(file, [*overrides, *(f"{key}={here.get(key, '')}" for key in apart)])
    there = (key.partition(".")[0] for key in apart)
    return spec.model_copy(update={name: getattr(wanted, name) for name in there})


@contextmanager
def located(file: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Give what is raised within the lines of the sweep file: of problems that are seen after it
    was read, such as those of earlier sweeps."""
    from raysel.common.errors import UserError  # noqa: PLC0415

    try:
        yield
    except UserError as error:
        from raysel.spec import reader  # noqa: PLC0415

        raise UserError(*reader.read(file, overrides).locate(error.problems)) from None


def prior_notes(spec: Spec, task: OpenedTask) -> list[str]:
    """What the sweep would take from earlier ones, a line each.

    Raises:
        UserError: one of them cannot be used.
    """
    if not spec.search.prior:
        return []
    from raysel.sweep.priors import notes_of  # noqa: PLC0415  (what it imports takes a second)

    return notes_of(spec, task)


def day(at: float) -> str:
    """A time as a person reads it: `2026-11-21 19:40`."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
