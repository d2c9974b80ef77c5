"""A data set that a function of the user's own gives (`code_files`): its pictures' paths, their
labels, and perhaps the part of each.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raysel.common.code_exits import MODULE_PREFIX, described
from raysel.common.errors import UserError, nearest, user_error
from raysel.common.text import and_more, quoted
from raysel.spec.user_code import mistake
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.readers.labelled import labelled
from raysel.tasks.splits import POOL_OF_FOLDER, Pool

_RETURNS = "it must return paths and labels, and perhaps parts: lists of one length"


def why_no_function(name: str) -> str | None:
    """What to say where no file of `code_files` has the function; None where one has it."""
    if _found(name):
        return None
    known = sorted({key for module in _modules() for key in _functions(module)})
    if not known:
        return f"no file of code_files has a function {quoted(name)}; name the file there"
    return f"no file of code_files has a function {quoted(name)}; {nearest(name, known)}"


def from_function(name: str, classes: Sequence[str] | None = None) -> ImageDataset:
    """Call the function; no picture is decoded.

    Args:
        name: of a function without arguments. Relative paths are relative to its file.
        classes: their names, in the order of their numbers; those that occur, if nothing is given.

    Raises:
        UserError: it is not there, it raises, or it returns something else (path `task.data`, or
            the line of the user's file).
    """
    if (why := why_no_function(name)) or (found := _found(name)) is None:
        raise user_error("task.data.function", why or "")
    folder, function = found
    try:
        paths, labels, parts = _lists(name, function())
    except UserError:
        raise
    except Exception as error:
        raise mistake(error) or _refused(name, described(error)) from error
    sources = [folder / path for path in paths]
    absent = [path for path in sources if not path.is_file()]
    if len(absent) == len(sources):
        raise _refused(name, f"none of its {len(sources)} files is there, such as {absent[0]}")
    notes = []
    if absent:
        notes = [f"{len(absent):,} of {len(sources):,} files are not there: {absent[0]}"]
    pools = _pools(name, parts)
    return labelled(name, f"{name}()", sources, labels, classes, pools, notes)


def _modules() -> list[Any]:
    return [module for key, module in sys.modules.items() if key.startswith(MODULE_PREFIX)]


def _functions(module: Any) -> dict[str, Callable[[], Any]]:
    """Those that the file defines."""
    return {
        key: value
        for key, value in vars(module).items()
        if callable(value)
        and getattr(value, "__module__", None) == module.__name__
        and not isinstance(value, type)
    }


def _found(name: str) -> tuple[Path, Callable[[], Any]] | None:
    """The folder of the file that has the function, and the function."""
    for module in _modules():
        if function := _functions(module).get(name):
            return Path(module.__file__).parent, function
    return None


def _lists(name: str, returned: Any) -> tuple[list[str], list[str], list[str] | None]:
    if not isinstance(returned, tuple) or len(returned) not in (2, 3):
        what = f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
        raise _refused(name, f"returns {what}; {_RETURNS}")
    lists = [_items(name, one) for one in returned]
    if len({len(one) for one in lists}) > 1 or not lists[0]:
        sizes = " and ".join(f"{len(one):,}" for one in lists)
        raise _refused(name, f"returns lists of {sizes}; {_RETURNS}")
    wrong = next((path for path in lists[0] if not isinstance(path, str | os.PathLike)), None)
    if wrong is not None:
        raise _refused(name, f"returns {quoted(wrong)} as a path; {_RETURNS}")
    paths = [os.fspath(path) for path in lists[0]]
    labels = [str(label).strip() for label in lists[1]]
    return paths, labels, [str(part) for part in lists[2]] if len(lists) == 3 else None


def _items(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise _refused(name, f"returns {quoted(values)} in the place of a list; {_RETURNS}")
    return list(values)


def _pools(name: str, parts: Sequence[str] | None) -> list[Pool] | None:
    if parts is None:
        return None
    unknown = sorted({part for part in parts if part.lower() not in POOL_OF_FOLDER})
    if unknown:
        raise _refused(name, f"part {and_more(unknown)} is unknown; there is train, val, test")
    return [POOL_OF_FOLDER[part.lower()] for part in parts]


def _refused(name: str, message: str) -> UserError:
    return user_error("task.data.function", f"{name}() {message}")
