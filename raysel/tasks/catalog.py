"""From the `task` of a sweep file to the task itself: data sets by name.

A data set joins with one function, registered under its name; the function imports what it
needs when it is called, so that a misspelt name is answered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from typing import NamedTuple

from raysel.errors import Problem, UserError, nearest
from raysel.spec import TaskSpec
from raysel.tasks.data import Dataset, Examples, Indices, SealedTest, Task, channel_statistics
from raysel.tasks.shifts import SHIFTS, shift_examples
from raysel.tasks.splits import split

Opener = Callable[[TaskSpec], Dataset]
"""Opens a data set for a task: labels and shapes at once, images when they are asked for."""

_OPENERS: dict[str, Opener] = {}


class TaskShape(NamedTuple):
    """What a model must know of a task to be built."""

    channels: int
    image_size: tuple[int, int]
    class_count: int


def register(name: str) -> Callable[[Opener], Opener]:
    """Enter a data set into the catalog under `name`."""

    def enter(opener: Opener) -> Opener:
        _OPENERS[name] = opener
        return opener

    return enter


@register("digits")
def _digits(spec: TaskSpec) -> Dataset:
    return import_module("raysel.tasks.digits").digits()


@register("digits_edges")
def _digits_edges(spec: TaskSpec) -> Dataset:
    return import_module("raysel.tasks.digits").digits_edges()


def check_task(spec: TaskSpec) -> list[Problem]:
    """Everything wrong with a task that can be known without decoding an image."""
    names = _name_problems(spec)
    return names or _dataset_problems(spec, _OPENERS[spec.data](spec))


def task_shape(spec: TaskSpec) -> TaskShape:
    """Channels, (height, width) in pixels and number of classes; no image is decoded.

    Raises:
        UserError: an unknown data set or shift.
    """
    dataset = _open(spec)
    return TaskShape(dataset.channels, dataset.image_size, len(dataset.classes))


def load_task(spec: TaskSpec) -> Task:
    """Decode, split and shift: the shift's seed is the split's.

    Raises:
        UserError: whatever `check_task` tells.
    """
    dataset = _open(spec)
    problems = _dataset_problems(spec, dataset)
    if problems:
        raise UserError(*problems)
    parts = split(dataset.labels, dataset.classes, spec.split, spec.source)

    def plain(indices: Indices) -> Examples:
        return Examples(dataset.load_images(indices), dataset.labels[indices])

    def target(indices: Indices) -> Examples:
        return shift_examples(
            plain(indices), indices, spec.shift, spec.split.seed, len(dataset.classes)
        )

    has_source = len(parts.source_train) > 0
    source_train = plain(parts.source_train) if has_source else None
    train = target(parts.train)
    mean, std = channel_statistics((train if source_train is None else source_train).images)
    return Task(
        name=spec.data,
        classes=dataset.classes,
        source_train=source_train,
        source_validation=plain(parts.source_validation) if has_source else None,
        train=train,
        validation=target(parts.validation),
        test=SealedTest(target(parts.test)),
        mean=mean,
        std=std,
    )


def _open(spec: TaskSpec) -> Dataset:
    problems = _name_problems(spec)
    if problems:
        raise UserError(*problems)
    return _OPENERS[spec.data](spec)


def _name_problems(spec: TaskSpec) -> list[Problem]:
    named: list[tuple[str, str, str, Collection[str]]] = [
        ("task.data", "data set", spec.data, _OPENERS),
        ("task.shift.kind", "shift", spec.shift.kind, SHIFTS),
    ]
    return [
        Problem(path, f'no {what} is called "{given}"; {nearest(given, known)}')
        for path, what, given, known in named
        if given not in known
    ]


def _dataset_problems(spec: TaskSpec, dataset: Dataset) -> list[Problem]:
    problems = _channel_problems(spec, dataset)
    try:
        split(dataset.labels, dataset.classes, spec.split, spec.source)
    except UserError as error:
        problems += error.problems
    return problems


def _channel_problems(spec: TaskSpec, dataset: Dataset) -> list[Problem]:
    needed = SHIFTS[spec.shift.kind].min_channels
    if dataset.channels >= needed:
        return []
    message = (
        f"{spec.shift.kind} needs {needed} channels; {spec.data} has {dataset.channels}."
        " digits_edges has 3"
    )
    return [Problem("task.shift.kind", message)]
