"""What the files of the command line share: arguments by name, and sweep files read."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from raysel.spec import Spec

SweepFile = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value: training.epochs=5."),
]
SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="The sweep's name.")]
Storage = Annotated[str, typer.Option("--storage", help="Folder of the sweeps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def checked(file: Path, overrides: Sequence[str]) -> Spec:
    """The sweep of a file, checked; mistakes of grammar are told before torch is imported."""
    from raysel import spec_file  # noqa: PLC0415

    spec_file.load(file, overrides)
    from raysel.validate import read  # noqa: PLC0415

    return read(file, overrides)


def checked_but_storage(file: Path, overrides: Sequence[str]) -> Spec:
    """The same; whether its storage can be written is for another machine to say."""
    from raysel import spec_file  # noqa: PLC0415
    from raysel.errors import UserError  # noqa: PLC0415
    from raysel.places import check_bucket, is_bucket  # noqa: PLC0415

    given = spec_file.read(file, overrides)
    storage = given.spec().storage
    if is_bucket(storage) and (problem := check_bucket(storage)):
        raise UserError(*given.locate([problem]))
    spec = checked(file, [*overrides, f"storage={tempfile.gettempdir()}"])
    return spec.model_copy(update={"storage": storage})


def day(at: float) -> str:
    """A time as a person reads it: `2026-11-21 19:40`."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
