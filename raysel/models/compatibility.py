"""Whether a model runs on the task's images; if not, one line with the nearest size that does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from raysel.common.errors import UserError, user_error
from raysel.common.text import first_line
from raysel.models.custom_models import is_custom
from raysel.models.forward import LONGEST, Image, own_image, run_without_data
from raysel.models.partition_types import SIZE, Head
from raysel.models.shapes import shapes_of

_STEP, _TRIES = 8, 16  # pixels between the sizes that are tried, and how many


@dataclass(frozen=True)
class ModelRequirements:
    """What a task asks of a model; `image_size` None is the model's own."""

    name: str
    classes: int
    channels: int
    head: Head
    image_size: tuple[int, int] | None


def check_logits(output: object, wanted: ModelRequirements) -> None:
    """A classifier gives a number a class.

    Raises:
        UserError: the model gives something else (path `model.name`).
    """
    if isinstance(output, Tensor) and tuple(output.shape) == (1, wanted.classes):
        return
    if is_custom(wanted.name):
        raise user_error("model.name", _of_own_model(output, wanted))
    given = list(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise user_error(
        "model.name",
        f"{wanted.name} gives {given} for one image and not {wanted.classes} logits; take a model"
        " with a classifier",
    )


def _of_own_model(output: object, wanted: ModelRequirements) -> str:
    given = type(output).__name__
    if isinstance(output, Tensor):
        given = f"[{', '.join(['n', *map(str, output.shape[1:])])}]"
    return (
        f"{wanted.name} gives {given} for {wanted.classes} classes; it has to give logits alone,"
        f" [n, {wanted.classes}], and to take num_classes"
    )


def incompatible(wanted: ModelRequirements, error: BaseException) -> UserError:
    """The refusal of a model that cannot be built, or does not run, for a task."""
    name, reason = wanted.name, first_line(error, LONGEST)
    if wanted.image_size is None:
        many = f"{wanted.channels} channels and {wanted.classes} classes"
        return user_error("model.name", f"timm cannot build or run {name} for {many}: {reason}")
    height, width = wanted.image_size
    if (size := _nearest_size(wanted)) is not None:
        message = f"{name} does not run on {height} x {width} pixels ({reason}); it does on {size}"
        return user_error(SIZE, message)
    if wanted.channels != 3 and _nearest_size(replace(wanted, channels=3)) is not None:
        message = f"{name} takes images of 3 channels, the task's have {wanted.channels} ({reason})"
        return user_error("model.name", message)
    message = f"{name} does not run on the task's images, nor on others that were tried: {reason}"
    return user_error("model.name", message)


def _nearest_size(wanted: ModelRequirements) -> int | None:
    """The square size nearest to the wanted one on which the model runs; None if none is."""
    return next((size for size in _sizes(wanted) if _runs(wanted, size)), None)


def _sizes(wanted: ModelRequirements) -> Iterator[int]:
    """Sizes to try, from the wanted one outwards, then the model's own."""
    assert wanted.image_size is not None
    middle = round(max(wanted.image_size) / _STEP) * _STEP
    for tried in range(_TRIES):
        away = (tried + 1) // 2 * _STEP
        size = middle + (away if tried % 2 else -away)
        if size > 0:
            yield size
    try:
        own = own_image(shapes_of(wanted.name, wanted.classes))[-1]
    except Exception:  # the model cannot be built at all
        return
    yield own
    yield 2 * own


def _runs(wanted: ModelRequirements, size: int) -> bool:
    image: Image = (wanted.channels, size, size)
    try:
        model = shapes_of(wanted.name, wanted.classes, wanted.channels, wanted.head, (size, size))
        run_without_data(model, image)
    except Exception:  # a refusal, or whatever timm's builders raise for a size
        return False
    return True
