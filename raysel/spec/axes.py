"""The axes of a suite: `axes:` lists values of keys, and each combination of them is a cell.

A cell is the sweep that the file describes with its values in place, as `--set` puts them. Its
name joins them (`resnet10t-shots5`): it depends on nothing but the cell's own values, so that a
suite to which values are added keeps the names of its cells.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raysel.common.errors import Problem, UserError, nearest
from raysel.common.text import one_line
from raysel.spec import yaml_core

AXES = "axes"
"""The key that makes a sweep file a suite."""

ZIP, EXCLUDE = "zip", "exclude"
"""Keys below `axes` that are none of the sweep file's."""

MOST_CELLS = 1000
"""A suite of more is asked for with `--yes`."""

MOST_CELLS_AT_ALL = 20_000
"""Even then."""

RESERVED = frozenset({"report", "code", "trials"})
"""Folders of a suite or of a sweep: no cell is called so."""

_OF_THE_SUITE = {
    "name": "the cells are named by their values",
    "storage": "the cells of a suite lie in one folder",
    "database_url": "the cells of a suite keep their records in one place",
    "tracking": "the cells of a suite are one MLflow experiment",
    "resources": "the workers are shared by all cells",
    "budget": "it is for the suite as a whole",
    "code_files": "the code is shared by all cells",
    "description": "it is for the suite as a whole",
    AXES: "an axis has no axes",
}
"""Keys that no axis can have, and why."""

_MOST_OF_A_LABEL = 32
_MOST_OF_A_NAME = 80


@dataclass(frozen=True)
class AxisValue:
    """One step along an axis: the keys that it sets, and how it is called in cells' names."""

    label: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """One key with its values, or several keys whose values are walked together (`zip`)."""

    keys: tuple[str, ...]
    values: tuple[AxisValue, ...]


