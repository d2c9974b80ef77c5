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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysel.common.errors import user_error
from raysel.common.user_files import any_error_as, irregular
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.splits import Pool, halves


@dataclass(frozen=True)
class Published:
    """One data set.

    Attributes:
        folder: where torchvision expects it, below the root.
        megabytes: of its download, about.
        class_count, train, test: what Table 1 counts; without parts of its own all are
            `train` and `test` is 0.
        torchvision: the name of its class there.
        read: from the class, the root, `download` and the split's seed to its pictures.
    """

    folder: str
    megabytes: int
    class_count: int
    train: int
    test: int
    torchvision: str
    read: Callable[[Published, str, Any, Path, bool, int], ImageDataset]

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
        with any_error_as(lambda why: user_error("task.data", f"{message}: {why}")):
            try:
                pictures = self.read(self, name, reader, root, download, seed)
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
        return (
            f"{self.megabytes / 1000:.1f} GB"
            if self.megabytes >= 1000
            else (f"{self.megabytes} MB")
        )

    def _check(self, pictures: ImageDataset) -> None:
        official_splits = pictures.official_splits
        found = (
            len(pictures.classes),
            len(pictures) if official_splits is None else int((official_splits == "train").sum()),
            0 if official_splits is None else int((official_splits == "test").sum()),
        )
        names = ("classes", "training pictures", "test pictures")
        for what, there, wanted in zip(
            names, found, (self.class_count, self.train, self.test), strict=True
        ):
            if there != wanted:
                raise user_error(
                    "task.data",
                    f"{pictures.name}: {there:,} {what}; there should be {wanted:,},"
                    " so the copy is not whole",
                )


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


def _joined(
    name: str, parts: Sequence[tuple[Pool, Any]], sources: Iterable[Any], labels: Iterable[int]
) -> ImageDataset:
    official_splits = [pool for pool, part in parts for _ in range(len(part))]
    classes = tuple(parts[0][1].classes)
    return ImageDataset(
        name=name,
        classes=classes,
        labels=np.array(list(labels), np.int64),
        sources=[Path(source) for source in sources],
        official_splits=np.array(official_splits) if len(set(official_splits)) > 1 else None,
    )


def _two_parts(
    files: str, train: dict[str, Any], test: dict[str, Any]
) -> Callable[..., ImageDataset]:
    """A reader of data sets that list their files in the attribute `files`."""

    def read(
        own: Published, name: str, reader: Any, root: Path, download: bool, seed: int
    ) -> ImageDataset:
        parts: list[tuple[Pool, Any]] = [
            ("train", reader(root, download=download, **train)),
            ("test", reader(root, download=download, **test)),
        ]
        sources = [file for _, part in parts for file in getattr(part, files)]
        labels = [label for _, part in parts for label in part._labels]
        return _joined(name, parts, sources, labels)

    return read


def _all_flowers(
    own: Published, name: str, reader: Any, root: Path, download: bool, seed: int
) -> ImageDataset:
    splits = [reader(root, split=split, download=download) for split in ("train", "val", "test")]
    pairs = sorted(
        (str(file), label)
        for part in splits
        for file, label in zip(part._image_files, part._labels, strict=True)
    )
    sources, labels = zip(*pairs, strict=True)
    return _joined(name, [("train", part) for part in splits], sources, labels)


def _sun(
    own: Published, name: str, reader: Any, root: Path, download: bool, seed: int
) -> ImageDataset:
    whole = reader(root, download=download)
    # torchvision lists the files as the file system gives them
    pairs = sorted(zip(map(str, whole._image_files), whole._labels, strict=True))
    sources, listed = zip(*pairs, strict=True)
    labels = np.array(listed, np.int64)
    return ImageDataset(
        name=name,
        classes=tuple(whole.classes),
        labels=labels,
        sources=[Path(source) for source in sources],
        official_splits=halves(labels, len(whole.classes), seed),
    )


def _caltech(
    own: Published, name: str, reader: Any, root: Path, download: bool, seed: int
) -> ImageDataset:
    whole = reader(root, download=download)
    folder = Path(whole.root) / "101_ObjectCategories"
    sources = [
        folder / whole.categories[label] / f"image_{number:04d}.jpg"
        for label, number in zip(whole.y, whole.index, strict=True)
    ]
    labels = np.array(whole.y, np.int64)
    return ImageDataset(name, tuple(whole.categories), labels, sources)


def _cifar(
    own: Published, name: str, reader: Any, root: Path, download: bool, seed: int
) -> ImageDataset:
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
        _two_parts("_image_files", {"split": "train"}, {"split": "val"}),
    ),
    "flowers102_all": Published("flowers-102/jpg", 330, 102, 8189, 0, "Flowers102", _all_flowers),
    "pets": Published(
        *("oxford-iiit-pet", 790, 37, 3680, 3669, "OxfordIIITPet"),
        _two_parts("_images", {"split": "trainval"}, {"split": "test"}),
    ),
    "dtd": Published(
        *("dtd/dtd", 600, 47, 1880, 1880, "DTD"),
        _two_parts("_image_files", *({**split, "partition": 1} for split in _BY_SPLIT)),
    ),
    "aircraft": Published(
        *("fgvc-aircraft-2013b", 2700, 30, 3334, 3333, "FGVCAircraft"),
        _two_parts("_image_files", *({**split, **_MAKER} for split in _BY_SPLIT)),
    ),
    "food101": Published(
        *("food-101", 5000, 101, 75750, 25250, "Food101"),
        _two_parts("_image_files", *_BY_SPLIT),
    ),
    "sun397": Published("SUN397", 37000, 397, 54377, 54377, "SUN397", _sun),
    "cifar10": Published("cifar-10-batches-py", 170, 10, 50000, 10000, "CIFAR10", _cifar),
    "cifar100": Published("cifar-100-python", 170, 100, 50000, 10000, "CIFAR100", _cifar),
    "caltech101": Published(
        "caltech101/101_ObjectCategories", 140, 101, 8677, 0, "Caltech101", _caltech
    ),
}
"""Every one by its name in a sweep file."""
