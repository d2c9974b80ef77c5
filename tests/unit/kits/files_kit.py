"""Picture files of the kinds that two readers may read in two ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
KINDS = ("turned", "cmyk", "grey", "large")


def scene(seed: int, width: int, height: int) -> Image.Image:
    """Coarse colours with fine noise: every pixel shifted or resized otherwise shows."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = generator.integers(0, 60, (64, 64, 3), dtype=np.uint8)
    tiles = np.tile(noise, (height // 64 + 1, width // 64 + 1, 1))[:height, :width]
    return Image.fromarray(np.clip(np.asarray(image).astype(int) + tiles - 30, 0, 255).astype("u1"))


def write_scenes(folder: Path, names: Iterable[str], width: int, height: int) -> None:
    """Pictures under these names, which may have folders, each of its own."""
    for seed, name in enumerate(names):
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        scene(seed, width, height).save(to)


@lru_cache(maxsize=1)
def _large() -> Image.Image:
    return scene(0, 3300, 2500)


def write_kind(kind: str, seed: int, path: Path) -> None:
    """One JPEG of a kind; sides differ from file to file."""
    width, height = 210 + 17 * (seed % 11), 180 + 13 * (seed % 7)
    if kind == "large":  # 8 megapixels: of those that the check calls large
        image = _large().copy()
        image.paste(scene(seed, 2000, 1500), (900, 800))
        image.save(path, quality=70)
    elif kind == "turned":
        exif = Image.Exif()
        exif[ORIENTATION] = 2 + seed % 7
        scene(seed, width, height).save(path, exif=exif)
    elif kind == "cmyk":
        scene(seed, width, height).convert("CMYK").save(path)
    else:
        scene(seed, height, width).convert("L").save(path)


def write_pictures(folder: Path, count: int) -> None:
    """Two classes with training, validation and test parts; `count` files are for validation,
    as many of each kind as of the others."""
    for part, first, number in (("train", 100, 4), ("val", 0, count), ("test", 200, 4)):
        for seed, kind in zip(range(first, first + number), _in_turn(), strict=False):
            to = folder / part / ("a" if seed % 2 else "b")
            to.mkdir(parents=True, exist_ok=True)
            write_kind(kind if part == "val" else "grey", seed, to / f"{kind}-{seed:02}.jpg")


def _in_turn() -> Iterator[str]:
    while True:
        for kind in KINDS:
            yield kind
            yield kind
