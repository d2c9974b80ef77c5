"""Reading a sweep file: safe YAML, overrides from the command line, and every mistake of
the grammar as one line that names the field, what was given and what is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from raysel.common.errors import Problem, UserError, nearest, user_error
from raysel.common.text import one_line, quoted
from raysel.common.urls import REFUSED
from raysel.common.user_files import MIB, read_regular
from raysel.spec import renamed_keys, yaml_core
from raysel.spec.axes import AXES
from raysel.spec.confirm import BestBy
from raysel.spec.data_choice import (
    ColouredDigits,
    FileData,
    FolderData,
    FunctionData,
    HubData,
    TableData,
    TfdsData,
)
from raysel.spec.model import PackageWeights
from raysel.spec.renamed_keys import with_new_keys
from raysel.spec.sweep import AfterSpec, CodeFile, Spec, TrainingOverride
from raysel.spec.unsupported import unknown_key, unknown_value
from raysel.spec.values import (
    A_CHOICE,
    A_CUE,
    A_DATA_FILE,
    A_FILE,
    A_FLOAT_RANGE,
    A_FOLDER,
    A_FUNCTION,
    A_HUB_ID,
    A_LIST,
    A_PACKAGE,
    A_TABLE,
    A_TFDS_NAME,
    A_VALUE,
    AN_INT_RANGE,
    BY_VALUES,
    KEYS_BELOW,
    Choice,
    FloatRange,
    IntRange,
)

MOST_BYTES = 2 * MIB
"""Of a sweep file."""

_A_SUITE = (
    "make the file a suite of several sweeps, and one is wanted here;"
    " raysel validate, plan, run and submit take a suite"
)


def load(path: Path, overrides: Iterable[str] = ()) -> Spec:
    """Read a sweep file; arguments and errors as in `read`."""
    return read(path, overrides).spec()


def parse(text: str, overrides: Iterable[str] = (), name: str = "sweep file") -> Spec:
    """Read a sweep from the text of its file; `overrides` and errors as in `read`."""
    return SweepFile(name, text, tuple(overrides)).spec()


def load_resolved(path: Path, overrides: Iterable[str] = ()) -> Spec:
    """Read the resolved file of a sweep, which an older version may have written."""
    return replace(read(path, overrides), resolved=True).spec()


def parse_resolved(text: str) -> Spec:
    """Read the text of a resolved file, which an older version may have written."""
    return SweepFile("sweep file", text, resolved=True).spec()


def read(path: Path, overrides: Iterable[str] = ()) -> SweepFile:
    """Open a sweep file.

    Args:
        path: the YAML file.
        overrides: `a.b=c` strings, applied on top; `c` is read as YAML.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    try:
        text = read_regular(path, MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise user_error(str(path), "there is no such file") from None
    except UnicodeDecodeError:
        raise user_error(str(path), "is not text in UTF-8") from None
    except OSError as error:
        raise user_error(str(path), f"cannot be read: {error.strerror}") from None
    return SweepFile(str(path), text, tuple(overrides))


@dataclass(frozen=True)
class SweepFile:
    """A sweep file's text with what the command line sets on top of it.

    Attributes:
        resolved: raysel wrote it; keys that have another name now are read under that.
    """

    name: str
    text: str
    overrides: tuple[str, ...] = ()
    resolved: bool = False

    def spec(self) -> Spec:
        """The sweep, if the grammar is kept.

        Raises:
            UserError: the file is empty, not YAML, builds objects, is a suite, or does not match
                the grammar; all mistakes of the last kind are reported together.
        """
        data = self.data()
        if AXES in data:
            raise UserError(*self.locate([Problem(AXES, _A_SUITE)]))
        if not self.resolved and "/" in (name := str(data.get("name"))):
            words = f"{quoted(name)} is a cell's name in a suite; give a name without /"
            raise UserError(*self.locate([Problem("name", words)]))
        return self.validated(data)

    def data(self) -> dict[str, Any]:
        """What the file holds, with the overrides on top.

        Raises:
            UserError: the file is empty, not YAML, or builds objects.
        """
        data = _read_yaml(self.text, self.name)
        if self.resolved:
            data = with_new_keys(data)
        for override in self.overrides:
            _apply(override, data)
        return data

    def validated(self, data: Mapping[str, Any]) -> Spec:
        """The sweep of what was read; errors as in `spec`."""
        try:
            return Spec.model_validate(data)
        except ValidationError as error:
            root = yaml_core.compose(self.text)
            problems = [_problem(d, self._written(root, _keys(d))) for d in error.errors()]
            raise UserError(*self.locate(problems)) from None

    def locate(self, problems: Iterable[Problem]) -> list[Problem]:
        """The problems with the lines on which their fields are, in the file's order; those that
        have a line keep it.

        A field that the command line sets has no line: what is there is not the mistake.
        """
        root = yaml_core.compose(self.text)
        located = [replace(p, line=p.line or self._line(root, p)) for p in problems]
        return sorted(located, key=lambda problem: problem.line or 0)

    def _line(self, root: yaml.Node | None, problem: Problem) -> int | None:
        paths = [override.partition("=")[0].strip() for override in self.overrides]
        overridden = any(f"{problem.path}.".startswith(f"{path}.") for path in paths)
        return None if overridden else _line(root, problem.path.split("."))

    def _written(self, root: yaml.Node | None, keys: list[str]) -> str | None:
        """A value as it is on the command line or in one line of the file."""
        for override in reversed(self.overrides):
            path, _, text = override.partition("=")
            if path.strip().split(".") == keys:
                return text.strip()
            if ".".join(keys).startswith(f"{path.strip()}."):
                return None
        node = _node(root, keys)
        if node is None or node.start_mark.line != node.end_mark.line:
            return None
        return self.text[node.start_mark.index : node.end_mark.index]


# --- YAML ---------------------------------------------------------------------------------


def _read_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        data = yaml_core.read(text)
    except yaml_core.YamlError as error:
        raise UserError(Problem(error.key or name, str(error), error.line)) from None
    if data is None:
        raise user_error(name, "is empty; `raysel init` writes a commented example")
    if not isinstance(data, dict):
        raise user_error(name, f"must hold keys and values, not {_cut(yaml_core.in_a_line(data))}")
    return data


def _apply(override: str, data: dict[str, Any]) -> None:
    """Set one value, in place."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise user_error("--set", f'"{override}" is not of the form key.subkey=value')
    if len(keys) > yaml_core.MOST_LEVELS:
        raise user_error("--set", f"{len(keys)} keys one below the other are not read")
    try:
        value = yaml_core.read(text)
    except yaml_core.YamlError as error:
        key = f"{error.key}: " if error.key else ""
        raise user_error("--set", f"{path}: {key}{error}") from None
    if keys[0] == AXES and len(keys) > 1:
        keys = [AXES, ".".join(keys[1:])]  # below it a key holds the dots
    if above := put(data, keys, value):
        raise user_error("--set", f'"{path}": there is nothing below {above}')


def put(data: dict[str, Any], keys: Sequence[str], value: Any) -> str | None:
    """Set one value, in place.

    Returns:
        The key that stands in the way: it holds a value, and no keys.
    """
    place = data
    for key in keys[:-1]:
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict):
            return key
    place[keys[-1]] = value
    return None


def _line(node: yaml.Node | None, keys: list[str]) -> int | None:
    """The line (from 1) of the deepest key, or entry of a list, on the path that is in the file."""
    line = None
    while keys and isinstance(node, yaml.MappingNode | yaml.SequenceNode):
        if isinstance(node, yaml.SequenceNode):
            node, keys = _node(node, keys[:1]), keys[1:]
            line = line if node is None else node.start_mark.line + 1
            continue
        below = {".".join(keys[: i + 1]): keys[i + 1 :] for i in range(len(keys))}
        # a key of the file may itself hold dots
        found = next((pair for pair in node.value if str(pair[0].value) in below), None)
        if found is None:
            break
        key, node = found
        line, keys = key.start_mark.line + 1, below[key.value]
    return line


def _node(node: yaml.Node | None, keys: list[str]) -> yaml.Node | None:
    """The value at a path of keys and indices, as it is in the file."""
    for depth, key in enumerate(keys):
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(key)] if key.isdigit() and int(key) < len(node.value) else None
        elif isinstance(node, yaml.MappingNode):
            rest = ".".join(keys[depth:])  # a key of the file may itself hold dots
            found = [pair for pair in node.value if pair[0].value in (key, rest)]
            if found and found[0][0].value == rest:
                return found[0][1]
            node = found[0][1] if found else None
        else:
            return None
    return node


# --- mistakes of the grammar ----------------------------------------------------------------

_MODEL_OF_ARM: dict[str, type[BaseModel]] = {
    A_FLOAT_RANGE: FloatRange,
    AN_INT_RANGE: IntRange,
    A_CHOICE: Choice,
    KEYS_BELOW: TrainingOverride,
    A_FILE: CodeFile,
    BY_VALUES: BestBy,
    A_FOLDER: FolderData,
    A_TABLE: TableData,
    A_CUE: ColouredDigits,
    A_DATA_FILE: FileData,
    A_FUNCTION: FunctionData,
    A_HUB_ID: HubData,
    A_TFDS_NAME: TfdsData,
    A_PACKAGE: PackageWeights,
}
_MODEL_OF_KEY: dict[str, type[BaseModel]] = {"after": AfterSpec}
"""Of keys below an entry of `strategies`, whose names no model lists."""

_ARMS = {*_MODEL_OF_ARM, A_VALUE, A_LIST}


def _keys(detail: Mapping[str, Any]) -> list[str]:
    """The path of a pydantic error as the file has it."""
    location = [str(part) for part in detail["loc"]]
    keys = [key for key in location if key not in _ARMS and key != "[key]"]
    if keys[:1] == ["strategies"] and keys[2:3] == ["parameters"]:
        del keys[2]  # the file has no such key
    return keys


def _problem(detail: Mapping[str, Any], written: str | None) -> Problem:
    """A pydantic error as a `Problem`."""
    keys = _keys(detail)
    if detail["type"] == "extra_forbidden":
        location = [str(part) for part in detail["loc"]]
        known = [field.alias or name for name, field in _model_at(location).model_fields.items()]
        near = nearest(keys[-1], known, show_all_up_to=20)
        words = renamed_keys.answer(".".join(keys), known) or unknown_key(keys[-1], known, near)
        return Problem(".".join(keys), words)
    return Problem(".".join(keys), explain(detail, written))


def _without_none(annotation: Any) -> Any:
    """`Model` of `Model | None`."""
    members = [member for member in get_args(annotation) if member is not type(None)]
    return members[0] if len(members) == 1 and isinstance(members[0], type) else annotation


def _model_at(location: list[str]) -> type[BaseModel]:
    """The model of which the last part of `location` is meant to be a key."""
    model: type[BaseModel] = Spec
    for part in location[:-1]:
        field = model.model_fields.get(part)
        known = _MODEL_OF_ARM | _MODEL_OF_KEY
        annotation = _without_none(field.annotation) if field else known.get(part)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model


def explain(detail: Mapping[str, Any], written: str | None = None) -> str:
    """The message for one error of a `ValidationError`: what was given, what is accepted.

    Args:
        written: the value as it is in the file, `010` for 10.
    """
    value = detail.get("input")
    as_text = written is None or isinstance(value, str)
    shown = _cut(yaml_core.in_a_line(value) if as_text else str(written))
    kind, given, limits = detail["type"], shown, detail.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == REFUSED:
        return str(detail["msg"])
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", limits["expected"])
        word = value if isinstance(value, str) else yaml_core.in_a_line(value)
        return f"{given} is unknown; {unknown_value(word, options)}"
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
    "greater_than": lambda limits: f"a number above {_limit(limits['gt'])}",
    "greater_than_equal": lambda limits: f"a number of at least {_limit(limits['ge'])}",
    "less_than": lambda limits: f"a number below {_limit(limits['lt'])}",
    "less_than_equal": lambda limits: f"a number of at most {_limit(limits['le'])}",
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
    "too_long": lambda limits: f"at most {limits['max_length']}",
    "invalid_key": lambda _: "a word as the key",
}


def _limit(limit: float) -> str:
    """`2147483647`, `0.5`, `1e+30`."""
    return str(int(limit)) if abs(limit) < 1e15 and limit == int(limit) else f"{limit:g}"


def _cut(text: str) -> str:
    return one_line(text, 80)
