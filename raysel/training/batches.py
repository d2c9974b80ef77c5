"""Examples on the device, and the order in which they come.

The order of an epoch is a function of the trial's seed and the epoch alone, so a resumed
trial needs no random state to continue as if it had never stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysel.tasks.data import Examples


class Data(Protocol):
    """The examples of a part for a trial: all of them on the device, or read as they come."""

    @property
    def labels(self) -> Tensor:
        """[n] on the device."""
        ...

    def __len__(self) -> int: ...

    def augmented(self, seed: int, epoch: int) -> Data:
        """The examples as this epoch of a trial sees them."""
        ...

    def part(self, index: Tensor | slice) -> Batch:
        """Some of the examples."""
        ...

    def batches(
        self, places: Sequence[Tensor], copies: Sequence[Tensor] | None = None
    ) -> Iterator[Batch]:
        """The examples at each of these places, in their order; pictures may be read ahead.

        Args:
            copies: `numbered_copies` of the places, where an example may come several times, and
                is to be augmented anew each time.
        """
        ...

    def only(self, index: Tensor) -> Data:
        """A subset with these examples, in their order."""
        ...

    def split(self, size: int) -> Sequence[Batch]:
        """The examples in order and as they are, `size` at a time."""
        ...

    @property
    def views(self) -> int | None:
        """In how many ways training may see an example: 1 as it is, 2 where it may be mirrored;
        None where every epoch has its own."""
        ...

    def view(self, index: Tensor, mirrored: bool) -> Batch:
        """Some of the examples, as they are or mirrored."""
        ...

    def mirrored(self, which: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.bool_]:
        """[m]: which of these examples an epoch mirrors, where there are 2 views."""
        ...

    def fingerprint(self) -> bytes:
        """Of the images, in their order; without the labels."""
        ...


@dataclass(frozen=True)
class Batch:
    """Images [n, c, h, w] and labels [n] on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def augmented(self, seed: int, epoch: int) -> Batch:
        """The examples as they are: arrays are not augmented."""
        return self

    def part(self, index: Tensor | slice) -> Batch:
        """Some of the examples."""
        return Batch(self.images[index], self.labels[index])

    def batches(
        self, places: Sequence[Tensor], copies: Sequence[Tensor] | None = None
    ) -> Iterator[Batch]:
        """The examples at each of these places."""
        return map(self.part, on_one_device(places, self.labels.device))

    def only(self, index: Tensor) -> Batch:
        """The same as `part`."""
        return self.part(index)

    def split(self, size: int) -> list[Batch]:
        """The examples in order, `size` at a time; the last may be smaller."""
        return [self.part(slice(i, i + size)) for i in range(0, len(self), size)]

    @property
    def views(self) -> int | None:
        """Arrays are not augmented."""
        return 1

    def view(self, index: Tensor, mirrored: bool) -> Batch:
        """Some of the examples, as they are."""
        return self.part(index)

    def mirrored(self, which: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.bool_]:
        """None of them."""
        return np.zeros(len(which), np.bool_)

    def fingerprint(self) -> bytes:
        """Of the images."""
        images = self.images.detach().cpu().contiguous().numpy()
        return hashlib.sha256(repr(images.shape).encode() + images.tobytes()).digest()


@dataclass(frozen=True)
class LazyBatches(Sequence[Batch]):
    """Batches that are read on access, and not cached.

    Attributes:
        data: what they are of.
        places: for each batch the places of its examples, on the host.
    """

    data: Data
    places: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> LazyBatches: ...

    def __getitem__(self, index: int | slice) -> Batch | LazyBatches:
        if isinstance(index, slice):
            return LazyBatches(self.data, self.places[index])
        return self.data.part(self.places[index])

    def __iter__(self) -> Iterator[Batch]:
        """All batches, read ahead."""
        return self.data.batches(self.places)


def on_one_device(places: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """The places on a device, brought there at once: a copy a batch would wait for the device."""
    if not places or all(place.device == device for place in places):
        return places
    return torch.cat(list(places)).to(device).split([len(place) for place in places])


def in_order(data: Data, order: Tensor, size: int) -> LazyBatches:
    """The examples at the places [m] of `order`, `size` at a time; the last may be smaller."""
    return LazyBatches(data, order.cpu().split(size) if len(order) else ())


def to_device(
    examples: Examples, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> Batch:
    """Normalise all examples by channel and put them on the device."""
    center = np.asarray(mean, dtype=np.float32).reshape(1, -1, 1, 1)
    scale = np.asarray(std, dtype=np.float32).reshape(1, -1, 1, 1)
    images = torch.from_numpy((examples.images - center) / scale)
    return Batch(images.to(device), torch.from_numpy(np.array(examples.labels)).to(device))


def seed_of(*parts: int) -> int:
    """One 63-bit seed from several whole numbers (a trial's seed, an epoch, a purpose)."""
    low, high = np.random.SeedSequence(parts).generate_state(2)
    return (int(high) << 32 | int(low)) & (2**63 - 1)


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """A permutation of `count` examples for this epoch, on the CPU."""
    return permutation(count, seed, epoch)


def permutation(count: int, *parts: int) -> Tensor:
    """A permutation of `count` examples, drawn from several whole numbers; [count] on the CPU."""
    generator = torch.Generator().manual_seed(seed_of(*parts))
    return torch.randperm(count, generator=generator)


def balanced_draws(labels: Tensor, seed: int, epoch: int) -> Tensor:
    """As many places as there are labels, drawn with replacement, each class as often; [n] on the
    CPU. torch's `WeightedRandomSampler` with weights 1 / n_c."""
    counts = torch.bincount(labels)
    weights = (1.0 / counts.double())[labels]
    generator = torch.Generator().manual_seed(seed_of(seed, epoch))
    return torch.multinomial(weights, len(labels), replacement=True, generator=generator)


def numbered_copies(places: Tensor, count: int) -> Tensor:
    """For each place of `count` in an order its number: place + count k, where it came k times
    before."""
    values, index = torch.sort(places, stable=True)
    before = torch.arange(len(places)) - torch.searchsorted(values, values)
    return places + count * torch.empty_like(places).index_copy_(0, index, before)


def epoch_batches(
    data: Data, batch_size: int, seed: int, epoch: int, labels: Tensor | None = None
) -> Iterator[Batch]:
    """The shuffled batches of one epoch.

    A last batch of a single example is left out (batch norm cannot take it) unless every
    batch is one example, or it is the only one.

    Args:
        labels: [n] on the CPU, where each class is to come as often; None takes every example once.
    """
    if labels is None:
        order = epoch_order(len(data), seed, epoch)
    else:
        order = balanced_draws(labels, seed, epoch)
    places = order.split(batch_size)
    if len(places) > 1 and len(places[-1]) == 1 and batch_size > 1:
        places = places[:-1]
    copies = None if labels is None else numbered_copies(order, len(data)).split(batch_size)
    seen = data.augmented(seed, epoch)
    return seen.batches(places if len(data) else (), copies and copies[: len(places)])


def batches_per_epoch(count: int, batch_size: int) -> int:
    """How many batches `epoch_batches` yields."""
    whole, rest = divmod(count, batch_size)
    return max(whole + (rest > 1), 1)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from `seed` inside; the caller's random state is as before afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
