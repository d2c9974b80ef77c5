"""What a model expects of a picture, as values: `raysel.models.data_config` reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class ModelInput:
    """The part of timm's data config that concerns pictures.

    Attributes:
        size: pixels a side.
        mean, std: of each of three channels.
        interpolation: how pictures are resized.
        crop_share: a picture's shorter side becomes size / crop_share, of which the centre
            is taken.
    """

    size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bicubic"
    crop_share: float = 0.875

    @property
    def shorter_side(self) -> int:
        """Pixels of the shorter side before the centre is taken."""
        return math.floor(self.size / self.crop_share)

    def resized(self, size: int | None) -> ModelInput:
        """The same for a size that the user gave: the whole shorter side is then kept, for
        pictures of that very size must come through as they are."""
        if size is None:
            return self
        return ModelInput(size, self.mean, self.std, self.interpolation, 1.0)
