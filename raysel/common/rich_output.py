"""rich, so that text is never markup: the console, styled text and tables of the command line.

Nothing else in raysel makes a `rich.console.Console` or a `rich.text.Text` (ruff refuses it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.style import Style
from rich.table import Table
from rich.text import Text

from raysel.common.text import LINE, one_line

CELL = 300
"""A longer cell of a table is cut, in characters."""

_ENDLESS = 100_000
"""Columns of a line that nobody looks at in a window."""

_NARROWEST = 12
"""Of a column that may be broken over lines."""


class TextConsole(Console):
    """A console that prints every string as it stands: a bracket is text, `:art:` is text, and
    an escape sequence is shown and not obeyed. Where no terminal is, a line has no end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})
        if not self.is_terminal and "width" not in options:
            self.width = _ENDLESS

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as text."""
        safe = plain(text, options.get("style") or "")
        safe.justify, safe.overflow = options.get("justify"), options.get("overflow")
        return safe


def plain(text: object, style: str | Style = "", most: int = LINE, **look: Any) -> Text:
    """Styled text in one line, safe whatever it holds."""
    return Text(one_line(text, most), style=style, **look)


def fitting_table(
    console: Console,
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    numbers: Sequence[int] = (),
    whole: Sequence[int] = (0,),
) -> RenderableType:
    """A table; where it is wider than the terminal, a paragraph a row, so that nothing is cut.

    Args:
        numbers: the columns that are set to the right.
        whole: the columns that are not broken over lines where the terminal is narrow.
    """
    table = Table(box=None, pad_edge=False, show_header=any(head), padding=(0, 2, 0, 0))
    for index, title in enumerate(head):
        justify: Literal["left", "right"] = "right" if index in numbers else "left"
        least = None if index in whole else _NARROWEST
        table.add_column(
            title, justify=justify, no_wrap=index in whole, min_width=least, overflow="fold"
        )
    for row in rows:
        table.add_row(*(plain(cell, most=CELL) for cell in row))
    endless = console.options.update(width=_ENDLESS)
    if Measurement.get(console, endless, table).minimum <= console.width:
        return table
    return Group(*(line for row in rows for line in _paragraph(head, row)))


def _paragraph(head: Sequence[str], row: Sequence[object]) -> list[Text]:
    """One line a cell that holds something, and an empty one."""
    wide = max(map(len, head), default=0)
    filled = [(title, cell) for title, cell in zip(head, row, strict=True) if str(cell)]
    lines = [plain(f"{title:{wide}}  {one_line(cell, CELL)}".lstrip()) for title, cell in filled]
    return [*lines, plain("")]
