"""Picture files of a sweep's validation part, with what raysel's own validation makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from raysel.common.errors import OperationalError
from raysel.common.user_files import any_error_as
from raysel.spec.sweep import Spec
from raysel.tasks.cached_examples import CachedExamples
from raysel.tasks.data import Task
from raysel.tasks.datasets import open_pictures
from raysel.tasks.decoding import image_shift
from raysel.tasks.geometry import Pixels
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_io import exif_orientation, opened_image
from raysel.tasks.stored_images import StoredImage
from raysel.training.image_batches import CachedData

MOST = 50
"""Files that are compared."""

_LOOKED_AT = 1000  # files whose kind is found out
_LARGE = 8_000_000  # pixels


@dataclass(frozen=True)
class ValidationPictures:
    """Files, and what a model says to them in raysel's validation.

    Attributes:
        files: n of them.
        kinds: how many of which kind, in words.
        inputs: [n, c, h, w] what the model is given.
        std: [c, 1, 1] by which the inputs were divided.
        logits: [n, classes].
        without: the shift that no file has and that is left out, in words; "" where there is none.
    """

    files: Sequence[Path]
    kinds: str
    inputs: Tensor
    std: Tensor
    logits: Tensor
    without: str


def validation_pictures(
    spec: Spec, task: Task, model: nn.Module, scratch: Path
) -> ValidationPictures:
    """Up to `MOST` pictures of the validation part, of every kind of file that it has.

    Args:
        spec: the sweep, whose data set is opened again.
        task: its task.
        model: on the CPU, with the weights that are checked.
        scratch: a folder for the pictures of data sets that are arrays.

    Raises:
        OperationalError: the data are embedded arrays, which lie in no picture file.
        UserError: the data set is no longer there.
    """
    part = task.validation
    if not isinstance(part, CachedExamples):
        raise OperationalError(task.name, "is embedded and lies in no picture files")
    pictures = replace(open_pictures(spec.task), ranges=task.ranges)
    kinds = {row: _kind(pictures, int(part.indices[row])) for row in _spread(len(part))}
    rows = _chosen(kinds)
    files = [_file(pictures, int(part.indices[row]), scratch) for row in rows]
    data = CachedData.on(part, task.mean, task.std, torch.device("cpu"))
    shifted = image_shift(spec.task, pictures) is not None
    if shifted:
        plain = [_pixels(part, pictures, row) for row in rows]
        inputs = _normalised(np.stack(plain), data)
    else:
        inputs = data.part(torch.tensor(rows)).images
    counts = Counter(kinds[row] for row in rows)
    return ValidationPictures(
        files=files,
        kinds=", ".join(f"{count} {kind}" for kind, count in counts.most_common()),
        inputs=inputs,
        std=data.std,
        logits=_logits(model, inputs),
        without=f"the shift {task.shift.kind}" if shifted else "",
    )


def _spread(count: int) -> list[int]:
    """Rows at even distances, so that every class is among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, _LOOKED_AT)).round().astype(int)))


def _chosen(kinds: dict[int, str]) -> list[int]:
    """One of each kind after the other, until there are enough."""
    by_kind: dict[str, list[int]] = {}
    for row, kind in kinds.items():
        by_kind.setdefault(kind, []).append(row)
    for kind, rows in by_kind.items():  # from the whole part, not its first class alone
        step = max(1, len(rows) // MOST)
        by_kind[kind] = rows[::step]
    chosen: list[int] = []
    while len(chosen) < MOST and any(by_kind.values()):
        chosen += [rows.pop(0) for rows in by_kind.values() if rows]
    return sorted(chosen[:MOST])


def _kind(pictures: ImageDataset, index: int) -> str:
    """What of a file may be read in two ways: its format, mode, rotation and size."""
    source = pictures.sources[index]
    if not isinstance(source, Path | StoredImage):
        return "array"
    refused = any_error_as(lambda why: OperationalError(str(source), f"cannot be read: {why}"))
    with refused, opened_image(source) as image:
        turned = exif_orientation(image) != 1
        large = image.width * image.height >= _LARGE
        words = [str(image.format), image.mode]
        return " ".join([*words, *["turned"] * turned, *["large"] * large])


def _file(pictures: ImageDataset, index: int, scratch: Path) -> Path:
    source = pictures.sources[index]
    if isinstance(source, Path):
        return source.absolute()
    path = scratch / f"{index}.png"
    pictures.read(index).save(path)
    return path


def _pixels(part: CachedExamples, pictures: ImageDataset, row: int) -> Pixels:
    """What validation would be kept of a picture if there were no shift."""
    return part.geometry.stored(pictures.read(int(part.indices[row])))


def _normalised(pixels: Pixels, data: CachedData) -> Tensor:
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous()
    return images.div_(255).sub_(data.mean).div_(data.std)


@torch.inference_mode()
def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    return torch.cat([model(one.unsqueeze(0)).float() for one in inputs])
