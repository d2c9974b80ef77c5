"""Tables with the bytes of a picture, its class and perhaps its group in each row: which column is
what, and what the cells of classes and groups say. Parquet, Arrow and TensorFlow Datasets' records
come to a schema of Arrow's and Hugging Face's description of the columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from raysel.common.errors import UserError, nearest, user_error
from raysel.common.text import and_more, quoted
from raysel.spec.data_choice import FileData, LibraryData
from raysel.tasks.groups import Groups, groups_of
from raysel.tasks.table_columns import other_task, usual_file, usual_label

_SINGLE = "raysel does single-label classification"
Features = Mapping[str, Mapping[str, Any]]
"""Hugging Face's description of each column: `_type`, and of classes their `names`."""


class AskedColumns(NamedTuple):
    """Columns as `task.data` names them; None where the schema is to say."""

    image: str | None = None
    label: str | None = None
    groups: Sequence[str] | None = None


NONE_ASKED = AskedColumns()


def asked_columns(data: FileData | LibraryData) -> AskedColumns:
    """The columns that the sweep file names."""
    return AskedColumns(data.image_column, data.label_column, data.group_column)


@dataclass(frozen=True)
class ByteColumns:
    """The columns that count.

    Attributes:
        image, label: of pictures and labels.
        groups: those that make the groups.
        names: column -> names of its numbers, where they are classes.
    """

    image: str
    label: str
    groups: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, where the schema has them."""
        return self.names.get(self.label)

    @property
    def read(self) -> list[str]:
        """The columns to read beside the pictures, each once."""
        return list(dict.fromkeys((self.label, *self.groups)))

    @property
    def note(self) -> str:
        """Which column is what, for a person."""
        return f"pictures are in the column {self.image}, labels in {self.label}"


class Cells:
    """The labels and groups of rows that are read one after the other."""

    def __init__(self, columns: ByteColumns) -> None:
        self.columns = columns
        self.labels: list[str] = []
        self._groups: dict[str, list[str]] = {name: [] for name in columns.groups}

    def add(self, where: str, values: Mapping[str, Sequence[Any]]) -> None:
        """Take rows.

        Args:
            where: what holds them, for messages.
            values: column -> a value for each row.

        Raises:
            UserError: a cell is empty (path `task.data`).
        """
        first = len(self.labels)
        for row, value in enumerate(values[self.columns.label], first + 1):
            if value is None:
                raise user_error("task.data", f"{where} picture {row}: the label is empty")
            self.labels.append(_text(value))
        for name, texts in self._groups.items():
            for row, value in enumerate(values[name], first + 1):
                text = "" if value is None else self._named(name, value)
                if not text:
                    message = f"{where} picture {row}: {quoted(name)} is empty: no group"
                    raise user_error("task.data", message)
                texts.append(text)

    def extend(self, other: Cells) -> None:
        """Take the rows of another file of the data set."""
        self.labels += other.labels
        for name, texts in self._groups.items():
            texts += other._groups[name]

    def groups(self) -> Groups | None:
        """The groups of all rows; None where no column makes them.

        Raises:
            UserError: as `groups_of`.
        """
        return groups_of(self._groups) if self._groups else None

    def _named(self, column: str, value: Any) -> str:
        names = self.columns.names.get(column, ())
        is_number = isinstance(value, int) and 0 <= value < len(names)
        return names[value] if is_number else _text(value)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value, default=str)


def features_of(schema: Any) -> Features:
    """Hugging Face's description of the columns in a schema of Arrow's; empty in other files."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {str(name): kind for name, kind in info.items() if isinstance(kind, dict)}


def byte_columns(where: str, schema: Any, features: Features, asked: AskedColumns) -> ByteColumns:
    """Which column is what: as the sweep file says, by the features, the types and usual names.

    Args:
        where: the file or data set, for messages.
        schema: of Arrow's.
        features: Hugging Face's description, where there is one.

    Raises:
        UserError: there is no column of pictures or labels or one of those that are named, there
            are several that could be meant, or one of them holds lists.
    """
    pictures = [field.name for field in schema if _holds_pictures(field.type)]
    image = _image_column(where, schema, features, pictures, asked.image)
    rest = [name for name in schema.names if name != image]
    label = _label_column(where, rest, features, asked.label)
    if "list" in str(schema.field(label).type):
        message = f"{where}: the column {quoted(label)} holds lists, several labels a picture"
        raise user_error("task.data", f"{message}; {_SINGLE}")
    groups = tuple(asked.groups or ())
    for name in groups:
        if name not in rest:
            raise _no_column("group_column", where, name, rest)
        if _is_nested(schema.field(name).type):
            message = f"{where}: column {quoted(name)} holds {schema.field(name).type}, no groups"
            raise user_error("task.data.group_column", message)
    named = {name: features.get(name, {}).get("names") for name in (label, *groups)}
    return ByteColumns(
        image, label, groups, {name: tuple(names) for name, names in named.items() if names}
    )


def _image_column(
    where: str,
    schema: Any,
    features: Features,
    pictures: Sequence[str],
    given: str | None,
) -> str:
    if given is not None:
        if given not in schema.names:
            raise _no_column("image_column", where, given, schema.names)
        if given not in pictures:
            message = (
                f"{where}: column {quoted(given)} holds {schema.field(given).type}, no pictures"
            )
            raise user_error("task.data.image_column", message)
        return given
    marked = [name for name in pictures if features.get(name, {}).get("_type") == "Image"]
    usual = usual_file(pictures)
    found = marked if len(marked) == 1 else [usual] if usual else list(pictures)
    if len(found) == 1 and found[0] is not None:
        return found[0]
    if not pictures:
        message = f"{where} has no column of pictures (their bytes, or an object with bytes)"
        raise user_error("task.data", f"{message}; its columns are {and_more(schema.names, 12)}")
    message = f"{where} has several columns of pictures: {and_more(list(pictures))}"
    raise user_error("task.data", f"{message}; write task.data.image_column: {pictures[0]}")


def _label_column(where: str, rest: Sequence[str], features: Features, given: str | None) -> str:
    if given is not None:
        if given not in rest:
            raise _no_column("label_column", where, given, rest)
        return given
    marked = [name for name in rest if features.get(name, {}).get("_type") == "ClassLabel"]
    usual = usual_label(rest)
    if len(marked) == 1:
        return marked[0]
    if usual is not None:
        return usual
    if marked:
        message = f"{where} has several columns of classes: {and_more(marked)}"
        raise user_error("task.data", f"{message}; write task.data.label_column: {marked[0]}")
    message = f"{where} has no column of labels: {other_task(rest)}"
    raise user_error("task.data", f"{message}; or name it: task.data.label_column")


def _no_column(key: str, where: str, given: str, names: Sequence[str]) -> UserError:
    message = f"{where} has no column {quoted(given)}; {nearest(given, names)}"
    return user_error(f"task.data.{key}", message)


def _holds_pictures(kind: Any) -> bool:
    import pyarrow.types as types  # noqa: PLC0415  (slow)

    if types.is_struct(kind):
        return any(f.name == "bytes" and types.is_binary(f.type) for f in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_nested(kind: Any) -> bool:
    import pyarrow.types as types  # noqa: PLC0415  (slow)

    return bool(types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))
