"""User errors, reported without a traceback.

Everything that a person can mend in the sweep file or on the command line is a
`Problem`; `UserError` carries one or several of them to the command line, which prints
one line each and ends with exit code 2. `OperationalError` is a failure from outside the sweep.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from raysel.common.text import NAME, one_line, quoted
from raysel.common.urls import masked

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
"""Exit codes of the command line, and of a sweep that runs as a job."""

PATH_CHARACTERS = 400
"""A longer path of a field or a file is cut."""


@dataclass(frozen=True)
class Problem:
    """One mistake: the field's dotted path, what is wrong, and the line of the file.

    Path and message are made safe to show, cut, and rid of passwords in addresses: both may
    quote what was given.
    """

    path: str
    message: str
    line: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", one_line(masked(self.path), PATH_CHARACTERS))
        object.__setattr__(self, "message", one_line(masked(self.message)))

    def __str__(self) -> str:
        where = f" (line {self.line})" if self.line else ""
        return f"{self.path}: {self.message}{where}" if self.path else f"{self.message}{where}"


class UserError(Exception):
    """One or more problems that the user can mend; nothing was started or left behind."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class OperationalError(Exception):
    """A failure that is not the user's mistake: one line with a remedy (exit code 1)."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{one_line(masked(place), PATH_CHARACTERS)}: {one_line(masked(message))}")


def user_error(path: str, message: str) -> UserError:
    """A `UserError` of one problem, to raise."""
    return UserError(Problem(path, message))


def in_a_line(error: Exception) -> str:
    """What an error says, in one line; one of several problems has a line for each."""
    return " · ".join(str(error).splitlines())


def nearest(word: str, known: Iterable[str], show_all_up_to: int = 12) -> str:
    """Say what was probably meant: `did you mean "x"?`, else what there is to choose from.

    Args:
        word: what was given.
        known: what is accepted.
        show_all_up_to: list every accepted word when there is no near one and there are
            at most this many.
    """
    known = list(known)
    word = word[:NAME]  # difflib's time grows with the square of a word's length
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {quoted(close[0])}?"
    if len(known) <= show_all_up_to:
        return f"there is {_listed(known)}"
    close = difflib.get_close_matches(word, known, n=5, cutoff=0.3)
    return f"there is, among {len(known)}: {_listed(close or known[:5])}"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(one_line(word, NAME) for word in words)
