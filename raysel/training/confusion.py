"""The confusion matrix of a confirmed model, as a table beside its trace."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

FILE = "confusion.csv"


def write_confusion(folder: Path, matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """Write `confusion.csv`: a row a true class, a column a class that it was taken for.

    Args:
        folder: the run's.
        matrix: [C][C] test examples.
        classes: C names.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true class", *classes])
    for name, row in zip(classes, matrix, strict=True):
        writer.writerow([name, *row])
    partial = folder / f".{FILE}.partial"
    partial.write_text(text.getvalue(), encoding="utf-8")
    partial.replace(folder / FILE)


def read_confusion(folder: Path) -> tuple[list[str], list[list[int]]] | None:
    """Names of the classes and the matrix; None where the run has none that can be read."""
    try:
        with (folder / FILE).open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        return head[1:], [[int(cell) for cell in row[1:]] for row in rows]
    except Exception:  # none, or damaged
        return None
