"""Pictures that live on the device as uint8: a batch is cropped, resized and mirrored there.

What is drawn is drawn on the host, by the generator of each picture (seed, epoch, place in the data
set), and is what is drawn for pictures that are read batch by batch. Without a resize (`none`,
`flip`, `random_crop`) pixels are equal too; resized crops are as `raysel.training.resized_crops`
says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysel.tasks.augmentation import border_of, crop_box, crop_place, is_mirrored
from raysel.tasks.cached_examples import CachedExamples
from raysel.tasks.data import Part
from raysel.tasks.image_cache import CHANNELS
from raysel.training.batches import Batch, Data, LazyBatches, in_order, on_one_device
from raysel.training.image_batches import CachedData, on_device, threads_ahead
from raysel.training.resized_crops import FILTERS, resized_crops

MEMORY_SHARE = 0.1
"""Of the device's memory, that the pictures of one part may have there."""

_CHUNK = 256  # pictures that are brought to the device at a time
_RESIZED = "random_resized_crop"


@dataclass(frozen=True)
class DeviceImages:
    """The examples of one part, with their pixels on the device.

    Attributes:
        cached: the part as it is read from the image cache.
        centres: uint8 [n, size, size, 3], what evaluation sees.
        whole: uint8 [n, h, w, 3] of pictures that are cut anywhere, padded where they differ in
            size; else None.
        epoch: (a trial's seed, its epoch) where the part is augmented; None is evaluation.
    """

    cached: CachedData
    centres: Tensor
    whole: Tensor | None = None
    epoch: tuple[int, int] | None = None

    @classmethod
    def of(cls, cached: CachedData) -> DeviceImages:
        """The examples with their pixels on the labels' device."""
        examples, device = cached.examples, cached.labels.device
        count, size = len(examples), examples.geometry.input.size
        centres = torch.empty((count, size, size, CHANNELS), dtype=torch.uint8, device=device)
        for which in np.array_split(np.arange(count), -(-count // _CHUNK) or 1):
            centres[torch.from_numpy(which)] = torch.from_numpy(examples.centres(which)).to(device)
        if examples.augmentation != _RESIZED:
            return cls(cached, centres)
        sides = _sides(examples)
        shape = (count, *sides.max(axis=0).tolist(), CHANNELS)
        whole = torch.zeros(shape, dtype=torch.uint8, device=device)
        for place, (height, width) in enumerate(sides.tolist()):
            pixels = np.array(examples.opened[examples.rows[place]])
            whole[place, :height, :width] = torch.from_numpy(pixels).to(device)
        return cls(cached, centres, whole)

    @property
    def labels(self) -> Tensor:
        """[n] on the device."""
        return self.cached.labels

    def __len__(self) -> int:
        return len(self.labels)

    def augmented(self, seed: int, epoch: int) -> DeviceImages:
        """The examples as this epoch of a trial sees them."""
        return replace(self, epoch=(seed, epoch))

    def part(self, index: Tensor | slice) -> Batch:
        """Some of the examples: images float32 [m, c, h, w]."""
        if isinstance(index, slice):
            index = torch.arange(len(self))[index]
        return self._batch(index, index.to(self.labels.device))

    def batches(
        self, places: Sequence[Tensor], copies: Sequence[Tensor] | None = None
    ) -> Iterator[Batch]:
        """The examples at each of these places."""
        there = on_one_device(places, self.labels.device)
        return map(self._batch, copies or places, there)

    def only(self, index: Tensor) -> DeviceImages:
        """The same with no other examples than these."""
        there = index.to(self.labels.device)
        whole = None if self.whole is None else self.whole[there]
        return replace(
            self, cached=self.cached.only(index), centres=self.centres[there], whole=whole
        )

    def split(self, size: int) -> LazyBatches:
        """The examples in order, `size` at a time; the last may be smaller."""
        return in_order(self, torch.arange(len(self)), size)

    @property
    def views(self) -> int | None:
        """By the augmentation."""
        return self.cached.views

    def view(self, index: Tensor, mirrored: bool) -> Batch:
        """Some of the examples as evaluation sees them, or mirrored left to right."""
        return self.cached.view(index, mirrored)

    def mirrored(self, which: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.bool_]:
        """Which examples this epoch of a trial mirrors."""
        return self.cached.mirrored(which, seed, epoch)

    def fingerprint(self) -> bytes:
        """Of the pictures and of what is done to them before the model."""
        return self.cached.fingerprint()

    def _batch(self, index: Tensor, there: Tensor) -> Batch:
        """The examples at the places [m], on the host (or numbers of their copies) and on the
        device."""
        name = "none" if self.epoch is None else self.cached.examples.augmentation
        pixels = self._augmented(name, index, there)
        return Batch(self.cached.normalised(pixels), self.labels[there])

    def _augmented(self, name: str, index: Tensor, there: Tensor) -> Tensor:
        """[m, size, size, c] uint8."""
        if name == "none":
            return self.centres[there]
        assert self.epoch is not None
        examples = self.cached.examples
        generators = [examples.generator(int(place), *self.epoch) for place in index]
        if name == "flip":
            pixels = self.centres[there]
        elif name == "random_crop":
            pixels = self._cropped(there, generators)
        else:
            pixels = self._resized(index, there, generators)
        mirrored = self._sent([is_mirrored(generator) for generator in generators])
        return torch.where(mirrored[:, None, None, None], pixels.flip(2), pixels)

    def _cropped(self, there: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """Parts of the pictures with a black border."""
        size = self.centres.shape[1]
        border = border_of(size)
        padded = torch.nn.functional.pad(self.centres[there], (0, 0, *[border] * 4))
        places = self._sent([crop_place(size, generator) for generator in generators])
        along = torch.arange(size, device=padded.device)
        rows, columns = (places[:, axis, None] + along for axis in (0, 1))
        which = torch.arange(len(padded), device=padded.device)[:, None, None]
        return padded[which, rows[:, :, None], columns[:, None, :]]

    def _resized(
        self, index: Tensor, there: Tensor, generators: Sequence[np.random.Generator]
    ) -> Tensor:
        assert self.whole is not None
        model = self.cached.examples.geometry.input
        sides = _sides(self.cached.examples)[index.cpu().numpy() % len(self)].tolist()
        drawn = zip(sides, generators, strict=True)
        boxes = self._sent([crop_box(width, height, own) for (height, width), own in drawn])
        return resized_crops(self.whole[there], boxes, model.size, model.interpolation)

    def _sent(self, values: Sequence[object]) -> Tensor:
        """Host values on the device, without waiting for it."""
        found = torch.tensor(values)
        device = self.labels.device
        return found.pin_memory().to(device, non_blocking=True) if self.labels.is_cuda else found


def _sides(examples: CachedExamples) -> NDArray[np.int64]:
    """[n, 2] height and width of what is kept of each picture."""
    return examples.opened.shapes[examples.rows]


def bytes_on_device(examples: CachedExamples) -> int:
    """What `DeviceImages` would hold there."""
    centres = len(examples) * examples.geometry.input.size**2 * CHANNELS
    if examples.augmentation != _RESIZED:
        return centres
    return centres + len(examples) * int(_sides(examples).max(axis=0).prod()) * CHANNELS


def may_live_on(device: torch.device, examples: CachedExamples) -> bool:
    """Whether the pictures may live on a GPU: within `MEMORY_SHARE` of its memory and half of what
    is free, resized by a filter that can be had there, and not changed by one of torchvision's
    policies, which are Pillow's operations."""
    if device.type != "cuda" or examples.geometry.input.interpolation not in FILTERS:
        return False
    if examples.auto_augment != "none":
        return False
    free, total = torch.cuda.mem_get_info(device)
    return bytes_on_device(examples) <= min(MEMORY_SHARE * total, free / 2)


def trial_data(
    part: Part,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    cpus: int,
) -> Data:
    """A part for a worker's trials: arrays and small sets of pictures live on the device, other
    pictures are read batch by batch, and ahead beside a GPU.

    Args:
        cpus: processors of a trial.
    """
    data = on_device(part, mean, std, device, threads_ahead(cpus, device))
    if isinstance(data, CachedData) and may_live_on(device, data.examples):
        return DeviceImages.of(data)
    return data
