"""Pictures of more than 8 bits: what of their values is black and what is white.

A file of 16 bits may hold 10, 12 or 14 bits of a camera, and a file of real numbers anything. One
rule for the whole data set, so that its pictures stay comparable:

- the lowest and the highest value of all its pictures of that kind (whole or real numbers) are
  looked for, once;
- black is 0, white is the largest value of the least depth that holds the highest: 1 (of real
  numbers), 255, 1,023 (10 bits), 4,095 (12), 16,383 (14), 65,535 (16), else the highest itself;
- where values are below 0, black is the lowest and white the highest value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

_DEPTHS = (8, 10, 12, 14, 16)


def is_deep(mode: str) -> bool:
    """Whether a mode of Pillow has one channel of more than 8 bits."""
    return mode.startswith("I") or mode == "F"


def is_scaled(image: Image.Image) -> bool:
    """Whether Pillow has scaled whole numbers to 16 bits, by the maximum in the file's head."""
    return image.format in ("PPM", "JPEG2000") and image.mode != "F"


@dataclass(frozen=True)
class ValueRange:
    """The values that become black and white."""

    black: float
    white: float

    @classmethod
    def of(cls, lowest: float, highest: float, real: bool) -> ValueRange:
        """By the lowest and the highest value, as the module says."""
        if lowest < 0:
            return cls(lowest, highest)
        depths = ([1.0] if real else []) + [2.0**bits - 1 for bits in _DEPTHS]
        return cls(0.0, next((white for white in depths if highest <= white), highest))

    def eight_bit(self, pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Pixels [h, w] as 0 .. 255; what is outside the range is clipped."""
        span = self.white - self.black or 1.0
        scaled = (pixels.astype(np.float64) - self.black) * (255.0 / span)
        return np.clip(np.round(scaled), 0, 255).astype(np.uint8)

    def __str__(self) -> str:
        bits = {2.0**bits - 1: f"{bits} bits" for bits in _DEPTHS}.get(self.white)
        message = f"{self.black:g} is black and {self.white:g} is white"
        return message if bits is None or self.black else f"{message} ({bits})"


@dataclass(frozen=True)
class ValueRanges:
    """The ranges of a data set, of whole and of real numbers; None where it has no such picture.

    Attributes:
        counts: how many pictures of each kind.
    """

    whole: ValueRange | None = None
    real: ValueRange | None = None
    counts: tuple[int, int] = (0, 0)

    def of(self, image: Image.Image) -> ValueRange:
        """The range by which a picture is scaled; its own where the data set has none."""
        if is_scaled(image):
            return ValueRange(0.0, 65535.0)
        known = self.real if image.mode == "F" else self.whole
        if known is not None:
            return known
        pixels = np.asarray(image)
        return ValueRange.of(float(pixels.min()), float(pixels.max()), image.mode == "F")

    @classmethod
    def from_extremes(cls, found: Iterable[tuple[bool, float, float]]) -> ValueRanges:
        """From (is it of real numbers, lowest, highest) of each picture."""
        kinds: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for real, lowest, highest in found:
            kinds[real].append((lowest, highest))

        def joined(real: bool) -> ValueRange | None:
            if not kinds[real]:
                return None
            lowest, highest = zip(*kinds[real], strict=True)
            return ValueRange.of(min(lowest), max(highest), real)

        return cls(joined(False), joined(True), (len(kinds[False]), len(kinds[True])))

    def to_json(self) -> str:
        """For a file; `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ValueRanges:
        """What `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        return TypeAdapter(cls).validate_json(text)

    def notes(self) -> tuple[str, ...]:
        """How such pictures are scaled, a line for each kind."""
        kinds = zip(
            ("grey of more than 8 bits", "of real numbers"),
            (self.whole, self.real),
            self.counts,
            strict=True,
        )
        return tuple(
            f"{count} {'picture is' if count == 1 else 'pictures are'} {what}: {scale}"
            for what, scale, count in kinds
            if scale is not None
        )
