"""Examples whose pictures are in the node's image cache: what a trial gets in place of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysel.tasks.augmentation import AUGMENTATIONS, VIEWS, is_mirrored
from raysel.tasks.auto_augment import auto_augmented
from raysel.tasks.geometry import Geometry, Pixels
from raysel.tasks.groups import Groups
from raysel.tasks.image_cache import CHANNELS, Decode, ImageCache, find_cache, open_cache

MakeDecoder = Callable[[], Decode]
"""Opens the data set on this node, for a cache that is not there yet."""


class CacheMismatch(RuntimeError):
    """The data set of this node gives other pixels than the driver's."""


@dataclass(frozen=True)
class CachedExamples:
    """Pictures by their place in a cache, with their labels.

    A copy that is sent to a worker carries no pixels: it opens the cache of its node, and
    builds it first where there is none.

    Attributes:
        cache, key: where the cache is.
        sha256: of the cache's pixels, the same on every node.
        make_decoder: opens the data set where the cache must be built; it is pickled.
        rows: int64 [n] rows of the cache.
        indices: int64 [n] places in the data set; augmentation is drawn from them.
        labels: int64 [n].
        geometry: how the pictures were kept.
        augmentation: what training does to them; evaluation sees the centre.
        auto_augment: what it does to them after that.
        groups: their groups, where the data set has some.
    """

    cache: Path
    key: str
    sha256: str
    make_decoder: MakeDecoder
    count: int
    rows: NDArray[np.int64]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    geometry: Geometry
    augmentation: str = field(default="none")
    auto_augment: str = field(default="none")
    groups: Groups | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what the model sees."""
        return CHANNELS, self.geometry.input.size, self.geometry.input.size

    @cached_property
    def opened(self) -> ImageCache:
        """The cache of this node.

        Raises:
            CacheMismatch: the data set of this node is another than the driver's.
            UserError: it is not there.
        """
        found = find_cache(self.cache, self.key)
        if found is None:
            found = open_cache(self.cache, self.key, self.count, self.make_decoder())
        if found.sha256 != self.sha256:
            raise CacheMismatch(f"the pictures in {self.cache / self.key} differ from the driver's")
        return found

    def only(self, which: NDArray[np.int64]) -> CachedExamples:
        """The same cache with no other examples than these."""
        return replace(
            self,
            rows=self.rows[which],
            indices=self.indices[which],
            labels=self.labels[which],
            groups=self.groups and self.groups.only(which),
        )

    def centres(self, which: NDArray[np.int64]) -> NDArray[np.uint8]:
        """[m, size, size, 3]: the examples as evaluation sees them."""
        rows = self.rows[which]
        if not self.geometry.whole:
            return self.opened.rows(rows)
        return np.stack([self.geometry.centre(self.opened[row]) for row in rows])

    def augmented(self, which: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.uint8]:
        """[m, size, size, 3]: the examples as this epoch of a trial sees them.

        Args:
            which: [m] places from 0 to n - 1; those of further copies have n, 2n, … added.
        """
        augment = AUGMENTATIONS.get(self.augmentation)
        if augment is None and self.auto_augment == "none":
            return self.centres(which % len(self))

        def seen(example: int) -> Pixels:
            generator = self.generator(example, seed, epoch)
            kept = self.opened[self.rows[example % len(self)]]
            if augment is None:
                pixels = self.geometry.centre(kept)
            else:
                pixels = augment(kept, self.geometry, generator)
            return auto_augmented(self.auto_augment, pixels, generator)

        return np.stack([seen(example) for example in which])

    @property
    def views(self) -> int | None:
        """In how many ways training may see a picture; None where every epoch has its own."""
        return VIEWS.get(self.augmentation) if self.auto_augment == "none" else None

    def mirrored(self, which: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.bool_]:
        """[m]: which of the examples this epoch mirrors, where the augmentation is `flip`."""
        draws = (is_mirrored(self.generator(example, seed, epoch)) for example in which)
        return np.fromiter(draws, np.bool_, len(which))

    def generator(self, example: int, seed: int, epoch: int) -> np.random.Generator:
        """What an epoch draws of an example: a function of the trial's seed, the epoch, the
        example's place in its data set and, of a further copy in the epoch, its number."""
        copy, place = divmod(int(example), len(self))
        drawn = [seed, epoch, int(self.indices[place])]
        return np.random.default_rng([*drawn, copy] if copy else drawn)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "opened"}
