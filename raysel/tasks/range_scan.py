"""Looks for the lowest and the highest value of a data set's pictures of more than 8 bits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from raysel.tasks.image_cache import key_of
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_io import opened_image, without_warnings
from raysel.tasks.stored_images import StoredImage
from raysel.tasks.value_range import ValueRanges, is_deep, is_scaled

_EIGHT_BIT = frozenset(
    {".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".gif", ".bmp", ".dib", ".webp", ".ico", ".avif"}
)
"""Endings of formats that have 8 bits a colour at most: not even their heads are read."""

_WINDOW = 256


def scan_ranges(pictures: ImageDataset, cache: Path) -> ValueRanges:
    """The ranges of a data set: the heads of its files are read, and the pixels of those with more
    than 8 bits. What was found is kept in `cache`, by the files' names, sizes and times.
    """
    known = cached_ranges(pictures, cache)
    if known is not None:
        return known
    places = _places(pictures)
    kept = _file(pictures, places, cache)
    ranges = _scanned([pictures.sources[index] for index in places])
    with suppress(OSError):  # the image cache reports a folder that cannot be written
        cache.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(ranges.to_json(), encoding="utf-8")
        partial.replace(kept)
    return ranges


def cached_ranges(pictures: ImageDataset, cache: Path) -> ValueRanges | None:
    """What `scan_ranges` found before of the same files; None where it must look."""
    places = _places(pictures)
    if not places:
        return ValueRanges()
    with suppress(Exception):  # not there, or damaged
        kept = _file(pictures, places, cache)
        return ValueRanges.from_json(kept.read_text(encoding="utf-8"))
    return None


def _places(pictures: ImageDataset) -> list[int]:
    """The pictures that may have more than 8 bits."""
    return [
        index
        for index, source in enumerate(pictures.sources)
        if isinstance(source, Path | StoredImage) and source.suffix.lower() not in _EIGHT_BIT
    ]


def _file(pictures: ImageDataset, places: Sequence[int], cache: Path) -> Path:
    key = key_of("value ranges", (pictures.fingerprint(index) for index in places))
    return cache / f"{key}.ranges.json"


def _scanned(files: Sequence[Any]) -> ValueRanges:
    found, rest = [], iter(files)
    with without_warnings(), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        while window := list(islice(rest, _WINDOW)):
            found += [extremes for extremes in threads.map(_extremes, window) if extremes]
    return ValueRanges.from_extremes(found)


def _extremes(path: Path | StoredImage) -> tuple[bool, float, float] | None:
    """Whether a deep picture is of real numbers, its lowest and its highest value; None of others,
    and of those that cannot be read, which decoding reports."""
    with suppress(Exception), opened_image(path) as image:
        if is_deep(image.mode) and not is_scaled(image):
            pixels = np.asarray(image)
            if np.isfinite(pixels).all():
                return image.mode == "F", float(pixels.min()), float(pixels.max())
    return None
