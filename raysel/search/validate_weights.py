"""Validate what a model begins with: whether a file's weights are its own, and how they fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from raysel.common.errors import Problem, UserError, nearest
from raysel.common.user_files import lies_there
from raysel.models.known_models import facts_of
from raysel.models.weight_sources import SUFFIXES, names_weights, weights_file, why_absent
from raysel.spec.sweep import Spec
from raysel.tasks.opened_task import TaskShape


def weights_problems(spec: Spec, shape: TaskShape) -> Iterator[Problem]:
    """What is wrong with `model.weights`; that a file or package is not here is none."""
    weights = spec.model.weights
    if weights == "source":
        return
    if weights == "pretrained":
        if not facts_of(spec.model_name).has_weights:
            message = f"timm has no weights for {spec.model_name}; give source or a file"
            yield Problem("model.weights", message)
    elif not isinstance(weights, str) or lies_there(Path(weights)):
        yield from _file_problems(spec, shape)
    elif not names_weights(weights):
        hint = nearest(weights, ["source", "pretrained"])
        words = f'there is no file "{weights}"; {hint}, or a file\'s path, or {{package: NAME}}'
        yield Problem("model.weights", words)


def weights_notes(spec: Spec, shape: TaskShape) -> Sequence[str]:
    """What a user should know of the weights, in sentences: what is taken where the file does not
    say it, and how a checkpoint of other names was fitted."""
    weights = spec.model.weights
    if "weights" in spec.model.model_fields_set:
        is_there = names_weights(weights) and why_absent(weights) is None
        return _file_check(spec, shape).notes if is_there else ()
    why = {
        "pretrained": "timm's own, the default for pictures without a shift",
        "source": "trained on the source part first, the default where the data are embedded or"
        " shifted",
    }
    return [f"model.weights: {weights} ({why[str(weights)]})"]


def _file_problems(spec: Spec, shape: TaskShape) -> Iterable[Problem]:
    weights = spec.model.weights
    if not names_weights(weights):
        endings = ", ".join(SUFFIXES)
        message = f'"{weights}" is not a file of weights ({endings})'
        return [Problem("model.weights", message)]
    is_absent = not isinstance(weights, str) and why_absent(weights)
    return () if is_absent else _file_check(spec, shape).problems


@dataclass(frozen=True)
class _FileCheck:
    """Whether a file of weights fits the model, and how."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def _file_check(spec: Spec, shape: TaskShape) -> _FileCheck:
    given, model = spec.model.weights, spec.model
    file = Path(given) if isinstance(given, str) else weights_file(given)
    status = file.stat() if file.is_file() else None
    version = status and (status.st_mtime_ns, status.st_size)
    question = (spec.model_name, shape.class_count, shape.channels, model.head, shape.image_size)
    return _checked_file(file, version, question)


@lru_cache(maxsize=16)
def _checked_file(file: Path, version: Any, question: tuple[Any, ...]) -> _FileCheck:
    """A file is read once for its problems and for the notes."""
    from raysel.models.fit_weights import fitted_file  # noqa: PLC0415  (imports torch and timm)
    from raysel.models.shapes import shapes_of  # noqa: PLC0415

    try:
        return _FileCheck(notes=fitted_file(file, shapes_of(*question)).notes)
    except UserError as error:
        return _FileCheck(problems=error.problems)
