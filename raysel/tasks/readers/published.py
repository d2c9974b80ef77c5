"""The papers' data sets as torchvision reads them, by the calls that give the counts of
Table 1 of the BVG-LS paper and the block-wise paper (docs/algorithms.md).

| name | training part | test part |
|---|---|---|
| flowers102 | split train | split **val**: Table 1 counts 1,020, and the real test part is 6,149 |
| flowers102_all | all three splits together, to be split 70/20/10 | |
| pets | split trainval | split test |
| dtd | split train, partition 1 | split test |
| aircraft | split train, by manufacturer | split test |
| food101 | split train | split test |
| sun397 | stratified seeded halves of all 108,754 pictures | |
| cifar10, cifar100 | train | test |
| caltech101 | all pictures without the background class, to be split 70/20/10 | |
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysel.common.errors import user_error
from raysel.common.user_files import any_error_as, irregular
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.splits import Pool, halves

Read = Callable[[str, Any, Path, bool, int], ImageDataset]
"""From the name, torchvision's class, the root, `download` and the split's seed to the pictures."""


@dataclass(frozen=True)
class Published:
    """One data set.

    Attributes:
        folder: where torchvision expects it, below the root.
        megabytes: of its download, about.
        class_count, train, test: what Table 1 counts; without parts of its own all are
            `train` and `test` is 0.
        torchvision: the name of its class there.
        read: see `Read`.
    """

    folder: str
    megabytes: int
    class_count: int
    train: int
    test: int
    torchvision: str
    read: Read

    def expected(self, root: Path) -> Path:
        """The folder or file that must be there."""
        return root / self.folder

    def open(self, name: str, root: Path, download: bool, seed: int) -> ImageDataset:
        """Read the names, or the arrays, of the data set.

        Raises:
            UserError: it is not there or not whole.
        """
        if not download and not self.expected(root).exists():
            raise user_error("task.data", self.missing(name, root))
        _refuse_irregular(root / Path(self.folder).parts[0])
        reader = getattr(_torchvision_datasets(), self.torchvision)
        message = f"{name} in {self.expected(root)} cannot be read"
        way_on = "remove it and write --set task.download=true"
        with any_error_as(
            lambda why: user_error("task.data", f"{message}: {_own_words(why)}; {way_on}")
        ):
            try:
                pictures = self.read(name, reader, root, download, seed)
            except OSError as error:  # of a file within the data set, which is named
                raise user_error("task.data", f"{message}: {error}") from None
        self._check(pictures)
        return pictures

    def missing(self, name: str, root: Path) -> str:
        """What to say where the data set is not there."""
        return (
            f"{name} is not in {root}/ (expected {self.expected(root)}). Download it"
            f" ({self.size}): --set task.download=true"
        )

    @property
    def size(self) -> str:
        """Of the download, in words."""
        large = self.megabytes >= 1000
        return f"{self.megabytes / 1000:.1f} GB" if large else f"{self.megabytes} MB"

    def _check(self, pictures: ImageDataset) -> None:
        pools = pictures.official_splits
        in_test = 0 if pools is None else int((pools == "test").sum())
        counts = {
            "classes": (len(pictures.classes), self.class_count),
            "training pictures": (len(pictures) - in_test, self.train),
            "test pictures": (in_test, self.test),
        }
        for what, (there, wanted) in counts.items():
            if there != wanted:
                raise user_error(
                    "task.data",
                    f"{pictures.name}: {there:,} {what}, expected {wanted:,};"
                    " the copy is incomplete",
                )


def _own_words(why: str) -> str:
    """What torchvision says, without its advice to a programmer (`download=True`)."""
    return re.sub(r"\.?\s*You can use download=True.*", "", why)


def _refuse_irregular(folder: Path) -> None:
    """Refuse a named pipe or a device where a data set's file is expected: torchvision, which
    would open it, never came back."""
    waiting = [folder]
    while waiting:
        with contextlib.suppress(OSError):  # not there, or not to be read: torchvision reports it
            for entry in os.scandir(waiting.pop()):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file() and not entry.is_dir() and Path(entry.path).exists():
                    message = f"{entry.path} is {irregular(Path(entry.path))}, no regular file"
                    raise user_error("task.data", message)


def _torchvision_datasets() -> Any:
    from raysel.common.torchvision_compat import ensure_importable  # noqa: PLC0415

    ensure_importable()
    from torchvision import datasets  # noqa: PLC0415  (slow)

    return datasets


# --- how each is read ------------------------------------------------------------------------


Listed = list[tuple[Path, int]]
"""Files and the numbers of their classes."""


def _listed(part: Any) -> Listed:
    """What a data set of torchvision gives when its loader returns the path."""
    return [(Path(path), int(label)) for path, label in part]


def _pictures(
    name: str, classes: Sequence[str], parts: Mapping[Pool, Listed], seed: int | None = None
) -> ImageDataset:
    """Files of one or two parts; those of one part are halved where there is a seed."""
    rows = [(path, label, pool) for pool, part in parts.items() for path, label in part]
    labels = np.array([label for _, label, _ in rows], np.int64)
    official_splits = np.array([pool for _, _, pool in rows]) if len(parts) > 1 else None
    if seed is not None:
        official_splits = halves(labels, len(classes), seed)
    sources = [path for path, _, _ in rows]
    return ImageDataset(name, tuple(classes), labels, sources, official_splits)


def _two_parts(train: dict[str, Any], test: dict[str, Any]) -> Read:
    """A reader of data sets that torchvision has in a training and a test part."""

    def read(name: str, reader: Any, root: Path, download: bool, seed: int) -> ImageDataset:
        parts = [reader(root, download=download, loader=str, **part) for part in (train, test)]
        listed: dict[Pool, Listed] = {"train": _listed(parts[0]), "test": _listed(parts[1])}
        return _pictures(name, parts[0].classes, listed)

    return read


def _pets(name: str, reader: Any, root: Path, download: bool, seed: int) -> ImageDataset:
    train, test = (reader(root, split=part, download=download) for part in ("trainval", "test"))
    # torchvision decodes these pictures itself: its lists of files have no public name
    parts: dict[Pool, Listed] = {
        "train": list(zip(train._images, train._labels, strict=True)),
        "test": list(zip(test._images, test._labels, strict=True)),
    }
    return _pictures(name, train.classes, parts)


def _all_flowers(name: str, reader: Any, root: Path, download: bool, seed: int) -> ImageDataset:
    parts = [
        reader(root, split=split, download=download, loader=str)
        for split in ("train", "val", "test")
    ]
    together = sorted(row for part in parts for row in _listed(part))
    return _pictures(name, parts[0].classes, {"train": together})


def _sun(name: str, reader: Any, root: Path, download: bool, seed: int) -> ImageDataset:
    whole = reader(root, download=download, loader=str)
    # torchvision lists the files as the file system gives them
    return _pictures(name, whole.classes, {"train": sorted(_listed(whole))}, seed)


def _caltech(name: str, reader: Any, root: Path, download: bool, seed: int) -> ImageDataset:
    whole = reader(root, download=download)
    folder = Path(whole.root) / "101_ObjectCategories"
    listed = [
        (folder / whole.categories[label] / f"image_{number:04d}.jpg", label)
        for label, number in zip(whole.y, whole.index, strict=True)
    ]
    return _pictures(name, whole.categories, {"train": listed})


def _cifar(name: str, reader: Any, root: Path, download: bool, seed: int) -> ImageDataset:
    train, test = (reader(root, train=part, download=download) for part in (True, False))
    return ImageDataset(
        name=name,
        classes=tuple(train.classes),
        labels=np.array([*train.targets, *test.targets], np.int64),
        sources=np.concatenate([train.data, test.data]),
        official_splits=np.array(["train"] * len(train.data) + ["test"] * len(test.data)),
    )


_BY_SPLIT = ({"split": "train"}, {"split": "test"})
_MAKER = {"annotation_level": "manufacturer"}

PUBLISHED: dict[str, Published] = {
    "flowers102": Published(
        *("flowers-102/jpg", 330, 102, 1020, 1020, "Flowers102"),
        _two_parts({"split": "train"}, {"split": "val"}),
    ),
    "flowers102_all": Published("flowers-102/jpg", 330, 102, 8189, 0, "Flowers102", _all_flowers),
    "pets": Published(
        *("oxford-iiit-pet", 790, 37, 3680, 3669, "OxfordIIITPet"),
        _pets,
    ),
    "dtd": Published(
        *("dtd/dtd", 600, 47, 1880, 1880, "DTD"),
        _two_parts(*({**split, "partition": 1} for split in _BY_SPLIT)),
    ),
    "aircraft": Published(
        *("fgvc-aircraft-2013b", 2700, 30, 3334, 3333, "FGVCAircraft"),
        _two_parts(*({**split, **_MAKER} for split in _BY_SPLIT)),
    ),
    "food101": Published(
        *("food-101", 5000, 101, 75750, 25250, "Food101"),
        _two_parts(*_BY_SPLIT),
    ),
    "sun397": Published("SUN397", 37000, 397, 54377, 54377, "SUN397", _sun),
    "cifar10": Published("cifar-10-batches-py", 170, 10, 50000, 10000, "CIFAR10", _cifar),
    "cifar100": Published("cifar-100-python", 170, 100, 50000, 10000, "CIFAR100", _cifar),
    "caltech101": Published(
        "caltech101/101_ObjectCategories", 140, 101, 8677, 0, "Caltech101", _caltech
    ),
}
"""Every one by its name in a sweep file."""
