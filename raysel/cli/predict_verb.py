"""The verb that asks a model: predict."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysel.cli.arguments import AsJson, Storage
from raysel.common.errors import FAILED, user_error
from raysel.common.output import print_csv, print_json, print_table, say_error

if TYPE_CHECKING:
    from raysel.export.prediction import Prediction

_EVERY_SECONDS = 2.0


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(predict)


def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="An exported folder, a sweep (its winner), or SWEEP/STRATEGY.",
        ),
    ],
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PICTURES...", help="Files, folders, patterns, tables of files."),
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes of each picture.")] = 3,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    storage: Storage = "runs",
    as_json: AsJson = False,
) -> int:
    """Ask a model about pictures: the likeliest classes of each, with their probabilities."""
    if as_csv and as_json:
        raise user_error("--csv", "give it or --json, not both")
    from raysel.export.given_pictures import given_pictures  # noqa: PLC0415
    from raysel.export.named_model import model_folder  # noqa: PLC0415
    from raysel.export.prediction import Predictor, compared_with_folders  # noqa: PLC0415

    given = given_pictures(pictures)
    for left in given.left_out:
        say_error(f"note     left out, {left.reason}: {left.count:,}")
    with model_folder(model, storage, lambda line: say_error(line)) as folder:
        predictor = Predictor(folder)
        if predictor.shift is not None:
            shift = f"trained under the shift {predictor.shift}"
            say_error(f"note     {shift}: it expects pictures, or labels, that differ so")
        rows = list(_with_progress(predictor.predict(given.files, top), len(given.files)))
    matched = compared_with_folders(rows, predictor.classes)
    failed = [row for row in rows if row.problem is not None]
    if as_json:
        print_json(
            {
                "pictures": [_as_json(row) for row in rows],
                "unreadable": len(failed),
                "folders": matched and asdict(matched),
            }
        )
    elif as_csv:
        _print_csv(rows, min(top, len(predictor.classes)))
    else:
        _print_rows(rows)
    if matched is not None:
        say_error(f"note     {matched}")
    if failed:
        say_error(f"error  {len(failed):,} of {len(rows):,} files cannot be read")
    return FAILED if failed else 0


def _with_progress(rows: Iterator[Prediction], count: int) -> Iterator[Prediction]:
    """The rows; a line on standard error every two seconds."""
    shown = time.monotonic()
    for done, row in enumerate(rows, start=1):
        if time.monotonic() - shown >= _EVERY_SECONDS:
            shown = time.monotonic()
            say_error(f"{done:>6,}/{count:,}  pictures")
        yield row


def _as_json(row: Prediction) -> dict[str, Any]:
    pairs = zip(row.classes, row.shares, strict=True)
    classes = [{"name": name, "probability": share} for name, share in pairs]
    return {"file": str(row.file), "classes": classes, "problem": row.problem}


def _print_csv(rows: list[Prediction], top: int) -> None:
    numbers = range(1, top + 1)
    head = [f"{what}{number}" for number in numbers for what in ("class", "probability")]
    print_csv(["file", *head, "problem"])
    for row in rows:
        pairs = zip(row.classes, row.shares, strict=True)
        cells = [cell for name, share in pairs for cell in (name, f"{share:.6g}")]
        print_csv([str(row.file), *(cells or [""] * 2 * top), row.problem or ""])


def _print_rows(rows: list[Prediction]) -> None:
    cells = []
    for row in rows:
        if row.problem is not None:
            cells.append((str(row.file), "", "", row.problem))
            continue
        pairs = list(zip(row.classes, row.shares, strict=True))
        others = ", ".join(f"{name} {share:.1%}" for name, share in pairs[1:])
        cells.append((str(row.file), pairs[0][0], f"{pairs[0][1]:.1%}", others))
    print_table(("picture", "class", "", "then"), cells, numbers=(2,), whole=range(3))
