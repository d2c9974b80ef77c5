"""Patterns over parameter names: regular expressions with a bound on their time and memory.

`(a+)+$` takes time that doubles with every letter, `a{999999999}` all the memory there is. A
pattern of a sweep file is searched with the package `regex`, which can be given a time-out.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterable

import regex

from raysel.common.text import quoted

MOST_CHARACTERS = 1_000
"""Of a pattern."""

MOST_REPEATS = 10_000
"""The product of all the least counts in a pattern, such as `{3}` or `{2,}`."""

SECONDS = 2.0
"""Of processor time, in which a pattern must have been searched in all names: an ordinary one takes
milliseconds."""

_COUNT = re.compile(r"\{(\d*)(,?)(\d*)\}")


class PatternError(ValueError):
    """What is wrong with a pattern, in words."""


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> regex.Pattern[str]:
    """A pattern, ready to be searched.

    Raises:
        PatternError: it is no regular expression, or larger than is sensible.
    """
    if len(pattern) > MOST_CHARACTERS:
        size = f"{len(pattern):,} characters; {MOST_CHARACTERS:,} at most"
        raise PatternError(f"{quoted(pattern)} has {size}")
    repeats = 1
    for least, _, most in _COUNT.findall(pattern):
        repeats *= max(1, *(int(count[:20] or 0) for count in (least, most)))
    if repeats > MOST_REPEATS:
        raise PatternError(f"{quoted(pattern)} repeats more than {MOST_REPEATS:,} times")
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise PatternError(f"{quoted(pattern)} is not a regular expression: {error}") from None
    except (RecursionError, MemoryError, OverflowError, ValueError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise PatternError(f"{quoted(pattern)} is not a regular expression: {reason}") from None


def found_in(pattern: str, names: Iterable[str]) -> frozenset[str]:
    """The names in which a pattern is found.

    Raises:
        PatternError: as in `compiled`, or it takes too long.
    """
    expression, end = compiled(pattern), time.monotonic() + SECONDS
    found = set()
    for name in names:
        try:
            if expression.search(name, timeout=max(end - time.monotonic(), 1e-3)):
                found.add(name)
        except (TimeoutError, MemoryError, RecursionError):
            raise PatternError(
                f"{quoted(pattern)} takes more than {SECONDS:g} s to be searched in the names of"
                " the parameters; give a simpler one, without a repeat inside a repeat"
            ) from None
    return frozenset(found)
