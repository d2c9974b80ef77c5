"""Tables in LaTeX: booktabs, any text escaped, for pdfLaTeX and newer engines alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import pandas as pd

from raysel.report.table import Table

PREAMBLE = r"""\documentclass[a4paper,landscape]{article}
\usepackage[utf8]{inputenc}
\usepackage{array,booktabs,graphicx,longtable}
\usepackage[margin=15mm]{geometry}
\begin{document}
\footnotesize
\setlength{\tabcolsep}{4pt}
\setlength{\belowcaptionskip}{6pt}
"""

_LONG = 30
"""Tables of more rows go on over pages (longtable)."""

_WIDE = 30
"""Columns of longer text, in characters, are paragraphs."""

_PAGE = 160
"""Tables of more characters in a row (two a column are its margins) are shrunk to the line."""

_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": r"{[}",  # not an option of \\
    "]": r"{]}",
    "*": r"{*}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "◂": r"$\triangleleft$",
    "–": "--",
    "—": "---",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "\u00a0": "~",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
}

_ACCENTS = dict(
    zip(
        "\u0300\u0301\u0302\u0303\u0308\u030c\u0304\u0306\u0307\u030b\u0327\u030a",
        ("`", "'", "^", "~", '"', "v", "=", "u", ".", "H", "c", "r"),
        strict=True,
    )
)


def latex_text(text: str) -> str:
    """A text that LaTeX sets as it stands. A sign that plain fonts lack is its code, `[U+65E5]`."""
    return "".join(_sign(sign) for sign in text)


def _sign(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    if " " <= sign <= "~":
        return sign
    letter, *marks = list(unicodedata.normalize("NFD", sign))
    if letter.isascii() and letter.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{letter}}}"
    return f"{{[}}U+{ord(sign):04X}{{]}}"


def to_latex(table: Table, sweep: str) -> str:
    r"""A `table` (a `longtable`, where it has many rows) with its caption, and the label
    `tab:<sweep>-<table>`."""
    frame = pd.DataFrame(
        [[latex_text(cell) for cell in row] for row in table.rows],
        columns=[latex_text(head) for head in table.heads],
    )
    long = len(table.rows) > _LONG
    label = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{sweep}-{table.name}")
    written: str = frame.style.hide(axis="index").to_latex(
        hrules=True,
        column_format=_columns(table),
        caption=latex_text(table.caption),
        label=f"tab:{label}",
        environment="longtable" if long else None,
        position=None if long else "!htbp",
        position_float=None if long else "centering",
    )
    if not long and _width(table) > _PAGE:
        written = written.replace(
            r"\begin{tabular}", "\\resizebox{\\linewidth}{!}{%\n\\begin{tabular}"
        )
        written = written.replace(r"\end{tabular}", r"\end{tabular}}")
    return "% needs \\usepackage{array,booktabs,graphicx,longtable}\n" + written


def all_tables(names: Iterable[str]) -> str:
    """A document that inputs the files of these tables, and compiles as it is."""
    inputs = "".join(f"\\input{{{name}}}\n" for name in names)
    return f"{PREAMBLE}{inputs}\\end{{document}}\n"


def _width(table: Table) -> int:
    """Characters in a row, those of a paragraph not more than it holds in a line."""
    columns = zip(table.heads, *table.rows, strict=True)
    return sum(2 + min(_WIDE, max(map(len, cells))) for cells in columns)


def _columns(table: Table) -> str:
    return "".join(_column(table, index) for index in range(len(table.heads)))


def _column(table: Table, index: int) -> str:
    if index in table.numbers:
        return "r"
    if any(len(row[index]) > _WIDE for row in table.rows):
        return r">{\raggedright\arraybackslash}p{5.5cm}"
    return "l"
