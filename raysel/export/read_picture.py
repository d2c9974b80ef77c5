"""A picture file as it was read in training: turned as the camera noted, what is transparent on
white, more than 8 bits scaled to 8. It needs Pillow and NumPy.

(raysel copies this file beside every model that it writes.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_DEPTHS = (8, 10, 12, 14, 16)  # bits


def read_picture(path: str | Path, facts: dict[str, Any]) -> Image.Image:
    """The picture in a file: RGB, or grey for a model of one channel.

    Args:
        facts: the content of the model's config.json.

    Raises:
        Exception: whatever Pillow raises on a file that is damaged or no picture.
    """
    with Image.open(path) as image:
        image.load()
        turn = _TURNS.get(_orientation(image))
        picture = _rgb(image, facts["raysel"].get("ranges") or {})
    picture = picture if turn is None else picture.transpose(turn)
    return picture.convert("L") if facts["pretrained_cfg"]["input_size"][0] == 1 else picture


def _orientation(image: Image.Image) -> int:
    """As EXIF gives it; 1 of a TIFF, which Pillow has turned, and where metadata are damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever a damaged tag makes Pillow raise
        return 1


def _rgb(image: Image.Image, ranges: dict[str, Any]) -> Image.Image:
    """Any of Pillow's modes as RGB with 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bit(image, ranges).convert("RGB")
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image, ranges: dict[str, Any]) -> Image.Image:
    """By the values that were black and white in training; by the picture's own where training
    had no such picture."""
    pixels, real = np.asarray(image), image.mode == "F"
    known = ranges.get("real" if real else "whole")
    if image.format in ("PPM", "JPEG2000") and not real:
        black, white = 0.0, 65535.0  # Pillow has scaled it
    elif known:
        black, white = known["black"], known["white"]
    elif pixels.min() < 0:
        black, white = float(pixels.min()), float(pixels.max())
    else:
        depths = [1.0] * real + [2.0**bits - 1 for bits in _DEPTHS]
        highest = float(pixels.max())
        black, white = 0.0, next((depth for depth in depths if highest <= depth), highest)
    scaled = (pixels.astype(np.float64) - black) * (255.0 / (white - black or 1.0))
    return Image.fromarray(np.clip(np.round(scaled), 0, 255).astype(np.uint8))
