"""Batches of pictures from the node's image cache: read, augmented, normalised on the device.

Only the pictures of the batch are in memory; what the system has of the store's file in its
page cache is shared by every process of the node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysel.tasks.cached_examples import CachedExamples
from raysel.tasks.data import Examples, Part
from raysel.training.batches import (
    Batch,
    Data,
    LazyBatches,
    in_order,
    on_one_device,
    to_device,
)
from raysel.training.read_ahead import read_ahead


@dataclass(frozen=True)
class CachedData:
    """The examples of one part, read a batch at a time.

    Attributes:
        examples: where they are.
        labels: [n] on the device.
        mean, std: [c, 1, 1] on the device, for pixels in [0, 1].
        epoch: (a trial's seed, its epoch) where the part is augmented; None is evaluation.
        threads: that read pictures ahead; 0 reads them when they are asked for.
    """

    examples: CachedExamples
    labels: Tensor
    mean: Tensor
    std: Tensor
    epoch: tuple[int, int] | None = None
    threads: int = 0

    @classmethod
    def on(
        cls,
        examples: CachedExamples,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        threads: int = 0,
    ) -> CachedData:
        """The examples for a device; labels are put there at once, pictures when asked for."""

        def by_channel(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device).reshape(-1, 1, 1)

        labels = torch.from_numpy(np.array(examples.labels)).to(device)
        return cls(examples, labels, by_channel(mean), by_channel(std), threads=threads)

    def __len__(self) -> int:
        return len(self.labels)

    def augmented(self, seed: int, epoch: int) -> CachedData:
        """The examples as this epoch of a trial sees them: a function of seed, epoch and
        each picture's place in its data set."""
        return replace(self, epoch=(seed, epoch))

    def part(self, index: Tensor | slice) -> Batch:
        """Some of the examples: images float32 [m, c, h, w]."""
        if isinstance(index, slice):
            index = torch.arange(len(self))[index]
        return self._batch(self._pixels(index), index)

    def batches(
        self, places: Sequence[Tensor], copies: Sequence[Tensor] | None = None
    ) -> Iterator[Batch]:
        """The examples at each of these places; pictures are read ahead by `threads`."""
        pixels = read_ahead(self._pixels, copies or places, self.threads)
        return map(self._batch, pixels, on_one_device(places, self.labels.device))

    def _pixels(self, index: Tensor) -> Tensor:
        """What the model sees of the examples, uint8 [m, h, w, c] on the host; in memory from which
        a GPU copies while it computes."""
        which = index.cpu().numpy()
        if self.epoch is None:
            pixels = self.examples.centres(which)
        else:
            pixels = self.examples.augmented(which, *self.epoch)
        found = torch.from_numpy(pixels)
        return found.pin_memory() if self.labels.is_cuda else found

    def _batch(self, pixels: Tensor, index: Tensor) -> Batch:
        """Pixels [m, h, w, c] as the model takes them, with the labels of the examples `index`."""
        device = self.labels.device
        images = self.normalised(pixels.to(device, non_blocking=True))
        return Batch(images, self.labels[index.to(device)])

    def normalised(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 [m, h, w, c] on the device as float32 [m, c, h, w]."""
        images = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        return images.div_(255).sub_(self.mean).div_(self.std)

    def only(self, index: Tensor) -> CachedData:
        """The same with no other examples than these; no picture is read."""
        return replace(
            self,
            examples=self.examples.only(index.cpu().numpy()),
            labels=self.labels[index.to(self.labels.device)],
        )

    def split(self, size: int) -> LazyBatches:
        """The examples in order, `size` at a time; the last may be smaller."""
        return in_order(self, torch.arange(len(self)), size)

    @property
    def views(self) -> int | None:
        """By the augmentation."""
        return self.examples.views

    def view(self, index: Tensor, mirrored: bool) -> Batch:
        """Some of the examples as evaluation sees them, or mirrored left to right."""
        pixels = torch.from_numpy(self.examples.centres(index.cpu().numpy()))
        return self._batch(pixels.flip(2) if mirrored else pixels, index)

    def mirrored(self, which: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.bool_]:
        """Which examples this epoch of a trial mirrors."""
        return self.examples.mirrored(which, seed, epoch)

    def fingerprint(self) -> bytes:
        """Of the pictures and of what is done to them before the model."""
        examples, digest = self.examples, hashlib.sha256()
        for fact in (
            examples.sha256,
            repr(examples.geometry),
            self.mean.tolist(),
            self.std.tolist(),
        ):
            digest.update(repr(fact).encode())
        digest.update(examples.rows.tobytes())
        return digest.digest()


def on_device(
    part: Part,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    threads: int = 0,
) -> Data:
    """A part for training: arrays are put on the device as a whole, pictures batch by batch.

    Args:
        threads: that read pictures ahead, beside the training; 0 reads when they are asked for.
    """
    if isinstance(part, Examples):
        return to_device(part, mean, std, device)
    return CachedData.on(part, mean, std, device, threads)


def threads_ahead(cpus: int, device: torch.device) -> int:
    """How many threads read pictures ahead of a trial: beside a GPU all of its processors. Without
    one the training itself needs them, and pictures are read when they are asked for."""
    return cpus if device.type == "cuda" else 0
