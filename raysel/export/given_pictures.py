"""What `raysel predict` is given, picture files, folders, patterns, tables, as a list of files."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysel.common.errors import UserError, user_error
from raysel.common.text import and_more, quoted
from raysel.common.user_files import any_error_as
from raysel.tasks.file_kinds import is_table_name
from raysel.tasks.image_dataset import LeftOut
from raysel.tasks.image_files import LeftOutFiles, images_below
from raysel.tasks.table_columns import has_files, listed_files
from raysel.tasks.table_files import locate
from raysel.tasks.table_text import read_table

_PLACE = "PICTURES"


@dataclass(frozen=True)
class GivenPictures:
    """The files, each once, in the order in which they were given.

    Attributes:
        left_out: files of folders that are no pictures by their names, by reason.
    """

    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...] = ()


def given_pictures(given: Sequence[str]) -> GivenPictures:
    """Every picture that is meant.

    Args:
        given: files (taken whatever their ending), folders (looked through with all that is below
            them), patterns (`photos/*.jpg`, `**` for any depth), tables with a column of files.

    Raises:
        UserError: one of them is not there, or leads to no picture.
    """
    found: dict[Path, None] = {}
    left_out: list[LeftOut] = []
    for text in given:
        if not text.strip():
            words = "is empty; give files, folders, patterns or tables of files"
            raise user_error(_PLACE, f"{quoted(text)} {words}")
        files, others = _expanded(text)
        if not files:
            why = f"; left out: {and_more([one.reason for one in others])}" if others else ""
            raise user_error(_PLACE, f"{quoted(text)} holds no picture{why}")
        found |= dict.fromkeys(files)
        left_out += others
    return GivenPictures(tuple(found), tuple(left_out))


def _expanded(text: str) -> tuple[list[Path], tuple[LeftOut, ...]]:
    path = Path(text)
    if path.is_dir():
        return _of_folder(path)
    if path.exists():
        return (_of_table(path) if is_table_name(path) else [path]), ()
    if not glob.has_magic(text):
        raise user_error(_PLACE, f"{quoted(text)}: there is no such file or folder")
    # Path.glob takes no absolute pattern
    matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207
    if not matches:
        raise user_error(_PLACE, f"no file fits the pattern {quoted(text)}")
    return _of_matches(matches)


def _of_matches(matches: Iterable[Path]) -> tuple[list[Path], tuple[LeftOut, ...]]:
    """The files that fit a pattern; the pictures of a folder that fits one."""
    found: list[Path] = []
    others: tuple[LeftOut, ...] = ()
    for match in matches:
        files, left_out = _of_folder(match) if match.is_dir() else ([match], ())
        found, others = found + files, others + left_out
    return found, others


def _of_folder(folder: Path) -> tuple[list[Path], tuple[LeftOut, ...]]:
    left_out = LeftOutFiles(folder)
    with any_error_as(lambda why: user_error(_PLACE, f"{folder} cannot be read: {why}")):
        return images_below(folder, left_out), left_out.by_reason()


def _of_table(path: Path) -> list[Path]:
    """The files of a table, those that are not there among them."""
    try:
        table = read_table(path, has_files)
        names = listed_files(table)
        if names is None:
            words = f"{path} has no column of files; its head is {table.shown_head()}"
            raise user_error(_PLACE, f"{words}: call one of them file")
        return locate(table, names, path.parent, None).paths
    except UserError as error:  # of a table that a sweep file names
        raise UserError(
            *(user_error(_PLACE, p.message).problems[0] for p in error.problems)
        ) from None
