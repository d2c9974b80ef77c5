"""From what is in a table's label column to classes and their numbers.

Labels are names; where all are whole numbers, they are the classes' numbers. What is no single
label of a picture (lists, joint labels, real numbers, empty values) is refused with what to write;
a name that is in `task.data.classes` is taken as it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysel.common.errors import UserError, nearest, user_error
from raysel.common.text import and_more, quoted
from raysel.tasks.class_names import check_names, normalised

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([,' ]\d{3})+(\.\d*)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_NOTHING = frozenset({"nan", "null", "<na>", "n/a", "#n/a", "nat"})
_LARGEST = 10**9  # longer ones are ids, and no numbers of classes
_ONE_LABEL = "raysel does single-label classification: one class a picture"
_MEANT = "; if that is one class's name, list all names in task.data.classes"


class Label(NamedTuple):
    """What is in a row: the row's number, its label, and what the number counts."""

    line: int
    text: str
    unit: str = "line"


class Labels(NamedTuple):
    """Names of the classes, the number of each row's class [n], and notes for a person."""

    classes: tuple[str, ...]
    numbers: NDArray[np.int64]
    notes: tuple[str, ...]


def class_labels(where: str, rows: Sequence[Label], classes: Sequence[str] | None) -> Labels:
    """The classes and the labels of a table.

    Args:
        where: the table, for messages.
        rows: a label each, in the order of the file.
        classes: names of the classes in the order of their numbers; those that occur, if
            nothing is given.

    Raises:
        UserError: a label is not one class, or none of the classes.
    """
    rows = [row._replace(text=normalised(row.text)) for row in rows]
    if classes is not None:
        return _among(where, rows, tuple(map(normalised, classes)))
    for row in rows:
        _refuse_odd(where, row)
    values = [_value(row.text) for row in rows]
    if all(value is not None for value in values):
        return _by_number(where, rows, [value for value in values if value is not None])
    _refuse_joint(where, rows)
    _refuse_one_number_twice(where, rows)
    names = tuple(sorted({row.text for row in rows}))
    check_names(names)
    places = {name: place for place, name in enumerate(names)}
    return Labels(names, np.array([places[row.text] for row in rows], np.int64), _mixed(names))


def _mixed(names: Sequence[str]) -> tuple[str, ...]:
    """That some classes are called by numbers and others by names: of one they may be both."""
    numbers = [name for name in names if _value(name) is not None]
    if not numbers or len(numbers) == len(names):
        return ()
    others = [name for name in names if name not in set(numbers)]
    words = "one class each; where they are the others' numbers, write the names"
    return (f"labels {and_more(numbers)} are numbers beside {and_more(others)}: {words}",)


def _among(where: str, rows: Sequence[Label], classes: tuple[str, ...]) -> Labels:
    """By the names that are given, or by their numbers."""
    check_names(classes)
    places = {name: place for place, name in enumerate(classes)}
    values = [_value(row.text) for row in rows]
    by_number = all(value is not None and value == int(value) for value in values)
    numbers = []
    for row, value in zip(rows, values, strict=True):
        place = places.get(row.text)
        if place is None and by_number and value is not None:
            place = int(value)
        if place is None or not 0 <= place < len(classes):
            raise _wrong(where, row, _outside(row.text, by_number, classes))
        numbers.append(place)
    return Labels(classes, np.array(numbers, np.int64), ())


def _outside(label: str, by_number: bool, classes: Sequence[str]) -> str:
    if by_number:
        hint = " (the first class has the number 0)" if label == str(len(classes)) else ""
        return f"label {label} is outside 0 .. {len(classes) - 1}{hint}"
    return f"label {quoted(label)} is none of the classes; {nearest(label, classes)}"


def _by_number(where: str, rows: Sequence[Label], values: Sequence[float]) -> Labels:
    fraction = next((r for r, v in zip(rows, values, strict=True) if v != int(v)), None)
    if fraction is not None:
        message = f"label {fraction.text} is a real number, which is a regression task"
        raise _wrong(where, fraction, f"{message}; {_ONE_LABEL}{_MEANT}")
    whole = [int(value) for value in values]
    present = sorted(set(whole))
    if present[0] < 0:
        row = rows[whole.index(present[0])]
        raise _wrong(where, row, f"label {row.text} is outside 0 .. {max(present[-1], 0)}")
    _refuse_gaps(where, rows, whole, present)
    places = {number: place for place, number in enumerate(present)}
    labels = np.array([places[number] for number in whole], np.int64)
    return Labels(tuple(map(str, present)), labels, _number_notes(rows, whole))


def _refuse_gaps(
    where: str, rows: Sequence[Label], whole: Sequence[int], present: Sequence[int]
) -> None:
    """Numbers begin at 0 or 1 and leave none out: else they are ids, or pictures are missing."""
    first = min(present[0], 1)
    if present == list(range(first, first + len(present))):
        return
    highest = rows[whole.index(present[-1])]
    count = present[-1] + 1 - first
    absent = next(number for number in range(first, present[-1]) if number not in set(present))
    message = (
        f"label {highest.text} makes {count} classes of {len(rows)} rows, and none has {absent}"
    )
    written = {number: row.text for row, number in zip(rows, whole, strict=True)}
    wanted = f"[{', '.join(quoted(written[number]) for number in present[:3])}, …]"
    hint = f"list the labels that are classes in task.data.classes: {wanted}"
    raise _wrong(where, highest, f"{message}; {hint}")


