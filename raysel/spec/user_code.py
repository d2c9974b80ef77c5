"""Python files of the user's own: strategies and models that a sweep file names under `code`.

A file is read once, on the driver, and is sent as text from there: a worker on another node
needs no file. In each process a file runs once, and again only if its text is another.
"""

from __future__ import annotations

import hashlib
import linecache
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from raysel.common.code_exits import MODULE_PREFIX, described, is_interrupt
from raysel.common.errors import Problem, UserError, user_error
from raysel.common.user_files import MIB, read_regular
from raysel.spec.sweep import CodeFile, Spec

_SHA = "__raysel_sha256__"

MOST_BYTES = 10 * MIB
"""Of a Python file."""


@dataclass(frozen=True)
class Source:
    """One file: where it was read, and its text."""

    path: str
    text: str

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return Path(self.path).name

    @property
    def sha256(self) -> str:
        """Of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def module(self) -> str:
        """The name under which it is imported; strategies of a changed file replace the old."""
        return f"{MODULE_PREFIX}{Path(self.path).stem}"


def read(files: Sequence[CodeFile], folder: Path) -> tuple[Source, ...]:
    """The texts of the files.

    Args:
        folder: what their paths are relative to.

    Raises:
        UserError: a file is missing, not text, not what its hash says, or two of them have
            one name; all of it reported together.
    """
    problems: list[Problem] = []
    sources: list[Source] = []
    for index, file in enumerate(files):
        try:
            sources.append(_read(file, folder))
        except ValueError as error:
            problems.append(Problem(f"code_files.{index}", str(error)))
    names = [source.name for source in sources]
    for name in {name for name in names if names.count(name) > 1}:
        problems.append(Problem("code_files", f"two files are called {name}; rename one"))
    if problems:
        raise UserError(*problems)
    return tuple(sources)


def _read(file: CodeFile, folder: Path) -> Source:
    path = (folder / file.path).absolute()
    if path.suffix != ".py":
        raise ValueError(f'"{file.path}" is not a .py file')
    try:
        source = Source(str(path), read_regular(path, MOST_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no file {_shown(path)}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{_shown(path)} is not text in UTF-8") from None
    except OSError as error:
        raise ValueError(f"{_shown(path)} cannot be read: {error.strerror}") from None
    if file.sha256 not in (None, source.sha256):
        raise ValueError(f"{_shown(path)} has changed since the sweep began: its sha256 is another")
    return source


def load(sources: Iterable[Source]) -> None:
    """Run each file once in this process, so that what it registers is known.

    Raises:
        UserError: a file is not Python, raises, or names a strategy that there is already;
            one line with the file and its line.
    """
    for source in sources:
        known = sys.modules.get(source.module)
        if getattr(known, _SHA, None) != source.sha256:
            _run(source)


def _run(source: Source) -> None:
    from raysel.common.torchvision_compat import ensure_importable  # noqa: PLC0415  (slow)

    ensure_importable()  # the file may import timm
    module = ModuleType(source.module)
    module.__file__ = source.path
    setattr(module, _SHA, source.sha256)
    # tracebacks show the lines of a file that is on another machine
    linecache.cache[source.path] = (
        len(source.text),
        None,
        source.text.splitlines(True),
        source.path,
    )
    sys.modules[source.module] = module
    try:
        exec(compile(source.text, source.path, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        del sys.modules[source.module]
        if is_interrupt(error):
            raise
        raise _load_error(source, error) from error


def _load_error(source: Source, error: BaseException) -> UserError:
    """What went wrong, with the line of the user's own file."""
    shown = _shown(Path(source.path))
    if isinstance(error, SyntaxError) and error.filename == source.path:
        return UserError(Problem(shown, f"is not Python: {error.msg}", error.lineno))
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == source.path]
    return UserError(Problem(shown, described(error), lines[-1] if lines else None))


def mistake(error: BaseException) -> UserError | None:
    """An error as the user's own: what was raised, with the file and line; None where no code of
    the user's was running."""
    origin: BaseException | None = error
    while origin is not None:
        lines = traceback.walk_tb(origin.__traceback__)
        own = [
            (frame.f_code.co_filename, line)
            for frame, line in lines
            if str(frame.f_globals.get("__name__", "")).startswith(MODULE_PREFIX)
        ]
        if own:
            path, line = own[-1]
            return UserError(Problem(_shown(Path(path)), described(origin), line))
        origin = origin.__cause__
    return None


def _shown(path: Path) -> str:
    """The path as a person in this folder would write it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def hashes(sources: Iterable[Source]) -> dict[str, str]:
    """File name -> sha256, for the record."""
    return {source.name: source.sha256 for source in sources}


def located(spec: Spec, sources: Sequence[Source], folder: str = "") -> Spec:
    """The sweep with its code files named by path and hash.

    Args:
        sources: the files of `spec.code_files`, in order.
        folder: where the files are from now on, under their names; "" leaves them.
    """
    files = tuple(
        CodeFile(path=f"{folder}/{s.name}" if folder else s.path, sha256=s.sha256) for s in sources
    )
    return spec.model_copy(update={"code_files": files})


def load_from(paths: Iterable[Path]) -> tuple[Source, ...]:
    """Read and run files that the command line names.

    Raises:
        UserError: as in `read` and `load`.
    """
    files = [CodeFile(path=str(path.absolute())) for path in paths]
    try:
        sources = read(files, Path())
    except UserError as error:
        raise user_error("--code", error.problems[0].message) from None
    load(sources)
    return sources
