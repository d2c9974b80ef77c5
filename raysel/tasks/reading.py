"""One image file to RGB pixels: every kind of file is read right, or refused with the reason.

- grey, palette and 1-bit images become RGB; what is transparent is laid on white;
- CMYK is converted; 16-bit grey is scaled to 8 bits (Pillow's own conversion would clip it);
- the rotation that a camera wrote beside the picture is applied.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"]
)
"""Endings of the files that are taken for images, in lower case."""

_SIXTEEN_BIT = 257.0  # 65535 / 255


class BadImage(ValueError):
    """An image that cannot be read; its text is the reason."""


def read_image(path: Path) -> Image.Image:
    """The picture in a file, RGB with 8 bits a channel.

    Raises:
        BadImage: the file is missing, empty, no image, truncated, damaged, too large to be
            an honest picture, or of real numbers whose range nobody knows.
    """
    try:
        if path.stat().st_size == 0:
            raise BadImage("is empty (0 bytes)")
        with warnings.catch_warnings():
            # a large photograph is no attack; one of twice the limit is refused as an error
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return to_rgb(ImageOps.exif_transpose(image))
    except BadImage:
        raise
    except FileNotFoundError:
        raise BadImage("is missing") from None
    except UnidentifiedImageError:
        raise BadImage("is no image that Pillow knows") from None
    except Image.DecompressionBombError as error:
        raise BadImage(f"is too large: {error}") from None
    # Pillow's decoders raise whatever their arithmetic gives on a damaged file
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError) as error:
        raise BadImage(f"cannot be read: {str(error) or type(error).__name__}") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as RGB with 8 bits.

    Raises:
        BadImage: pixels are real numbers, or whole numbers beyond 16 bits.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        image = _eight_bit(image)
    if image.mode == "F":
        raise BadImage("holds real numbers, whose range is not known; save it with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
        raise BadImage("holds numbers beyond 16 bits; save it with 8 or 16 bits")
    return Image.fromarray(np.round(pixels / _SIXTEEN_BIT).astype(np.uint8))