def _number_notes(rows: Sequence[Label], whole: Sequence[int]) -> tuple[str, ...]:
    spelt: dict[int, str] = {}
    for row, number in zip(rows, whole, strict=True):
        other = spelt.setdefault(number, row.text)
        if other != row.text:
            message = f"labels {quoted(other)} and {quoted(row.text)} are one number, and one class"
            return (f"{message}; so are others that are written in two ways",)
    odd = next(((r.text, n) for r, n in zip(rows, whole, strict=True) if r.text != str(n)), None)
    if odd is None:
        return ()
    return (f"labels such as {quoted(odd[0])} are read as whole numbers: the class is {odd[1]}",)


def _value(label: str) -> float | None:
    """The number that a label is; None of a name, or of an id of more digits than a class has."""
    if _NUMBER.fullmatch(label) is None:
        return None
    value = float(label)
    return value if abs(value) < _LARGEST else None


def _refuse_odd(where: str, row: Label) -> None:
    """Refuse what is no label: a list, nothing, a number that is written for people."""
    label = row.text
    if label.casefold() in _NOTHING:
        raise _wrong(
            where, row, f"label {quoted(label)} stands for no value; remove the row{_MEANT}"
        )
    if len(label) > 1 and label[0] + label[-1] in ("[]", "{}", "()"):
        if label[0] == "{" and ":" in label:
            words = f"label {quoted(label)} is an object; write one of its values"
            raise _wrong(where, row, f"{words}{_MEANT}")
        inner = label[1:-1].strip(" \"'")
        hint = f"write {quoted(inner)}" if "," not in inner else _ONE_LABEL
        raise _wrong(where, row, f"label {quoted(label)} is a list; {hint}{_MEANT}")
    if _THOUSANDS.fullmatch(label):
        plain = re.sub(r"[,' ]", "", label)
        raise _wrong(where, row, f"label {quoted(label)} is formatted for reading; write {plain}")
    if _COMMA.fullmatch(label):
        message = f"label {quoted(label)} is several labels, or a number with a decimal comma"
        raise _wrong(where, row, f"{message}; {_ONE_LABEL}{_MEANT}")
    if any(sign in label for sign in "|;"):
        raise _wrong(where, row, f"label {quoted(label)} is several labels; {_ONE_LABEL}{_MEANT}")


def _refuse_joint(where: str, rows: Sequence[Label]) -> None:
    """Refuse "ship, outdoor" where "ship" and "outdoor" occur elsewhere too: alone, or joined with
    others. A name with a comma ("tench, Tinca tinca") is one class's."""
    labels = list(dict.fromkeys(row.text for row in rows))
    for sign in (",", "+", "&", "/", " "):
        pieces = {label: _pieces(label, sign) for label in labels}
        occurs = Counter(piece for parts in pieces.values() for piece in set(parts))
        joint = [
            label
            for label, parts in pieces.items()
            if len(parts) > 1 and all(occurs[piece] > 1 for piece in parts)
        ]
        if joint and (sign != " " or _is_a_list_of_words(pieces)):
            row = next(row for row in rows if row.text == joint[0])
            names = " and ".join(map(quoted, pieces[joint[0]]))
            message = f"label {quoted(row.text)} is {names}, which occur elsewhere too"
            raise _wrong(where, row, f"{message}; {_ONE_LABEL}{_MEANT}")


def _pieces(label: str, sign: str) -> list[str]:
    return [piece.strip() for piece in label.split(sign) if piece.strip()]


def _is_a_list_of_words(pieces: dict[str, list[str]]) -> bool:
    """Whether words of labels are labels themselves: "clear primary water" beside "clear primary"
    and "haze", and not "red apple" beside "green apple"."""
    words = {word for parts in pieces.values() for word in parts}
    counts = {len(parts) for parts in pieces.values()}
    alone = {parts[0] for parts in pieces.values() if len(parts) == 1}
    joint = [parts for parts in pieces.values() if len(parts) > 1]
    if any(set(parts) <= alone for parts in joint):
        return True
    return len(counts) > 2 and len(words) < len(pieces)


def _refuse_one_number_twice(where: str, rows: Sequence[Label]) -> None:
    """Among names, "2" and "2.0" would be two classes."""
    seen: dict[float, str] = {}
    for row in rows:
        value = _value(row.text)
        other = row.text if value is None else seen.setdefault(value, row.text)
        if other != row.text:
            message = f"labels {quoted(other)} and {quoted(row.text)} are one number"
            raise _wrong(where, row, f"{message}; write one of them")


def _wrong(where: str, row: Label, message: str) -> UserError:
    return user_error("task.data", f"{where} {row.unit} {row.line}: {message}")
