"""Reading a sweep file: safe YAML, overrides from the command line, and every mistake of
the grammar as one line that names the field, what was given and what is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from raysel import tracker
from raysel.errors import Problem, UserError, nearest, user_error
from raysel.spec import CodeFile, Spec, TrainingOverride
from raysel.task_spec import FolderData, TableData
from raysel.values import (
    A_CHOICE,
    A_FILE,
    A_FLOAT_RANGE,
    A_FOLDER,
    A_LIST,
    A_TABLE,
    A_VALUE,
    AN_INT_RANGE,
    KEYS_BELOW,
    Choice,
    FloatRange,
    IntRange,
)


def load(path: Path, overrides: Iterable[str] = ()) -> Spec:
    """Read a sweep file; arguments and errors as in `read`."""
    return read(path, overrides).spec()


def parse(text: str, overrides: Iterable[str] = (), name: str = "sweep file") -> Spec:
    """Read a sweep from the text of its file; `overrides` and errors as in `read`."""
    return SweepFile(name, text, tuple(overrides)).spec()


def read(path: Path, overrides: Iterable[str] = ()) -> SweepFile:
    """Open a sweep file.

    Args:
        path: the YAML file.
        overrides: `a.b=c` strings, applied on top; `c` is read as YAML.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise user_error(str(path), "there is no such file") from None
    except UnicodeDecodeError:
        raise user_error(str(path), "is not text in UTF-8") from None
    except OSError as error:
        raise user_error(str(path), f"cannot be read: {error.strerror}") from None
    return SweepFile(str(path), text, tuple(overrides))


@dataclass(frozen=True)
class SweepFile:
    """A sweep file's text with what the command line sets on top of it."""

    name: str
    text: str
    overrides: tuple[str, ...] = ()

    def spec(self) -> Spec:
        """The sweep, if the grammar is kept.

        Raises:
            UserError: the file is empty, not YAML, builds objects, or does not match the
                grammar; all mistakes of the last kind are told together.
        """
        data = _read_yaml(self.text, self.name)
        for override in self.overrides:
            _apply(override, data)
        try:
            return Spec.model_validate(data)
        except ValidationError as error:
            raise UserError(*self.locate(map(_problem, error.errors()))) from None

    def locate(self, problems: Iterable[Problem]) -> list[Problem]:
        """The problems with the lines on which their fields stand, in the file's order.

        A field that the command line sets has no line: what stands there is not the mistake.
        """
        root = yaml.compose(self.text, Loader=_Loader)
        located = [replace(problem, line=self._line(root, problem)) for problem in problems]
        return sorted(located, key=lambda problem: problem.line or 0)

    def _line(self, root: yaml.Node | None, problem: Problem) -> int | None:
        paths = [override.partition("=")[0].strip() for override in self.overrides]
        overridden = any(f"{problem.path}.".startswith(f"{path}.") for path in paths)
        return None if overridden else _line(root, problem.path.split("."))


