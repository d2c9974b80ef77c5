"""What a model expects of a picture, as values: `raysel.models.data_config` reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]

CropMode = Literal["center", "squash", "border"]
"""timm's: the centre of the resized picture; of the picture resized to a square; or the whole
picture, with a border of the mean colour beside its shorter side."""


@dataclass(frozen=True)
class ModelInput:
    """The part of timm's data config that concerns pictures.

    Attributes:
        size: pixels a side.
        mean, std: of each of three channels.
        interpolation: how pictures are resized.
        crop_share: timm's `crop_pct`: a picture is resized to size / crop_share, of which the
            centre is taken.
        crop_mode: which side becomes that long.
    """

    size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bicubic"
    crop_share: float = 0.875
    crop_mode: CropMode = "center"

    @property
    def shorter_side(self) -> int:
        """Pixels of the shorter side before the centre is taken."""
        return math.floor(self.size / self.crop_share)

    def resized(self, size: int | None) -> ModelInput:
        """The same for a size that the user gave: nothing is then cut off, for pictures of that
        very size must come through as they are."""
        return self if size is None else replace(self, size=size, crop_share=1.0)
