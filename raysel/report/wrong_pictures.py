"""The worst pictures on a sweep's page, with thumbnails where the data are here: files, members of
archives, rows of Parquet or of arrays, each read by the data set's own reader."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from raysel.common.errors import OperationalError
from raysel.common.text import and_more, one_line
from raysel.common.user_files import lies_there
from raysel.record.layout import SweepFolder, write_whole
from raysel.report.mistakes import Mistakes, WrongPicture, mistakes
from raysel.spec.sweep import Spec
from raysel.sweep.confirm_answers import answers_of
from raysel.sweep.results import SweepResults
from raysel.training.answers import FILE

_SHOWN = 12
_SIDE = 112
"""Pixels of a thumbnail's longer side."""


@dataclass(frozen=True)
class Shown:
    """One picture: `image` is a data URI, None where the picture is not here."""

    image: Markup | None
    name: str
    given: str
    taken: str
    often: str


@dataclass(frozen=True)
class Group:
    """Pictures under one line of text; `more` of the kind are left out."""

    title: str
    pictures: tuple[Shown, ...]
    more: int


def kept_mistakes(results: SweepResults, folder: Path, spec: Spec | None) -> Mistakes | None:
    """The winner's mistakes; None for a sweep whose runs kept no answers.

    Args:
        folder: the sweep's.
        spec: its sweep file, which names the data; None where it cannot be read.
    """
    if spec is None:
        return None
    try:
        return mistakes(results, SweepFolder(folder), spec)
    except OperationalError:
        return None


def damaged_answers(results: SweepResults, folder: SweepFolder) -> str | None:
    """Which confirm runs have answers that cannot be used, in a line; None where none has.

    A run without its file beside others that have theirs has lost it: an older raysel kept none.
    """
    read = answers_of(results.confirm_runs, folder.trial)
    lost = [run for run, one in read.items() if not one]
    damaged = [run for run in lost if lies_there(folder.trial(run) / FILE)]
    if not damaged and (not lost or len(lost) == len(read)):
        return None
    how = "damaged, or another run's" if damaged else "gone"
    runs = and_more(damaged or lost, 3)
    return f"{FILE} of {runs} is {how}: mistakes and their pages leave it out"


def changed_pictures(found: Mistakes | None) -> str | None:
    """Why the pictures on a sweep's page have no names, in a line; None where they have theirs."""
    if found is None or not found.unnamed:
        return None
    return f"{found.unnamed}: pictures on the page are called by their places"


def write_predictions(found: Mistakes | None, file: Path, is_damaged: bool = False) -> None:
    """What the exported model says of every picture of the test part, as CSV; where its run kept no
    answers there is no such file.

    Where answers are damaged, or the pictures' names are lost, a table that is there stays.
    """
    is_lost = bool(found.unnamed) if found is not None and found.model else is_damaged
    if is_lost and file.exists():
        return
    if found is None or not found.model:
        file.unlink(missing_ok=True)
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("picture", "given", "predicted", "confidence", "wrong_runs", "runs"))
    for row in found.model:
        sure = "" if row.confidence is None else f"{row.confidence:.4f}"
        rows.writerow((row.picture, row.given, row.taken, sure, row.wrong, row.runs))
    write_whole(file, text.getvalue().encode("utf-8", "backslashreplace"))


def wrong_pictures(found: Mistakes | None) -> list[Group]:
    """The groups that hold a picture."""
    if found is None:
        return []
    return [_group(title, rows, found) for title, rows in titled(found) if rows]


def titled(found: Mistakes) -> list[tuple[str, tuple[WrongPicture, ...]]]:
    """Each list with the line above it."""
    lists = [(f"What {found.strategy} takes for another class", found.worst)]
    if found.other is not None:
        ours = f"Wrong with {found.strategy}, right with {found.other}, in most runs"
        theirs = f"Wrong with {found.other}, right with {found.strategy}, in most runs"
        lists += [(ours, found.only_ours), (theirs, found.only_theirs)]
    every = "Wrong in every run of every strategy: a wrong label, most often, or a hard picture"
    return [*lists, (every, found.everywhere)]


def _group(title: str, rows: Sequence[WrongPicture], found: Mistakes) -> Group:
    shown = tuple(_shown(row, found.image(row)) for row in rows[:_SHOWN])
    return Group(title, shown, max(len(rows) - _SHOWN, 0))


def _shown(row: WrongPicture, picture: Image.Image | None) -> Shown:
    sure = "" if row.confidence is None else f", {row.confidence:.0%} sure"
    often = f"{row.wrong} of {row.runs} runs{sure}"
    path = Path(row.picture)
    # a row of Parquet has a number alone: with its file's name
    short = path.name if path.suffix else "/".join(path.parts[-2:])
    name = one_line(short if row.file else row.picture)
    image = None if picture is None else _thumbnail(picture)
    return Shown(image, name, one_line(row.given), one_line(row.taken), often)


def _thumbnail(picture: Image.Image) -> Markup:
    """A data URI of a small JPEG."""
    picture.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=80)
    # Markup: the page cuts every other text
    return Markup(f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}")
