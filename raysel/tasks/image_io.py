"""One image file to RGB pixels: every kind of file is read correctly, or refused with the reason.

- grey, palette and 1-bit images become RGB; what is transparent is laid on white;
- CMYK is converted; grey of more than 8 bits, or of real numbers, is scaled by the range of the
  data set's values (`value_range`; Pillow's own conversion would clip it);
- the rotation that a camera wrote beside the picture is applied; nothing else of EXIF is used.
"""

from __future__ import annotations

import ctypes
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, _imaging

from raysel.common.user_files import any_error_as, irregular
from raysel.tasks.file_kinds import kind_by_content
from raysel.tasks.stored_images import StoredImage
from raysel.tasks.value_range import ValueRanges, is_deep

_NOT_PICTURES = frozenset(
    {
        *("BUFR", "GRIB", "HDF5", "MPEG"),  # Pillow knows their names and has no decoder
        *("EPS", "WMF"),  # drawings, of no size of their own; EPS is run by Ghostscript
        *("PALM", "PDF"),  # written only
    }
)
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
_FIRST_IS_ALL = ("MPO", "PSD")  # what follows are previews, or the layers of the first
_TWELVE_BIT = 15  # the upper byte of 4095


SEVERAL_PAGES = "raysel_several_pages"
"""Key of `Image.info` of a picture whose file has more pages or frames, which are not read."""


class BadImage(ValueError):
    """An image that cannot be read; its text is the reason."""


@cache
def image_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read; HEIC where `pillow-heif` is installed."""
    Image.init()
    _silence_libtiff()
    with suppress(ImportError):
        from pillow_heif import register_heif_opener  # noqa: PLC0415  (the extra `heic`)

        register_heif_opener()
    return tuple(name for name in Image.OPEN if name not in _NOT_PICTURES)


def _silence_libtiff() -> None:
    """libtiff writes what is wrong with a damaged file to standard error itself; Pillow's exception
    says it too. Where the library is not found by its symbols (Windows), it keeps writing."""
    with suppress(OSError, AttributeError):
        handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        handler(None)


@cache
def image_endings() -> frozenset[str]:
    """Endings of the files that are taken for images, in lower case: all that Pillow reads."""
    known = {*image_formats(), "MPO"}
    return frozenset(end for end, name in Image.registered_extensions().items() if name in known)


def read_image(path: Path | StoredImage, ranges: ValueRanges | None = None) -> Image.Image:
    """The picture in a file, or within one, RGB with 8 bits a channel.

    Args:
        ranges: the values of the data set's pictures of more than 8 bits; the picture's own,
            if nothing is given.

    Raises:
        BadImage: the file is missing, empty, no image, truncated, damaged, or too large to be
            a real picture: whatever Pillow raises.
    """
    with _refused_as_bad(path), opened_image(path) as image:
        is_wide = _keeps_upper_bytes(image)
        turn = _TURNS.get(_load(image))
        picture = to_rgb(image, ranges or ValueRanges())
        if is_wide and 0 < np.asarray(picture).max() <= _TWELVE_BIT:
            raise BadImage(
                "has 16 bits a colour and uses 12 at most, of which Pillow keeps the upper 4;"
                " save it with 8 bits a colour"
            )
        picture = picture if turn is None else picture.transpose(turn)
        if _has_more_pages(image):  # last: it may move on in the file
            picture.info[SEVERAL_PAGES] = True
        return picture


@contextmanager
def opened_image(path: Path | StoredImage) -> Iterator[Image.Image]:
    """An image whose head is read and no pixel yet; never a device or a named pipe.

    Raises:
        BadImage: it is empty or no regular file.
        Exception: whatever Pillow raises.
    """
    other = irregular(path if isinstance(path, Path) else path.file)
    if other is not None:
        raise BadImage(f"is {other}, no regular file")
    file = path if isinstance(path, Path) else io.BytesIO(path.read_bytes())
    if (len(file.getvalue()) if isinstance(file, io.BytesIO) else file.stat().st_size) == 0:
        raise BadImage("is empty (0 bytes)")
    with Image.open(file, formats=image_formats()) as image:
        yield image


@contextmanager
def without_warnings() -> Iterator[None]:
    """Pillow warnings are ignored: a large photograph is no attack (one of twice the limit is an
    error), and odd metadata are not used. The filter is the process's: set it once around threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _refused_as_bad(path: Path | StoredImage) -> Iterator[None]:
    with any_error_as(lambda why: BadImage(f"cannot be read: {why}"), passing=(BadImage,)):
        try:
            yield
        except FileNotFoundError:
            raise BadImage("is missing") from None
        except UnidentifiedImageError:
            kind = kind_by_content(path) if isinstance(path, Path) else None
            raise BadImage(kind or "is not an image that Pillow knows") from None
        except Image.DecompressionBombError as error:
            raise BadImage(f"is too large: {error}") from None


def _load(image: Image.Image) -> int:
    """Decode the pixels; returns the orientation that EXIF gives, 1 where it gives none.

    EXIF is read and never written: Pillow fails to write what many cameras put there.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        turned = _whole(lambda: image.tag_v2.get(_ORIENTATION, 1))
        image.load_end = lambda: None  # type: ignore[method-assign]  # it would turn and write
        image.load()
        image._size = image.im.size  # Pillow has swapped it for the turn
        return turned
    image.load()
    return exif_orientation(image)  # of a PNG: behind the pixels


def exif_orientation(image: Image.Image) -> int:
    """As EXIF gives it; 1 where it gives none, or where metadata are damaged."""
    return _whole(lambda: image.getexif().get(_ORIENTATION, 1))


def _whole(read: Callable[[], Any]) -> int:
    """The orientation; 1 where metadata of intact pixels are damaged."""
    try:
        return int(read())
    except Exception:
        return 1


def _has_more_pages(image: Image.Image) -> bool:
    """Whether a TIFF, GIF, WebP, PNG, … has more than one page or frame; the next one is looked
    for at most, and nothing is decoded."""
    if image.format in _FIRST_IS_ALL:
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # whatever damaged frames behind a sound first one make Pillow raise
        return False


def _keeps_upper_bytes(image: Image.Image) -> bool:
    """Whether it has 16 bits a colour: Pillow keeps the upper 8 of them."""
    tiles = getattr(image, "tile", [])
    if image.mode not in ("RGB", "RGBA") or not tiles:
        return False
    settings = tiles[0][3]  # of Pillow's decoder: the mode of the file's pixels comes first
    raw = settings[0] if isinstance(settings, tuple) and settings else settings
    return isinstance(raw, str) and ";16" in raw


def to_rgb(image: Image.Image, ranges: ValueRanges) -> Image.Image:
    """Any of Pillow's modes as RGB with 8 bits.

    Args:
        ranges: how pictures of more than 8 bits are scaled.

    Raises:
        BadImage: a pixel is no finite number.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if is_deep(image.mode):
        pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise BadImage("holds pixels that are no finite numbers (NaN or infinity)")
        return Image.fromarray(ranges.of(image).eight_bit(pixels)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")
