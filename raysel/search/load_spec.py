"""`raysel.load_spec`: a sweep from a file or from a dictionary, checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from raysel.common.errors import UserError
from raysel.search import validate
from raysel.spec import user_code
from raysel.spec.reader import SweepFile
from raysel.spec.sweep import Spec


def load_spec(
    source: str | Path | Mapping[str, Any] | Spec,
    overrides: Mapping[str, Any] | Iterable[str] = (),
) -> Spec:
    """Read a sweep and check it against the strategies, the model's layers and the data.

    Args:
        source: the path of a sweep file, or what such a file holds as a dictionary; paths in a
            dictionary are relative to the working folder.
        overrides: values on top, `{"training.epochs": 5}` or `["training.epochs=5"]`.

    Raises:
        UserError: everything that is wrong with the sweep, a line each.
    """
    given = as_texts(overrides)
    if isinstance(source, str | Path):
        return validate.read(Path(source), given)
    values = source.model_dump(mode="json", by_alias=True) if isinstance(source, Spec) else source
    try:
        return _checked(SweepFile("sweep", _as_yaml(values), given))
    except UserError as error:  # the lines are of a text that nobody has written
        raise UserError(*(replace(problem, line=None) for problem in error.problems)) from None


def _checked(file: SweepFile) -> Spec:
    spec = file.spec()
    sources = user_code.read(spec.listed_code, Path())
    user_code.load(sources)
    spec = user_code.located(spec, sources)
    if problems := validate.check(spec):
        raise UserError(*problems)
    return spec


def as_texts(overrides: Mapping[str, Any] | Iterable[str]) -> tuple[str, ...]:
    """`key=value`, as the command line has them."""
    if isinstance(overrides, Mapping):
        return tuple(f"{key}={_as_yaml(value)}" for key, value in overrides.items())
    return (overrides,) if isinstance(overrides, str) else tuple(overrides)


def _as_yaml(value: Any) -> str:
    """JSON, which YAML 1.2 contains."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A value that JSON has no word for: a path, a distribution, a number or an array of NumPy."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be a value of a sweep")
