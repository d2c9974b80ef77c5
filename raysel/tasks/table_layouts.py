"""Published tables whose columns have names of their own, known by their heads: which column is
what, which rows are which part, and what their numbers stand for.

| data set | as in | groups |
|---|---|---|
| Waterbirds (`metadata.csv`) | Sagawa et al. 2020 | class and background |
| CelebA (`list_attr_celeba.csv`) | Sagawa et al. 2020: blond hair | class and sex |
| Camelyon17 (`metadata.csv`) | WILDS 1.0 | slide |
| iWildCam (`metadata.csv`) | WILDS 2.0 | location |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from raysel.common.errors import user_error
from raysel.tasks.table_columns import ColumnNames
from raysel.tasks.table_text import Row, TableText, read_table, wrong_row

FILE, SPLIT = "raysel file", "split"
"""Columns that a layout adds."""

_NUMBERED = {"0": "train", "1": "val", "2": "test"}
_ON_TRAINING_GROUPS = ("id_val", "id_test")
"""WILDS' further parts, of the training part's own groups."""

_PARTITION = "list_eval_partition.csv"
_PATCH = "patient_{patient}_node_{node}"
_PATCH = f"patches/{_PATCH}/patch_{_PATCH}_x_{{x_coord}}_y_{{y_coord}}.png"

Cells = dict[str, str]
"""A row by column."""


@dataclass(frozen=True)
class TableLayout:
    """One published table.

    Attributes:
        name: of the data set.
        head: columns by which it is known.
        file_column, label_column, group_columns: which they are, where the file does not say.
        values: column -> number in the table -> what it stands for.
        more: what a row has besides, from the row.
        beside: what rows have besides, from another file, by the cell of `file_column`.
    """

    name: str
    head: frozenset[str]
    file_column: str
    label_column: str
    group_columns: tuple[str, ...]
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    more: Callable[[Cells], Cells] = lambda row: {}
    beside: Callable[[TableText], Mapping[str, Cells]] = lambda table: {}

    def read(
        self, table: TableText, wanted: ColumnNames
    ) -> tuple[TableText, ColumnNames, tuple[str, ...]]:
        """The table with names for numbers and the columns that it lacks, which columns are what,
        and notes.

        Args:
            wanted: what the sweep file says of the columns.

        Raises:
            UserError: a row has another number, or the other file lacks one of its files.
        """
        beside = self.beside(table)
        rows = [(row.line, self._row(table, row, beside)) for row in table.rows]
        kept = [(line, cells) for line, cells in rows if cells[SPLIT] not in _ON_TRAINING_GROUPS]
        head = tuple(kept[0][1]) if kept else table.head
        found = tuple(Row(line, tuple(cells.values())) for line, cells in kept)
        named = self._named(wanted)
        return TableText(table.path, head, found), named, self._notes(named, len(rows) - len(kept))

    def _named(self, wanted: ColumnNames) -> ColumnNames:
        label = wanted.label_column or self.label_column
        others = tuple(name for name in self.group_columns if name != self.label_column)
        groups = (label, *others) if self.label_column in self.group_columns else others
        return wanted._replace(
            file_column=wanted.file_column or self.file_column,
            label_column=label,
            group_columns=wanted.group_columns or tuple(dict.fromkeys(groups)),
        )

    def _row(self, table: TableText, row: Row, beside: Mapping[str, Cells]) -> Cells:
        cells = dict(zip(table.head, row.cells, strict=True))
        cells |= self.more(cells)
        if beside:
            more = beside.get(cells[self.file_column])
            if more is None:
                message = f"{_PARTITION} has no row of {cells[self.file_column]}"
                raise wrong_row(table.path, row.line, message)
            cells |= more
        for column, names in self.values.items():
            if cells[column] not in names:
                message = f"{column} is {cells[column]}; {self.name} has {', '.join(names)}"
                raise wrong_row(table.path, row.line, message)
            cells[column] = names[cells[column]]
        return cells

    def _notes(self, named: ColumnNames, left_out: int) -> tuple[str, ...]:
        by = " and ".join(named.group_columns or ())
        note = f"read as {self.name}: label {named.label_column}, groups by {by}"
        if not left_out:
            return (note,)
        parts = " and ".join(_ON_TRAINING_GROUPS)
        return (note, f"{left_out:,} rows of {parts} are left out: pictures of training groups")


def _by_hospital(row: Cells) -> Cells:
    """WILDS' official parts: the second hospital validates, the third tests."""
    own = {"0": "train", "1": "id_val"}.get(row["split"], row["split"])
    return {FILE: _PATCH.format(**row), SPLIT: {"1": "val", "2": "test"}.get(row["center"], own)}


def _partition(table: TableText) -> dict[str, Cells]:
    """The part of each picture of CelebA, which is in a file of its own."""
    path = table.path.with_name(_PARTITION)
    if not path.is_file():
        message = f"{table.path} is CelebA's; its parts are in {_PARTITION}, which is not beside it"
        raise user_error("task.data", message)
    parts = read_table(path, lambda head: "partition" in head)
    if not {"image_id", "partition"} <= set(parts.head):
        raise user_error("task.data", f"{path} has no columns image_id and partition")
    names, numbers = (parts.column(parts.head.index(n)) for n in ("image_id", "partition"))
    return {name: {SPLIT: _NUMBERED.get(n, n)} for name, n in zip(names, numbers, strict=True)}


def _attributes(row: Cells) -> Cells:
    """CelebA's 1 and -1 as the attribute's name and "not" it."""
    return {
        name: {"1": name, "-1": f"not {name}"}.get(cell, cell)
        for name, cell in row.items()
        if name != "image_id"
    }


LAYOUTS = (
    TableLayout(
        "Waterbirds",
        frozenset({"img_filename", "y", "split", "place"}),
        *("img_filename", "y", ("y", "place")),
        {
            "y": {"0": "landbird", "1": "waterbird"},
            "place": {"0": "land", "1": "water"},
            SPLIT: _NUMBERED,
        },
    ),
    TableLayout(
        "CelebA",
        frozenset({"image_id", "5_o_Clock_Shadow", "Blond_Hair", "Male", "Young"}),
        *("image_id", "Blond_Hair", ("Blond_Hair", "Male")),
        more=_attributes,
        beside=_partition,
    ),
    TableLayout(
        "Camelyon17 of WILDS",
        frozenset({"patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split"}),
        *(FILE, "tumor", ("slide",)),
        {"tumor": {"0": "normal", "1": "tumor"}},
        more=_by_hospital,
    ),
    TableLayout(
        "iWildCam of WILDS",
        frozenset({"filename", "y", "split", "location_remapped"}),
        *("filename", "y", ("location_remapped",)),
    ),
)
"""Every one that is known."""


def layout_of(head: Sequence[str]) -> TableLayout | None:
    """The layout that a head is; None of any other table."""
    return next((layout for layout in LAYOUTS if layout.head <= set(head)), None)
