"""From the `task` of a sweep file to the task itself: data sets by name.

A data set joins with one function, registered under its name; the function imports what it
needs when it is called, so that a misspelt name is answered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from typing import NamedTuple

from raysel.common.errors import Problem, UserError, nearest
from raysel.spec.sweep import TaskSpec
from raysel.tasks.data import (
    Dataset,
    Examples,
    Indices,
    Labels,
    SealedTest,
    Task,
    channel_statistics,
)
from raysel.tasks.data_summary import DataSummary
from raysel.tasks.image_cache import Progress
from raysel.tasks.image_task import (
    CIFAR_C,
    CIFAR_F,
    NAMES,
    check_pictures,
    class_count,
    fetch_note,
    is_pictures,
    missing,
    open_pictures,
    picture_notes,
    picture_summary,
    picture_task,
)
from raysel.tasks.model_input import ModelInput
from raysel.tasks.readers import cifar_c
from raysel.tasks.shifts import SHIFTS, shift_examples
from raysel.tasks.split_file import divide, split_record
from raysel.tasks.summarise import summarise

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
    return import_module("raysel.tasks.readers.embedded_digits").digits()


@register("digits_edges")
def _digits_edges(spec: TaskSpec) -> Dataset:
    return import_module("raysel.tasks.readers.embedded_digits").digits_edges()


UNKNOWN_CLASSES = 10
"""Classes assumed of data that are not there."""


def check_task(spec: TaskSpec) -> list[Problem]:
    """Everything wrong with a task that can be known without decoding an image; data that are
    not there are no mistake here (`absent_data` reports them, `load_task` refuses).
    """
    names = _name_problems(spec)
    if names or is_pictures(spec):
        return names or check_pictures(spec)
    return _embedded_problems(spec) + _dataset_problems(spec, _OPENERS[_name(spec)](spec))


def task_notes(spec: TaskSpec) -> list[str]:
    """What a person should know of a sound task: what will be downloaded, shares that are not
    applied."""
    if not is_pictures(spec):
        return []
    if note := fetch_note(spec):
        return [note]
    return [] if missing(spec) else list(picture_notes(spec))


def absent_data(spec: TaskSpec) -> str | None:
    """What of the data is not there, and how to get it; None if all is, or will be downloaded."""
    if not is_pictures(spec) or fetch_note(spec):
        return None
    return missing(spec)


def task_shape(spec: TaskSpec, model: ModelInput | None = None) -> TaskShape:
    """Channels, (height, width) in pixels and number of classes; no image is decoded.

    Args:
        model: what the model expects of pictures; timm's usual where nothing is given.

    Raises:
        UserError: an unknown data set or shift, or something wrong with its files.
    """
    _refuse_names(spec)
    if not is_pictures(spec):
        dataset = _OPENERS[_name(spec)](spec)
        return TaskShape(dataset.channels, dataset.image_size, len(dataset.classes))
    size = (model or ModelInput()).resized(spec.image_size).size
    count = class_count(spec)
    if count is None and missing(spec) is None:
        count = len(open_pictures(spec).classes)
    return TaskShape(3, (size, size), UNKNOWN_CLASSES if count is None else count)


def has_source(spec: TaskSpec) -> bool:
    """Whether the split leaves a source part; of data that are not there it is assumed.

    Raises:
        UserError: whatever `check_task` reports.
    """
    _refuse_names(spec)
    if not is_pictures(spec):
        dataset = _OPENERS[_name(spec)](spec)
        return len(divide(spec, dataset.labels, dataset.classes).source_train) > 0
    if missing(spec) is not None:
        return True
    pictures = open_pictures(spec)
    parts = divide(spec, pictures.labels, pictures.classes, pictures.official_splits)
    return len(parts.source_train) > 0


def training_labels(spec: TaskSpec) -> tuple[Labels, tuple[str, ...]] | None:
    """Labels of the training part before any shift, and the names of the classes; None of
    data that are not there.

    Raises:
        UserError: whatever `check_task` reports.
    """
    _refuse_names(spec)
    if not is_pictures(spec):
        dataset = _OPENERS[_name(spec)](spec)
        parts = divide(spec, dataset.labels, dataset.classes)
        return dataset.labels[parts.train], dataset.classes
    if missing(spec) is not None:
        return None
    pictures = open_pictures(spec)
    parts = divide(spec, pictures.labels, pictures.classes, pictures.official_splits)
    return pictures.labels[parts.train], pictures.classes


def data_summary(
    spec: TaskSpec, model: ModelInput | None = None, with_source: bool = True
) -> DataSummary | None:
    """What was read, without decoding a picture; None of data that are not there.

    Args:
        model: what the model expects of pictures; timm's usual where nothing is given.
        with_source: whether anything of the sweep reads the source part.

    Raises:
        UserError: whatever `check_task` reports, or what decoding has shown before.
    """
    _refuse_names(spec)
    if not is_pictures(spec):
        dataset = _OPENERS[_name(spec)](spec)
        parts = divide(spec, dataset.labels, dataset.classes)
        return summarise(spec, dataset.labels, dataset.classes, parts, None, with_source)
    if missing(spec) is not None:
        return None
    return picture_summary(spec, model or ModelInput(), with_source)


def load_task(
    spec: TaskSpec,
    model: ModelInput | None = None,
    with_source: bool = True,
    progress: Progress | None = None,
    opened: Callable[[DataSummary], None] | None = None,
) -> Task:
    """Decode, split and shift: the shift's seed is the split's.

    Args:
        model: what the model expects of pictures; timm's usual where nothing is given.
        with_source: whether the source part is needed.
        progress: called with the number of decoded pictures of a part.
        opened: called with what was read, before pictures are decoded.

    Raises:
        UserError: whatever `check_task` reports, missing data, too many unreadable pictures.
    """
    _refuse_names(spec)
    if is_pictures(spec):
        return picture_task(spec, model or ModelInput(), with_source, progress, opened)
    dataset = _OPENERS[_name(spec)](spec)
    problems = _embedded_problems(spec) + _dataset_problems(spec, dataset)
    if problems:
        raise UserError(*problems)
    parts = divide(spec, dataset.labels, dataset.classes)
    summary = summarise(spec, dataset.labels, dataset.classes, parts, None, with_source)
    if opened is not None:
        opened(summary)

    def plain(indices: Indices) -> Examples:
        return Examples(dataset.load_images(indices), dataset.labels[indices])

    def target(indices: Indices) -> Examples:
        return shift_examples(
            plain(indices), indices, spec.shift, spec.split.seed, len(dataset.classes)
        )

    with_source = len(parts.source_train) > 0
    source_train = plain(parts.source_train) if with_source else None
    train = target(parts.train)
    mean, std = channel_statistics((train if source_train is None else source_train).images)
    if spec.preprocess == "unit":
        mean, std = (0.0,) * dataset.channels, (1.0,) * dataset.channels
    return Task(
        name=spec.name,
        classes=dataset.classes,
        source_train=source_train,
        source_validation=plain(parts.source_validation) if with_source else None,
        train=train,
        validation=target(parts.validation),
        test=SealedTest(target(parts.test)),
        mean=mean,
        std=std,
        shift=spec.shift,
        record=split_record(spec, dataset.labels, dataset.classes, parts),
        summary=summary,
    )


def _name(spec: TaskSpec) -> str:
    assert isinstance(spec.data, str)
    return spec.data


def _refuse_names(spec: TaskSpec) -> None:
    problems = _name_problems(spec)
    if problems:
        raise UserError(*problems)


def _name_problems(spec: TaskSpec) -> list[Problem]:
    shifts: Collection[str] = SHIFTS
    if spec.data == CIFAR_C:
        shifts = cifar_c.CORRUPTIONS
    elif spec.data == CIFAR_F:
        shifts = ("none", "label_flip")
    named: list[tuple[str, str, str, Collection[str]]] = [
        ("task.shift.kind", "shift", spec.shift.kind, shifts)
    ]
    if isinstance(spec.data, str):
        named.insert(0, ("task.data", "data set", spec.data, (*_OPENERS, *NAMES)))
    return [
        Problem(path, f'no {what} is called "{given}"; {nearest(given, known)}')
        for path, what, given, known in named
        if given not in known
    ]


def _embedded_problems(spec: TaskSpec) -> list[Problem]:
    """What is said of pictures, where the data are none."""
    message = f"{spec.name} is embedded and stays as it is"
    wrong = {
        "image_size": spec.image_size is not None,
        "augmentation": spec.augmentation != "none",
        "preprocess": spec.preprocess == "model",
    }
    return [
        Problem(f"task.{key}", f"{message}; leave it out") for key, is_so in wrong.items() if is_so
    ]


def _dataset_problems(spec: TaskSpec, dataset: Dataset) -> list[Problem]:
    problems = _channel_problems(spec, dataset)
    try:
        divide(spec, dataset.labels, dataset.classes)
    except UserError as error:
        problems += error.problems
    return problems


def _channel_problems(spec: TaskSpec, dataset: Dataset) -> list[Problem]:
    needed = SHIFTS[spec.shift.kind].min_channels
    if dataset.channels >= needed:
        return []
    message = (
        f"{spec.shift.kind} needs {needed} channels; {spec.name} has {dataset.channels}."
        " digits_edges has 3"
    )
    return [Problem("task.shift.kind", message)]