# --- YAML ---------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads `1e-4` as a number (YAML 1.1 wants `1.0e-4`) and refuses
    a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # the loader refuses it below
            if key.value in seen:
                line = key.start_mark.line + 1
                raise UserError(Problem(str(key.value), "stands twice in one place", line))
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _read_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        message = f"is not YAML: {error.problem or error.context}"
        if "constructor for the tag" in message:
            message = "only plain YAML values are read; tags that build objects are refused"
        raise UserError(Problem(name, message, _marked_line(error))) from None
    except yaml.YAMLError as error:
        raise user_error(name, f"is not YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise user_error(name, "is nested too deep to be read") from None
    except ValueError as error:  # a date that the calendar does not have
        raise user_error(name, f"holds a value that cannot be read: {error}") from None
    if data is None:
        raise user_error(name, "is empty; `raysel init` writes a commented example")
    if not isinstance(data, dict):
        raise user_error(name, f"must hold keys and values, not {_shown(data)}")
    return data


def _marked_line(error: yaml.MarkedYAMLError) -> int | None:
    return error.problem_mark.line + 1 if error.problem_mark else None


def _apply(override: str, data: dict[str, Any]) -> None:
    """Set one value, in place."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise user_error("--set", f'"{override}" is not of the form key.subkey=value')
    try:
        value = yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise user_error("--set", f"{path}: is nested too deep to be read") from None
    except (yaml.YAMLError, ValueError):
        raise user_error("--set", f'"{text}" is not a YAML value') from None
    place = data
    for key in keys[:-1]:
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict):
            raise user_error("--set", f'"{path}": there is nothing below {key}')
    place[keys[-1]] = value


def _line(node: yaml.Node | None, keys: list[str]) -> int | None:
    """The line (from 1) of the deepest key on the path that stands in the file."""
    line = None
    while isinstance(node, yaml.MappingNode):
        below = {".".join(keys[: i + 1]): keys[i + 1 :] for i in range(len(keys))}
        # a key of the file may itself hold dots
        found = next((pair for pair in node.value if str(pair[0].value) in below), None)
        if found is None:
            break
        key, node = found
        line, keys = key.start_mark.line + 1, below[key.value]
    return line


# --- mistakes of the grammar ----------------------------------------------------------------

_MODEL_OF_ARM: dict[str, type[BaseModel]] = {
    A_FLOAT_RANGE: FloatRange,
    AN_INT_RANGE: IntRange,
    A_CHOICE: Choice,
    KEYS_BELOW: TrainingOverride,
    A_FILE: CodeFile,
    A_FOLDER: FolderData,
    A_TABLE: TableData,
}
_ARMS = {*_MODEL_OF_ARM, A_VALUE, A_LIST}


def _problem(detail: Mapping[str, Any]) -> Problem:
    """A pydantic complaint in our words."""
    location = [str(part) for part in detail["loc"]]
    keys = [key for key in location if key not in _ARMS and key != "[key]"]
    if keys[:1] == ["strategies"] and keys[2:3] == ["parameters"]:
        del keys[2]  # the file has no such key
    if detail["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in _model_at(location).model_fields.items()]
        return Problem(".".join(keys), f"unknown key; {nearest(keys[-1], known)}")
    return Problem(".".join(keys), explain(detail))


def _model_at(location: list[str]) -> type[BaseModel]:
    """The model of which the last part of `location` is meant to be a key."""
    model: type[BaseModel] = Spec
    for part in location[:-1]:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else _MODEL_OF_ARM.get(part)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model


def explain(detail: Mapping[str, Any]) -> str:
    """One of a `ValidationError`'s complaints in our words: what was given, what is accepted."""
    kind, given, limits = detail["type"], _shown(detail.get("input")), detail.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == tracker.REFUSED:
        return str(detail["msg"])
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", limits["expected"])
        return f"{given} is unknown; {nearest(str(detail['input']), options)}"
    if kind == "union_tag_invalid":
        accepted = re.findall(r"'([^']*)'", limits["expected_tags"])
        return f"{given} is not accepted; give {', '.join(accepted[:-1])} or {accepted[-1]}"
    refused = "is empty" if detail["input"] is None else f"{given} is not accepted"
    if kind == "value_error":
        return f"{refused}: {limits['error']}"
    if kind not in _WANTED:
        return f"{refused}: {detail['msg']}"
    return f"{refused}; give {_WANTED[kind](limits)}"


_WANTED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda limits: f"a number above {limits['gt']:g}",
    "greater_than_equal": lambda limits: f"a number of at least {limits['ge']:g}",
    "less_than": lambda limits: f"a number below {limits['lt']:g}",
    "less_than_equal": lambda limits: f"a number of at most {limits['le']:g}",
    "finite_number": lambda _: "a finite number",
    "float_type": lambda _: "a number",
    "int_type": lambda _: "a whole number",
    "bool_type": lambda _: "true or false",
    "string_type": lambda _: "a word or a text (in quotes if it looks like a number)",
    "string_pattern_mismatch": lambda _: (
        "1 to 80 letters, digits, dots, underscores and dashes, a letter or digit first"
    ),
    "tuple_type": lambda _: "a list",
    "model_type": lambda _: "keys and values below it",
    "dict_type": lambda _: "keys and values below it",
    "too_short": lambda limits: f"at least {limits['min_length']}",
    "invalid_key": lambda _: "a word as the key",
}


def _shown(value: Any, width: int = 60) -> str:
    """A value as it would stand in the file."""
    if isinstance(value, str):
        text = f'"{value}"'
    else:
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
        text = text.removesuffix("...\n").strip()
    return text if len(text) <= width else f"{text[:width]}…"
