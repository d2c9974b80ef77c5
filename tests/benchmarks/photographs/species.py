"""Photographs of CIFAR-10 laid out for the shift study: links, no copies.

    python tests/benchmarks/photographs/species.py CIFAR OUT

CIFAR has train/<class>/*.jpg and test/<class>/*.jpg. Below OUT it makes

    cifar/      source/, train/, test/: all ten classes. `source` has the first photographs of each
                class's training part, `train` the last 100, `test` its test part.
    species/    four classes of two species each. `source` has the species that a source model knows
                (airplanes, cars, cats, deer), `train` and `test` the others (ships, trucks, dogs,
                horses): the label is the same, what it looks like is another.
"""

from __future__ import annotations

import sys
from pathlib import Path

TUNED = 100
"""Photographs of each class to tune and to choose by; the source model never sees them."""

SPECIES = {
    "airplane-or-ship": ("airplane", "ship"),
    "car-or-truck": ("automobile", "truck"),
    "cat-or-dog": ("cat", "dog"),
    "deer-or-horse": ("deer", "horse"),
}
"""Class: the species of the source, and that of the target."""


def link(pictures: list[Path], folder: Path) -> None:
    """Link pictures into a folder, which is made."""
    folder.mkdir(parents=True)
    for picture in pictures:
        # of one name in both parts of CIFAR: the part stands in front
        (folder / f"{picture.parts[-3]}-{picture.name}").symlink_to(picture.resolve())


def main(cifar: Path, out: Path) -> None:
    """Both layouts."""

    def of(part: str, name: str) -> list[Path]:
        found = sorted((cifar / part / name).glob("*.jpg"))
        if not found:
            raise SystemExit(f"error  {cifar / part / name} holds no *.jpg")
        return found

    for name in sorted(path.name for path in (cifar / "train").iterdir()):
        training = of("train", name)
        link(training[:-TUNED], out / "cifar" / "source" / name)
        link(training[-TUNED:], out / "cifar" / "train" / name)
        link(of("test", name), out / "cifar" / "test" / name)
    for label, (known, new) in SPECIES.items():
        link(of("train", known) + of("test", known), out / "species" / "source" / label)
        link(of("train", new), out / "species" / "train" / label)
        link(of("test", new), out / "species" / "test" / label)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