@dataclass(frozen=True)
class Cell:
    """One combination of the axes' values.

    Attributes:
        name: of its folder below the suite's.
        settings: key of the sweep file -> value.
        labels: of its values, an axis each.
    """

    name: str
    settings: Mapping[str, Any]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Axes:
    """What stands below `axes`.

    Attributes:
        exclude: parts of cells; a cell that holds one of them is left out.
    """

    axes: tuple[Axis, ...]
    exclude: tuple[Mapping[str, Any], ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all axes."""
        return tuple(key for axis in self.axes for key in axis.keys)

    @property
    def product(self) -> int:
        """How many combinations there are before any is excluded."""
        return math.prod(len(axis.values) for axis in self.axes)

    def cells(self) -> list[Cell]:
        """Every cell, the last axis changing fastest.

        Raises:
            UserError: there are none, or more than raysel runs.
        """
        if self.product > MOST_CELLS_AT_ALL:
            words = f"{self.product:,} combinations; {MOST_CELLS_AT_ALL:,} at most"
            raise UserError(Problem(AXES, words))
        every = itertools.product(*(axis.values for axis in self.axes))
        found = [_cell(values) for values in every]
        kept = [cell for cell in found if not self._is_excluded(cell)]
        if not kept:
            raise UserError(Problem(f"{AXES}.{EXCLUDE}", "leaves no cell"))
        return kept

    def _is_excluded(self, cell: Cell) -> bool:
        return any(
            all(cell.settings[key] == value for key, value in part.items()) for part in self.exclude
        )


def parse_axes(given: Any) -> Axes:
    """What a file has below `axes`.

    Raises:
        UserError: everything that is wrong with it, a line each.
    """
    reading = _Reading()
    axes = reading.axes(given)
    if reading.problems:
        raise UserError(*reading.problems)
    return axes


@dataclass
class _Reading:
    """Reads `axes`, and collects what is wrong with it."""

    problems: list[Problem] = field(default_factory=list)

    def axes(self, given: Any) -> Axes:
        if not isinstance(given, Mapping) or not given:
            self._wrong("", "give keys of the sweep file, each with a list of its values")
            return Axes(())
        groups = [(key, {key: value}) for key, value in given.items() if key not in (ZIP, EXCLUDE)]
        zipped = given.get(ZIP, [])
        for number, group in enumerate(zipped if isinstance(zipped, list) else [zipped]):
            path = f"{ZIP}.{number}" if isinstance(zipped, list) else ZIP
            if isinstance(group, Mapping) and group:
                groups.append((path, dict(group)))
            else:
                self._wrong(path, "give several keys, each with a list as long as the others")
        if not groups and not self.problems:
            self._wrong("", "no key has values")
        read = tuple(self._axis(path, group) for path, group in groups)
        self._check_keys([key for _, group in groups for key in group])
        axes = Axes(tuple(axis for axis in read if axis is not None))
        if self.problems:
            return axes
        return Axes(axes.axes, tuple(self._exclude(given.get(EXCLUDE), axes)))

    def _axis(self, path: str, group: Mapping[str, Any]) -> Axis | None:
        lists = {key: self._values(key, given) for key, given in group.items()}
        if any(values is None for values in lists.values()):
            return None
        read = {key: values for key, values in lists.items() if values is not None}
        lengths = {key: len(values) for key, values in read.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{key} has {count}" for key, count in lengths.items())
            self._wrong(path, f"lists that are walked together are of one length: {counts}")
            return None
        # where some of the keys' values are named, these names are those of the group
        named = [key for key, given in group.items() if isinstance(given, Mapping)] or list(read)
        rows = zip(*read.values(), strict=True)
        values = []
        for row in rows:
            at = dict(zip(read, row, strict=True))
            label = "-".join(at[key][0] for key in named)
            values.append(AxisValue(label, {key: value for key, (_, value) in at.items()}))
        self._check_labels(path, values)
        return Axis(tuple(read), tuple(values))

    def _values(self, key: str, given: Any) -> list[tuple[str, Any]] | None:
        """The values of a key, each with its name; None if they cannot be read."""
        if isinstance(given, Mapping) and given:
            return [(_short(str(name)), value) for name, value in given.items()]
        if not isinstance(given, list) or not given:
            shown = "it is empty" if given in (None, [], {}) else f"{_shown(given)} is not one"
            self._wrong(key, f"give a list of values, [a, b], or names with values: {shown}")
            return None
        return [(_label(key, value), value) for value in given]

    def _check_labels(self, path: str, values: Sequence[AxisValue]) -> None:
        seen = Counter(json.dumps(value.settings, sort_keys=True) for value in values)
        for settings, count in seen.items():
            if count > 1:
                value = list(json.loads(settings).values())
                words = " with ".join(map(_shown, value))
                self._wrong(path, f"{words} is there {_times(count)}: its cells would be alike")
        if any(count > 1 for count in seen.values()):
            return
        for label, count in Counter(value.label for value in values).items():
            if count > 1:
                words = f'{count} values would be called "{label}" in the names of cells'
                self._wrong(path, f"{words}; name them: {{first: value, second: value}}")

    def _check_keys(self, keys: Sequence[str]) -> None:
        for key, count in Counter(keys).items():
            if count > 1:
                self._wrong(key, f"is an axis {_times(count)}")
            if why := _OF_THE_SUITE.get(key.partition(".")[0]):
                self._wrong(key, f"cannot be an axis: {why}")
        for above, key in itertools.permutations(dict.fromkeys(keys), 2):
            if key.startswith(f"{above}."):
                self._wrong(key, f"is below {above}, which is an axis too; leave one of them")

    def _exclude(self, given: Any, axes: Axes) -> Iterator[Mapping[str, Any]]:
        parts = given if isinstance(given, list) else [] if given is None else [given]
        for number, part in enumerate(parts):
            path = f"{EXCLUDE}.{number}" if isinstance(given, list) else EXCLUDE
            if not isinstance(part, Mapping) or not part:
                self._wrong(path, "give keys of axes with a value each: {model.name: resnet10t}")
                continue
            yield {key: self._excluded(path, key, value, axes) for key, value in part.items()}

    def _excluded(self, path: str, key: str, value: Any, axes: Axes) -> Any:
        """The axis's value that is meant: by itself, or by its name."""
        if key not in axes.keys:
            self._wrong(f"{path}.{key}", f"is no axis; {nearest(key, axes.keys)}")
            return value
        axis = next(axis for axis in axes.axes if key in axis.keys)
        known = [step.settings[key] for step in axis.values]
        if value in known:
            return value
        by_name = {step.label: step.settings[key] for step in axis.values}
        if value in by_name:
            return by_name[value]
        words = nearest(str(value), map(str, known))
        self._wrong(f"{path}.{key}", f"{_shown(value)} is no value of this axis; {words}")
        return value

    def _wrong(self, path: str, words: str) -> None:
        self.problems.append(Problem(f"{AXES}.{path}".rstrip("."), words))


def _cell(values: Sequence[AxisValue]) -> Cell:
    labels = tuple(value.label for value in values)
    name = _short("-".join(labels), _MOST_OF_A_NAME)
    settings = {key: value for step in values for key, value in step.settings.items()}
    return Cell(f"{name}_" if name in RESERVED else name, settings, labels)


def _label(key: str, value: Any) -> str:
    """`resnet10t` of a word, `shots5` of a number, the end of a path."""
    last = key.rpartition(".")[2]
    if isinstance(value, str):
        return _short(value.rstrip("/").rpartition("/")[2] or last)
    if isinstance(value, bool | int | float) or value is None:
        return _short(f"{last}{yaml_core.in_a_line(value)}")
    return _short("_".join(_leaves(value)) or last)


def _leaves(value: Any) -> Iterator[str]:
    """The words and numbers in a list or below keys, paths by their ends."""
    if isinstance(value, Mapping | list):
        for below in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(below)
    else:
        yield str(value).rstrip("/").rpartition("/")[2]


def _short(text: str, most: int = _MOST_OF_A_LABEL) -> str:
    """A part of a folder's name; of a longer text the beginning and a hash of the whole."""
    keep = r"[^A-Za-z0-9._-]+" if most == _MOST_OF_A_NAME else r"[^A-Za-z0-9._]+"
    plain = re.sub(keep, "_", text).strip("._-") or "value"
    if len(plain) <= most:
        return plain
    return f"{plain[: most - 7]}_{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _shown(value: Any) -> str:
    return one_line(yaml_core.in_a_line(value), 60)


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"
