"""Which column of a table is what: as the sweep file says, or by the names that are usual."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from raysel.common.errors import UserError, nearest, user_error
from raysel.common.text import and_more, quoted
from raysel.tasks.class_names import listed, normalised
from raysel.tasks.image_files import is_image_name
from raysel.tasks.splits import POOL_OF_FOLDER
from raysel.tasks.table_text import TableText, wrong_row

_FILES = (
    (
        *("file", "filename", "path", "filepath", "files", "filenames", "paths", "filepaths"),
        *("fname", "relativepath", "relpath", "imagepath", "imagefile", "imagefilename"),
        *("imagefilepath", "imagename", "imgpath", "imgfile", "imgname"),
    ),
    ("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "pic"),
    ("id", "imageid", "imgid", "idcode", "fileid", "pictureid", "photoid", "isicid", "uuid"),
)
_LABELS = (
    (
        *("label", "class", "category", "target", "labels", "classes", "classname", "labelname"),
        *("categoryname", "targetname", "y", "species", "breed", "diagnosis", "dx"),
    ),
    ("labelid", "classid", "categoryid", "targetid", "labelindex", "classindex", "labelidx"),
)
"""Names of columns as they are compared, the most certain first."""

_OTHER_TASKS = {
    "detection (boxes)": ("bbox", "bboxes", "boxes", "objects", "annotations", "detections"),
    "segmentation (masks)": ("mask", "masks", "segmentation", "segmentations", "annotation"),
    "captions": ("caption", "captions", "text", "description"),
}
"""What columns without a label's are for: tasks that raysel does not do."""

_SPLIT = "split"
_SPLITS = ("subset", "partition", "set", "dataset", "datasplit", "part", "phase")
_FLAGS = {
    **dict.fromkeys(("isvalid", "isval", "isvalidation"), "val"),
    **dict.fromkeys(("istrain", "istraining", "istrainingimage"), "train"),
    "istest": "test",
}
"""Columns of true and false that say which rows are a part: fastai's tables have `is_valid`, those
of CUB-200 `is_training_image`."""
_ONES = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


class ColumnNames(NamedTuple):
    """Columns as `task.data` names them; None where the table is to say."""

    file_column: str | None = None
    label_column: str | None = None
    classes: Sequence[str] | None = None
    group_columns: Sequence[str] | None = None


class Columns(NamedTuple):
    """The columns that count: a file, a label and perhaps a part for each row, notes, and those
    that make its group."""

    files: list[str]
    labels: list[str]
    splits: list[str] | None
    notes: tuple[str, ...] = ()
    groups: dict[str, list[str]] | None = None


def fits(head: Sequence[str], wanted: ColumnNames) -> bool:
    """Whether a head has a column of files, and a label's or several others."""
    file = _named(head, wanted.file_column) if wanted.file_column else _usual(head, _FILES)
    label = _named(head, wanted.label_column) if wanted.label_column else _usual(head, _LABELS)
    return bool(file) and (bool(label) or len(head) > 2)


def has_files(head: Sequence[str]) -> bool:
    """Whether a head has a column of files by its name."""
    return bool(_usual(head, _FILES))


def usual_label(names: Sequence[str]) -> str | None:
    """The name that is a label's; None where none is, or several are."""
    found = _usual(names, _LABELS)
    return names[found[0]] if len(found) == 1 else None


def usual_file(names: Sequence[str]) -> str | None:
    """The name that is a picture's; None where none is, or several are."""
    found = _usual(names, _FILES)
    return names[found[0]] if len(found) == 1 else None


def other_task(names: Sequence[str]) -> str:
    """What names of columns or keys without a label's are for, in words."""
    keys = {_key(name): name for name in names}
    for what, known in _OTHER_TASKS.items():
        if seen := [name for key, name in keys.items() if key in known]:
            return f"{and_more(seen)} is for {what}; raysel does single-label classification"
    return f"it has {and_more(list(names))}; raysel does single-label classification"


def listed_files(table: TableText) -> list[str] | None:
    """The column of files, whatever else a table holds; None where it has none, or several."""
    try:
        return table.column(_file_column(table, ColumnNames())) if table.rows else []
    except UserError:
        return None


