"""What the command line writes, all of it: lines, JSON, questions, and the streams beneath.

Every verb prints through this module and `raysel.common.rich_output`, so that text from outside
is safe (`raysel.common.text`), a sign that the terminal's encoding lacks is replaced, and a reader
that goes away (`| head`) or a full disk behind standard output ends nothing.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, TextIO, cast

from raysel.common.errors import user_error
from raysel.common.text import ENCODING_ERRORS, LINE, json_text, one_line

PATH = 4_096
"""The longest path that Linux takes: a line that is one is not cut."""


def say(*lines: object, to: IO[str] | None = None, most: int = LINE) -> None:
    """Print lines: each argument is one, whatever it holds.

    Args:
        to: the stream; standard output if it is not given.
        most: characters of a line; a longer one is cut.
    """
    stream = sys.stdout if to is None else to
    print(*(one_line(line, most) for line in lines), sep="\n", file=stream, flush=True)


def say_error(*lines: object) -> None:
    """Print lines to standard error."""
    say(*lines, to=sys.stderr)


def print_json(value: Any, indent: int | None = 2, ascii_only: bool = False) -> None:
    """Print a value as JSON: whole and valid in every encoding, without a raw control character."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    print(json_text(value, indent, ascii_only or encoding != "utf8"), flush=True)


def print_csv(cells: Sequence[str]) -> None:
    """Print one row as CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    say(line.getvalue(), most=2 * PATH)


def print_table(
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    numbers: Sequence[int] = (),
    whole: Sequence[int] = (0,),
) -> None:
    """Print rows under a head; a line a row where no terminal is.

    rich is imported here and not at the start: `raysel --help` does without.

    Args:
        numbers: the columns that are set to the right.
        whole: the columns that are not broken over lines where the terminal is narrow.
    """
    from raysel.common.rich_output import TextConsole, fitting_table  # noqa: PLC0415

    console = TextConsole()
    console.print(fitting_table(console, head, rows, numbers, whole))


def progress_stream(as_json: bool) -> TextIO:
    """Where progress goes: with --json standard output holds the one object alone."""
    return sys.stderr if as_json else sys.stdout


def ask(question: str, option: str) -> bool:
    """Ask for a yes or a no on the terminal.

    Args:
        option: what to give where there is nobody to answer, `--yes`.

    Raises:
        UserError: standard input has ended without an answer.
    """
    import typer  # noqa: PLC0415

    try:
        return typer.confirm(one_line(question))
    except typer.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C
        say("")
        raise user_error(option, "is needed where there is nobody to answer the question") from None


class LogPrinter:
    """Prints the log of a job line by line as it comes: its colours are left out, whatever else
    would steer the terminal is escaped. A progress bar that redraws its line becomes lines."""

    def __init__(self, to: TextIO) -> None:
        self._to, self._rest = to, ""

    def __enter__(self) -> LogPrinter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._rest:
            self._print(self._rest)

    def write(self, text: str) -> None:
        """Take a piece, which may end in the middle of a line."""
        *whole, self._rest = re.split(r"\r\n|\r(?!$)|\n", self._rest + text)
        self._print(*whole)

    def _print(self, *lines: str) -> None:
        shown = (_COLOURS.sub("", line).expandtabs() for line in lines)
        if lines:
            say(*shown, to=self._to, most=PATH)


_COLOURS = re.compile(r"\x1b\[[0-9;]*[mK]")


# --- streams ------------------------------------------------------------------------------------


class GuardedStream:
    """Standard output or error. What its encoding lacks is replaced; once it cannot be written
    it is silent, and `failure` says why: a sweep that trains must not end for want of a reader."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ENCODING_ERRORS)

    def write(self, text: str) -> int:
        """Write a text."""
        with self._silent_when_broken():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with self._silent_when_broken():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _silent_when_broken(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = self.failure or error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Guard standard output and error, and open what was closed (`>&-`): the next file that is
    opened, a database perhaps, would else be standard output."""
    _open_closed()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_guarded, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError):  # closed meanwhile
                stream.flush()
        sys.stdout, sys.stderr = before


def output_failure() -> OSError | None:
    """Why standard output could not be written; None also where its reader has gone away."""
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    return None if isinstance(failure, BrokenPipeError) else failure


def _guarded(stream: TextIO) -> TextIO:
    return stream if isinstance(stream, GuardedStream) else cast(TextIO, GuardedStream(stream))


def _open_closed() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
