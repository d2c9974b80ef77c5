"""Two photographs of scikit-learn's, cut into a data set of files that two readers may read in two
ways."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

CLASSES = {"flower": "flower.jpg", "palace": "china.jpg"}
_ORIENTATION = 0x0112


def _cut(photograph: Image.Image, seed: int) -> Image.Image:
    """A part of a photograph, of a size and place of its own."""
    generator = np.random.default_rng(seed)
    width, height = (int(side * generator.uniform(0.4, 0.9)) for side in photograph.size)
    left = int(generator.integers(photograph.width - width))
    top = int(generator.integers(photograph.height - height))
    return photograph.crop((left, top, left + width, top + height))


def _turned(picture: Image.Image, to: Path, seed: int) -> None:
    exif = Image.Exif()
    exif[_ORIENTATION] = 2 + seed % 7
    picture.save(to / f"turned-{seed:03}.jpg", exif=exif)


def _cmyk(picture: Image.Image, to: Path, seed: int) -> None:
    picture.convert("CMYK").save(to / f"cmyk-{seed:03}.jpg")


def _grey(picture: Image.Image, to: Path, seed: int) -> None:
    picture.convert("L").save(to / f"grey-{seed:03}.png")


def _large(picture: Image.Image, to: Path, seed: int) -> None:
    """12 megapixels."""
    size = (4000, 3000) if picture.width >= picture.height else (3000, 4000)
    picture.resize(size).save(to / f"large-{seed:03}.jpg", quality=80)


def write_photographs(folder: Path, parts: dict[str, int]) -> None:
    """Class folders below each part, with the four kinds of files in turn.

    Args:
        parts: how many files of which part.
    """
    photographs = {
        label: Image.fromarray(load_sample_image(file)) for label, file in CLASSES.items()
    }
    seed, kinds = 0, cycle((_turned, _cmyk, _grey, _large))
    for part, count in parts.items():
        for label in CLASSES:
            (folder / part / label).mkdir(parents=True)
        for number in range(count):
            label = list(CLASSES)[number // 4 % 2]  # each kind of each class
            next(kinds)(_cut(photographs[label], seed), folder / part / label, seed)
            seed += 1


def write_small_photographs(folder: Path, each: int, side: int = 48) -> None:
    """Class folders with so many small parts of the photographs, all different."""
    for label, file in CLASSES.items():
        photograph = Image.fromarray(load_sample_image(file))
        (folder / label).mkdir(parents=True)
        for number in range(each):
            picture = _cut(photograph, number).resize((side, side))
            picture.save(folder / label / f"{number:03}.jpg", quality=95)