def cells(table: TableText, wanted: ColumnNames) -> Columns:
    """The columns of files, labels and parts.

    Raises:
        UserError: there is none, or there are several that could be meant.
    """
    if not table.rows:
        raise _without_rows(table)
    file = _file_column(table, wanted)
    split = _split_column(table, file)
    flags = _flag_columns(table) if split is None else []
    taken = {file, *flags} if split is None else {file, split}
    grouping = [_given(table, "group_column", name) for name in wanted.group_columns or ()]
    label = _label_column(table, wanted, taken, grouping)
    notes: tuple[str, ...] = ()
    if label is not None:
        labels = table.column(label)
        notes = _unread(table, {label, *taken, *grouping})
    else:
        rest = [place for place in range(len(table.head)) if place not in {*taken, *grouping}]
        labels = _one_hot(table, rest, wanted)
        notes = ("a row's label is the name of the column that has its 1 (one-hot)",)
    files = table.column(file)
    for row, name, text in zip(table.rows, files, labels, strict=True):
        if not name or not text:
            raise wrong_row(table.path, row.line, "the file or the label is empty")
    groups = {table.head[place]: _full_column(table, place) for place in grouping} or None
    if split is not None:
        return Columns(files, labels, table.column(split), notes, groups)
    return Columns(files, labels, _flagged(table, flags) if flags else None, notes, groups)


class Grouping(NamedTuple):
    """A file for each row, and column -> value of the columns that make its group."""

    files: list[str]
    groups: dict[str, list[str]]


def grouping_cells(table: TableText, columns: Sequence[str]) -> Grouping:
    """The columns of files and groups, of a table that need not have labels.

    Raises:
        UserError: one is missing or could be several, or a cell is empty.
    """
    if not table.rows:
        raise _without_rows(table)
    files = table.column(_file_column(table, ColumnNames()))
    places = {name: _given(table, "group_column", name) for name in columns}
    return Grouping(files, {name: _full_column(table, place) for name, place in places.items()})


def _full_column(table: TableText, place: int) -> list[str]:
    """A column without an empty cell."""
    cells = table.column(place)
    for row, text in zip(table.rows, cells, strict=True):
        if not text:
            raise wrong_row(table.path, row.line, f"{quoted(table.head[place])} is empty: no group")
    return cells


def _key(name: str) -> str:
    return re.sub(r"[\s_\-.]+", "", normalised(name).casefold())


def _usual(head: Sequence[str], tiers: Iterable[Sequence[str]]) -> list[int]:
    """The columns of the first tier that has any, in the tier's order."""
    for tier in tiers:
        found = [
            (tier.index(_key(name)), place) for place, name in enumerate(head) if _key(name) in tier
        ]
        if found:
            return [place for _, place in sorted(found)]
    return []


def _named(head: Sequence[str], name: str) -> list[int]:
    exact = [place for place, other in enumerate(head) if normalised(other) == normalised(name)]
    return exact or [place for place, other in enumerate(head) if _key(other) == _key(name)]


def _given(table: TableText, key: str, name: str) -> int:
    found = _named(table.head, name)
    if len(found) == 1:
        return found[0]
    message = f"{table.path} has {len(found) or 'no'} column {quoted(name)}"
    hint = "; name one of them otherwise" if found else f"; {nearest(name, table.head)}"
    raise user_error(f"task.data.{key}", message + hint)


def _file_column(table: TableText, wanted: ColumnNames) -> int:
    if wanted.file_column is not None:
        return _given(table, "file_column", wanted.file_column)
    found = _usual(table.head, _FILES)
    if len(found) == 1:
        return found[0]
    places = found or range(len(table.head))
    by_ending = [p for p in places if all(is_image_name(cell) for cell in table.column(p))]
    if len(by_ending) == 1:
        return by_ending[0]
    if len(found) > 1:
        raise _several(table, "files", "file_column", found)
    raise user_error(
        "task.data", f"{table.path} has no column of files; {_head_hint(table, 'file')}"
    )


def _label_column(
    table: TableText, wanted: ColumnNames, taken: set[int], grouping: Sequence[int]
) -> int | None:
    """The label's column; None where the table is one-hot."""
    if wanted.label_column is not None:
        return _given(table, "label_column", wanted.label_column)
    usual = _usual(["" if p in taken else name for p, name in enumerate(table.head)], _LABELS)
    if len(usual) > 1 and not _are_one(table, usual):
        raise _several(table, "labels", "label_column", usual)
    if usual:
        return usual[0]
    rest = [place for place in range(len(table.head)) if place not in {*taken, *grouping}]
    if _indicators(table, rest, wanted):
        return None
    hint = _head_hint(table, "label", [table.head[place] for place in rest])
    raise user_error("task.data", f"{table.path} has no column of labels; {hint}")


def _without_rows(table: TableText) -> UserError:
    if any(is_image_name(name) for name in table.head):
        return user_error("task.data", f"{table.path} has no head; {_head_hint(table, 'file')}")
    message = "has no row below its head" if table.head else "is empty"
    return user_error("task.data", f"{table.path} {message}")


