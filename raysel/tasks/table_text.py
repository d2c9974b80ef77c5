"""A table's text to a head and rows: CSV with a comma, semicolon, tab or bar, or JSON lines."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from raysel.common.errors import UserError, user_error
from raysel.common.text import and_more, quoted
from raysel.common.user_files import any_error_as, irregular
from raysel.tasks.file_kinds import kind_by_content

_DELIMITERS = (",", ";", "\t", "|")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SHOWN = 12  # columns of a head
_LOOKED_THROUGH = 10
"""Lines at the top, one of which is the head."""


class Row(NamedTuple):
    """One row: its line in the file, and a cell for each column of the head."""

    line: int
    cells: tuple[str, ...]


class TableText(NamedTuple):
    """A table as text; rows whose cells are all empty are left out."""

    path: Path
    head: tuple[str, ...]
    rows: tuple[Row, ...]

    def column(self, place: int) -> list[str]:
        """The cells of a column."""
        return [row.cells[place] for row in self.rows]

    def shown_head(self) -> str:
        """The names of the columns, for a message."""
        return and_more(self.head, _SHOWN) or "empty"


def read_table(path: Path, fits: Callable[[Sequence[str]], bool]) -> TableText:
    """Read a table of text.

    Args:
        fits: whether a head has the needed columns; used to find the delimiter.

    Raises:
        UserError: it cannot be read, or is not text or no table.
    """
    with any_error_as(lambda why: user_error("task.data", f"{path} cannot be read: {why}")):
        if other := irregular(path):
            raise user_error("task.data", f"{path} is {other}, no table")
        text = _text(path, path.read_bytes())
        return _json_lines(path, text) if _is_json(path, text) else _csv(path, text, fits)


def wrong_row(path: Path, line: int, message: str) -> UserError:
    """What is wrong in a line of a table, to raise."""
    return user_error("task.data", f"{path} line {line}: {message}")


def _text(path: Path, content: bytes) -> str:
    marks = (name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark))
    encoding = next(marks, "utf-8")
    if encoding == "utf-8" and (kind := kind_by_content(path)):
        raise user_error("task.data", f"{path} {kind}, and no table; save it as CSV")
    if encoding == "utf-8" and b"\0" in content:
        message = (
            "holds NUL bytes: it is not text, or UTF-16 without a mark; save it as CSV in UTF-8"
        )
        raise user_error("task.data", f"{path} {message}")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding.startswith("utf-8"):
            line = content.count(b"\n", 0, error.start) + 1
            message = f"byte 0x{content[error.start]:02x} is not text in UTF-8"
            hint = f"save it as UTF-8, or: iconv -f WINDOWS-1252 -t UTF-8 {path.name}"
            raise wrong_row(path, line, f"{message}; {hint}") from None
        message = f"begins as {encoding.upper()} and is damaged"
        raise user_error("task.data", f"{path} {message}; save it as UTF-8") from None


def _is_json(path: Path, text: str) -> bool:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return True
    if text.lstrip()[:1] in ("{", "[") or path.suffix.lower() == ".json":
        message = "is JSON, and no table; write one with the columns file and label, or JSON lines"
        hint = "(.jsonl, an object a line). Object annotations (COCO) are not single labels"
        raise user_error("task.data", f"{path} {message} {hint}")
    return False


def _json_lines(path: Path, text: str) -> TableText:
    objects: list[tuple[int, dict[str, object]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        with any_error_as(lambda why, n=number: wrong_row(path, n, f"is no JSON: {why}")):  # type: ignore[misc]
            value = json.loads(line, object_pairs_hook=_without_repeats)
        if not isinstance(value, dict):
            raise wrong_row(path, number, "is no JSON object, such as {file_name: …, label: …}")
        objects.append((number, value))
    head = tuple(dict.fromkeys(key for _, value in objects for key in value))
    rows = [Row(line, tuple(_cell(value.get(key)) for key in head)) for line, value in objects]
    return TableText(path, head, tuple(rows))


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object, of which JSON would take the last of two values with one key.

    Raises:
        ValueError: a key occurs twice.
    """
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {quoted(key)} occurs twice")
        found[key] = value
    return found


def _cell(value: object) -> str:
    """A value as CSV would have it."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _csv(path: Path, text: str, fits: Callable[[Sequence[str]], bool]) -> TableText:
    skipped = re.match(r'"?sep=(.)"?\r?\n', text)  # a line of Excel's
    above = 1 if skipped else _lines_above_head(path, text, fits)
    lines = io.StringIO(text, newline="")
    for _ in range(above):
        lines.readline()
    body = lines.read()
    delimiter = skipped[1] if skipped else _delimiter(body, fits)
    begun, rows = above, []
    reader = csv.reader(
        io.StringIO(body, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    try:
        for cells in reader:
            rows.append(Row(reader.line_num + above, tuple(c.strip() for c in cells)))
            begun = rows[-1].line
    except csv.Error as error:
        message = str(error)
        if "unexpected end" in message:
            message = "a quote is not closed"
        elif "expected after" in message:
            message = "a quote is closed before the end of its cell"
        raise wrong_row(
            path, begun + 1, f"{message}; a quote within quotes is written twice"
        ) from None
    rows = [row for row in rows if any(row.cells)]
    head = rows[0].cells if rows else ()
    return TableText(path, head, tuple(_fitted(path, head, row) for row in rows[1:]))


def _lines_above_head(path: Path, text: str, fits: Callable[[Sequence[str]], bool]) -> int:
    """How many lines of comment (`# …`) stand above the head.

    Raises:
        UserError: what stands above a line that reads as the head is no comment.
    """
    lines = list(islice(io.StringIO(text, newline=None), _LOOKED_THROUGH))
    head = next((i for i, line in enumerate(lines) if _heads(line, fits)), 0)
    above = [line for line in lines[:head] if line.strip()]
    if not all(line.startswith("#") for line in above):
        what = f'reads as the head, "{lines[head].strip()}"'
        raise wrong_row(path, head + 1, f"{what}: delete what stands above it")
    return head


def _heads(line: str, fits: Callable[[Sequence[str]], bool]) -> list[str]:
    """The delimiters by which a line has the columns that are needed."""
    cells = {sign: next(csv.reader([line], delimiter=sign), []) for sign in _DELIMITERS}
    return [sign for sign in _DELIMITERS if fits([cell.strip() for cell in cells[sign]])]


def _fitted(path: Path, head: Sequence[str], row: Row) -> Row:
    """The row with as many cells as the head; more are an error, for a label may have a comma."""
    extra = row.cells[len(head) :]
    if any(extra):
        message = (
            f"{len(row.cells)} cells in a table of {len(head)} columns, {quoted(extra[0])} too many"
        )
        raise wrong_row(
            path, row.line, f"{message}; a cell that holds the delimiter must be in quotes"
        )
    return Row(row.line, (row.cells + ("",) * len(head))[: len(head)])


def _delimiter(text: str, fits: Callable[[Sequence[str]], bool]) -> str:
    """The delimiter by which the head has the columns that are needed; else the most columns."""
    lines = (line for line in io.StringIO(text, newline=None) if line.strip())
    first = next(lines, "")
    return max(
        _heads(first, fits) or _DELIMITERS,
        key=lambda sign: len(next(csv.reader([first], delimiter=sign), [])),
    )
