"""A split as a file: which examples of a data set belonged to which part, and reading it back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysel.common.errors import UserError, user_error
from raysel.common.text import quoted
from raysel.common.user_files import MIB, any_error_as, read_regular
from raysel.spec.task import TaskSpec
from raysel.tasks.data import Indices, Labels
from raysel.tasks.draws import SplitIndices
from raysel.tasks.splits import Splits, split

PATH = "task.split.indices"

_KEYS = {"data": str, "examples": int, "fingerprint": str, "parts": dict}

_IDENTITY = ("examples", "fingerprint", "names")

MOST_BYTES = 512 * MIB
"""Of a split: fifty million indices."""


def divide(
    spec: TaskSpec,
    labels: Labels,
    classes: Sequence[str],
    official_splits: NDArray[np.str_] | None = None,
) -> Splits:
    """The split that the sweep file asks for: by sizes, or the one of a file.

    Raises:
        UserError: as `split` and `read_split` say.
    """
    if spec.split.indices is None:
        return split(labels, classes, spec.split, spec.source, official_splits)
    return read_split(Path(spec.split.indices), labels, classes)


def split_record(
    spec: TaskSpec,
    labels: Labels,
    classes: Sequence[str],
    parts: Splits,
    draws: Sequence[SplitIndices] = (),
    sources: Sequence[object] | None = None,
) -> dict[str, Any]:
    """What `split.json` holds: the indices of each part and of each draw of the confirm phase,
    and by what to know the data set.

    Args:
        sources: of pictures their files; None where they have no names.
    """
    indices = {name: part.tolist() for name, part in asdict(parts).items()}
    return {
        "data": spec.name,
        **identity(labels, classes, sources),
        "seed": spec.split.seed,
        "parts": indices,
        "draws": [{name: part.tolist() for name, part in vars(draw).items()} for draw in draws],
    }


def identity(
    labels: Labels, classes: Sequence[str], sources: Sequence[object] | None
) -> dict[str, Any]:
    """By what a data set is known: the number of its examples, `fingerprint`, and of pictures a
    hash of their names in their order, below the folder that holds them all."""
    facts: dict[str, Any] = {"examples": len(labels), "fingerprint": fingerprint(labels, classes)}
    if sources is None:
        return facts
    paths = [str(source) for source in sources]
    try:
        root = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
    except ValueError:  # absolute ones and others
        root = ""
    digest = hashlib.sha256("\0".join(path[len(root) :] for path in paths).encode(errors="replace"))
    return facts | {"names": digest.hexdigest()[:32]}


def digest_of(record: Mapping[str, Any]) -> str:
    """The same for every split of the same examples, whatever was drawn for the confirm phase.

    Args:
        record: the content of `split.json`.
    """
    facts = {key: record.get(key) for key in ("fingerprint", "parts")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def what_changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """In words, how a data set differs from the one of a split; None where it does not.

    Args:
        then: the content of `split.json`; what it lacks is not compared (`names`, in an older one).
        now: its `identity`, or the content of another.
    """
    changed = {key for key in _IDENTITY if None not in (then.get(key), now.get(key))}
    changed = {key for key in changed if then[key] != now[key]}
    if "examples" in changed:
        return f"{now['examples']} examples, {then['examples']} then"
    if "fingerprint" in changed:
        return "as many examples, with other labels, other classes or in another order"
    return "as many pictures, under other names" if changed else None


def fingerprint(labels: Labels, classes: Sequence[str]) -> str:
    """A hash of the labels in their order and of the classes' names: another data set, or
    the same in another order, has another."""
    digest = hashlib.sha256(np.ascontiguousarray(labels, np.int64).tobytes())
    digest.update(json.dumps(list(classes)).encode())
    return digest.hexdigest()[:32]


def read_split(path: Path, labels: Labels, classes: Sequence[str]) -> Splits:
    """The parts of a `split.json`.

    Raises:
        UserError: the file is missing or damaged, was made of other data, or gives an
            example twice (path `task.split.indices`).
    """
    record = _read(path)
    if record.get("fingerprint") != fingerprint(labels, classes):
        made = f"made of {record['examples']} examples of {quoted(record['data'])}"
        here = f"this data set has {len(labels)}"
        if record["examples"] == len(labels):
            here = "this data set has as many, with other labels, other classes or another order"
        remedy = "give a split.json of this data, or leave the key out"
        raise user_error(PATH, f"{path} was {made}; {here}: {remedy}")
    missing = f"{path} lacks one of {', '.join(Splits.__annotations__)}, or it is not a list"
    with any_error_as(lambda _: user_error(PATH, f"{missing} of whole numbers")):
        parts = {name: _indices(record["parts"][name]) for name in Splits.__annotations__}
    assigned = np.concatenate(list(parts.values()))
    if len(assigned) and (assigned.min() < 0 or assigned.max() >= len(labels)):
        wrong = assigned[(assigned < 0) | (assigned >= len(labels))][0]
        raise user_error(PATH, f"{path}: index {wrong} is outside 0 .. {len(labels) - 1}")
    if len(np.unique(assigned)) < len(assigned):
        values, counts = np.unique(assigned, return_counts=True)
        raise user_error(PATH, f"{path}: example {values[counts > 1][0]} is in it twice")
    for name in ("train", "validation", "test"):
        if not len(parts[name]):
            raise user_error(PATH, f"{path}: {name} is empty")
    return Splits(**parts)


def _read(path: Path) -> Mapping[str, Any]:
    with any_error_as(lambda why: _unreadable(path, why)):
        record = json.loads(read_regular(path, MOST_BYTES).decode("utf-8"))
    if not isinstance(record, dict):
        raise _unreadable(path, "it holds no keys")
    if wrong := [key for key, kind in _KEYS.items() if type(record.get(key)) is not kind]:
        raise _unreadable(
            path, f"it is not a split, for {' and '.join(wrong)} are missing or wrong"
        )
    return record


def _unreadable(path: Path, reason: str) -> UserError:
    return user_error(PATH, f"{path} cannot be read: {reason}; give a sweep's split.json")


def _indices(value: Any) -> Indices:
    listed = np.array(value)
    if listed.ndim != 1 or (len(listed) and listed.dtype.kind not in "iu"):
        raise ValueError("not a list of whole numbers")
    return listed.astype(np.int64)
