"""Text from outside (names, paths, causes, messages of exceptions) made safe to show.

What others wrote may hold escape sequences that steer a terminal, bidirectional overrides that
turn a line around, line breaks that forge a line of its own, or a megabyte. Every place that
shows text goes through here: the command line (`raysel.common.output`), errors
(`raysel.common.errors`), the report (`raysel.report`), and notes that are written into a record.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

LINE = 1_000
"""A longer line is cut in its middle, in characters."""

NAME = 80
"""So is a longer name or quotation within a line."""

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, format characters (bidirectional overrides among them), lone
surrogates (bytes of a file name that are no UTF-8), separators of lines and paragraphs."""

_JOINERS = "\u200c\u200d"
"""Format characters that emoji and several scripts need."""

_ASCII = {
    "·": "-", "–": "-", "—": "-", "−": "-", "…": "...", "±": "+-", "×": "x", "≤": "<=",
    "’": "'", "◂": "<", "⌈": "", "⌉": "", "┤": "|", "└": "`", "─": "-", "│": "|", "━": "-",
    "╸": "-", "╺": "-", "●": "*", "○": "o", **dict(zip("▁▂▃▄▅▆▇█", ".:-=+*#@", strict=True)),
}  # fmt: skip
"""raysel's own signs where an encoding lacks them."""

_DIGITS = re.compile(
    r"Exceeds the limit \((\d+) digits\) for integer string conversion"
    r"(?:: value has (\d+) digits)?; use sys\.set_int_max_str_digits\(\) to increase the limit"
)
"""Python's advice to a programmer where a number of a user's has thousands of digits."""

ENCODING_ERRORS = "raysel.text"
"""Name of the codec error handler that replaces what an encoding lacks."""


def printable(text: str) -> str:
    r"""The text with what does not print escaped: `\n`, `\x1b`, `\u202e`."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def one_line(text: object, most: int = LINE) -> str:
    """Anything as a line of text to show: it breaks no line, steers no terminal, and is cut in its
    middle where it is longer than `most` characters."""
    given = str(text)
    if len(given) <= most and len(safe := printable(given)) <= most:
        return safe
    head, tail = most * 2 // 3, most // 4
    # cut before it is escaped, for it may be a megabyte, and after, for an escape is longer
    start, end = printable(given[:head])[:head], printable(given[-tail:])[-tail:]
    left_out = len(given) - head - tail
    count = f"{left_out:,} more characters … " if left_out > 0 else ""
    return f"{start} … {count}{end}"


def lines(text: str) -> list[str]:
    """A text of several lines, each of them safe to show; tabs are kept as blanks."""
    return [one_line(line) for line in re.split(r"\r\n|\r|\n", text.expandtabs())]


def quoted(value: object, most: int = NAME) -> str:
    """A value as a message quotes it: `"layer1"`, in one line and cut."""
    return f'"{one_line(value, most)}"'


def clock(seconds: float) -> str:
    """`1:31`, `2:05:00`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count_of(number: int, of: str) -> str:
    """`1 cell`, `4 cells`."""
    return f"{number:,} {of}{'' if number == 1 else 's'}"


def and_more(names: Sequence[object], most: int = 4) -> str:
    """The first names and how many more there are: `a, b, c, d and 3 more`."""
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def first_line(error: BaseException, most: int = 200) -> str:
    """The first line of an exception's message that says something, else its type's name."""
    said = (line.strip() for line in _DIGITS.sub(_digits, str(error)).splitlines())
    return one_line(next(filter(None, said), type(error).__name__), most)


def _digits(found: re.Match[str]) -> str:
    return f"a number of {found[2] or f'more than {found[1]}'} digits is not read"


def safe_tree(value: Any, most: int = LINE) -> Any:
    """The same dictionaries and lists with every string in them (keys too) made safe to show."""
    if isinstance(value, str):
        return one_line(value, most)
    if isinstance(value, Mapping):
        return {
            one_line(key, most) if isinstance(key, str) else key: safe_tree(item, most)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [safe_tree(item, most) for item in value]
    return value


def json_text(value: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    r"""Strict JSON that a terminal may show: nothing is lost, what does not print is `\uXXXX`.

    Numbers that are not finite, which JSON has not, become null.
    """
    text = json.dumps(_strict(value), indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    return _NOT_PLAIN.sub(_json_escaped, text)


def replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: raysel's own signs by their likes in ASCII, the rest escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_ASCII.get(sign) or _spelled(sign) for sign in lost), error.end


codecs.register_error(ENCODING_ERRORS, replace_unencodable)

_NOT_PLAIN = re.compile(r"[^\n\x20-\x7e]")
"""What may have to be escaped in JSON, whose line breaks between values stay."""


def _is_unsafe(sign: str) -> bool:
    return unicodedata.category(sign) in _UNSAFE and sign not in _JOINERS


def _escaped(sign: str) -> str:
    return _spelled(sign) if _is_unsafe(sign) else sign


def _spelled(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def _json_escaped(match: re.Match[str]) -> str:
    if not _is_unsafe(match.group()):
        return match.group()
    units = match.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value