def _head_hint(table: TableText, what: str, others: Sequence[str] = ()) -> str:
    """How the column is named, or a head written; `others`: the columns that may be meant."""
    if any(is_image_name(name) for name in table.head):
        head = "the head file,label"
        if len(table.head) != 2:
            head = f"a head of {len(table.head)} names, file and label among them,"
        return f"its first line is {table.shown_head()}: write {head} above it"
    if remedy := _other_form(table.head):
        return f"its head is {table.shown_head()}{remedy}"
    name = and_more(others) if len(others) == 1 else "NAME"
    which = f", one of {and_more(others)}" if len(others) > 1 else ""
    return f"its head is {table.shown_head()}; name it: task.data.{what}_column: {name}{which}"


def _other_form(head: Sequence[str]) -> str:
    """What to change in a table whose cells are quoted or separated in another way than CSV's."""
    if any(len(name) > 2 and name[0] == name[-1] == "'" for name in head):
        return ": single quotes are no quotes of CSV; take them away or write double ones"
    if len(head) == 1 and len(head[0].split()) > 1:
        return ", one column: separate cells by comma, semicolon, tab or |, not by blanks"
    return ""


def _several(table: TableText, what: str, key: str, places: Sequence[int]) -> UserError:
    names = listed([table.head[place] for place in places])
    message = f"{table.path} has several columns that may hold the {what}: {names}"
    first = table.head[places[0]]
    if len(_named(table.head, first)) > 1:
        return user_error("task.data", f"{message}; rename one of those named {quoted(first)}")
    return user_error("task.data", f"{message}; write task.data.{key}: {first}")


def _are_one(table: TableText, places: Sequence[int]) -> bool:
    """Whether the columns distinguish the same classes, such as names and numbers of them; those of
    one name say the same."""
    columns = [table.column(place) for place in places]
    by_name: dict[str, list[str]] = {}
    for place, column in zip(places, columns, strict=True):
        if by_name.setdefault(_key(table.head[place]), column) != column:
            return False
    pairs = set(zip(*columns, strict=True))
    return all(len(pairs) == len(set(column)) for column in columns)


def _split_column(table: TableText, file: int) -> int | None:
    named = {_key(name): place for place, name in enumerate(table.head) if place != file}
    if _SPLIT in named:
        return named[_SPLIT]
    for name in _SPLITS:
        place = named.get(name)
        if place is not None and any(
            cell.lower() in POOL_OF_FOLDER for cell in table.column(place)
        ):
            return place
    return None


def _flag_columns(table: TableText) -> list[int]:
    """The columns that say of each row whether it is of a part."""
    return [
        place
        for place, name in enumerate(table.head)
        if _key(name) in _FLAGS and all(c.casefold() in _ONES for c in table.column(place))
    ]


def _flagged(table: TableText, flags: Sequence[int]) -> list[str]:
    """The part of each row: that of its one true flag; else train, or test where train has one."""
    parts, named = [], {_FLAGS[_key(table.head[place])] for place in flags}
    other = "test" if "train" in named else "train"
    for row in table.rows:
        true = [table.head[place] for place in flags if _ONES[row.cells[place].casefold()]]
        if len(true) > 1:
            raise wrong_row(table.path, row.line, f"{listed(true)} are both true: one part a row")
        parts.append(_FLAGS[_key(true[0])] if true else other)
    return parts


def _unread(table: TableText, read: set[int]) -> tuple[str, ...]:
    """Which columns are of no use here: one of them may have been meant."""
    rest = [name for place, name in enumerate(table.head) if place not in read and name]
    if not rest:
        return ()
    what = "column" if len(rest) == 1 else "columns"
    return (f"{what} of {table.path.name} not read: {and_more(rest)}",)


# --- one-hot ---------------------------------------------------------------------------------


def _indicators(table: TableText, places: Iterable[int], wanted: ColumnNames) -> list[int]:
    """The columns that hold 0 and 1 alone: those of the classes, where these are given."""
    given = None if wanted.classes is None else {normalised(name) for name in wanted.classes}
    found = [
        place
        for place in places
        if (given is None or normalised(table.head[place]) in given)
        and all(cell.casefold() in _ONES for cell in table.column(place))
    ]
    return found if len(found) > 1 else []


def _one_hot(table: TableText, places: Sequence[int], wanted: ColumnNames) -> list[str]:
    """The name of the column that has the 1, for each row."""
    indicators = _indicators(table, places, wanted)
    labels = []
    for row in table.rows:
        ones = [table.head[p] for p in indicators if _ONES[row.cells[p].casefold()]]
        if len(ones) != 1:
            message = f"has a 1 in {listed(ones)}" if ones else "has no 1"
            names = ", ".join(table.head[place] for place in indicators[:2])
            raise wrong_row(
                table.path,
                row.line,
                f"{message} of the {len(indicators)} columns of 0 and 1; raysel does single-label"
                " classification, a single 1 a row. If only some of the columns are classes:"
                f" task.data.classes: [{names}, …]",
            )
        labels.append(ones[0])
    return labels
