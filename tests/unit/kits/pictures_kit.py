"""Small pictures in the real file formats and folder layouts."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from raysel.common.torchvision_compat import ensure_importable
from raysel.spec.sweep import TaskSpec
from raysel.tasks.readers.published import PUBLISHED

ensure_importable()  # the tests replace functions of torchvision by their names


def pixels(seed: int, width: int = 12, height: int = 10) -> np.ndarray:
    """Noise [h, w, 3] of its own for each seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photo(width: int, height: int, seed: int) -> Image.Image:
    """Smooth with some noise, as photographs are."""
    generator = np.random.default_rng(seed)
    small = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = generator.integers(-20, 21, smooth.shape)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def picture(path: Path, seed: int = 0, width: int = 12, height: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, width, height)).save(path)
    return path


def folder(
    root: Path,
    classes: tuple[str, ...] = ("cat", "dog"),
    each: int = 10,
    suffix: str = "png",
    first: int = 0,
) -> Path:
    """`root/<class>/00.png`, every picture another; another `first` gives others again."""
    for label, name in enumerate(classes):
        for number in range(each):
            picture(root / name / f"{number:02d}.{suffix}", 1000 * label + first + number)
    return root


def task(data: Any, tmp_path: Path, **values: Any) -> TaskSpec:
    """A task of 8x8 pictures whose store lies below the test's own folder."""
    split = {"train": 4, "validation": 4, "test": 4}
    given = {"image_size": 8, "cache": str(tmp_path / "cache"), "split": split, **values}
    return TaskSpec.model_validate({"data": data, **given})


def counted(
    monkeypatch: pytest.MonkeyPatch, name: str, classes: int, train: int, test: int
) -> None:
    """Expect other counts of a published data set: those of a small copy."""
    small = PUBLISHED[name].__class__(
        **{**PUBLISHED[name].__dict__, "class_count": classes, "train": train, "test": test}
    )
    monkeypatch.setitem(PUBLISHED, name, small)


def without_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small copy has not the checksums of the published files; that files are there is
    still asked."""
    monkeypatch.setattr("torchvision.datasets.utils.check_md5", lambda path, md5: True)


# --- the published layouts --------------------------------------------------------------------


def flowers(root: Path, train: list[int], val: list[int], test: list[int], classes: int) -> None:
    """flowers-102: jpg/image_00001.jpg, imagelabels.mat, setid.mat; numbers begin at 1."""
    base = root / "flowers-102"
    everything = sorted([*train, *val, *test])
    for number in everything:
        picture(base / "jpg" / f"image_{number:05d}.jpg", number)
    labels = np.array([[(number - 1) % classes + 1 for number in range(1, max(everything) + 1)]])
    savemat(base / "imagelabels.mat", {"labels": labels.astype(np.uint8)})
    sets = {"trnid": train, "valid": val, "tstid": test}
    savemat(base / "setid.mat", {key: np.array([ids], np.uint16) for key, ids in sets.items()})


def pets(root: Path, names: tuple[str, ...], each: int) -> None:
    """oxford-iiit-pet: images/Abyssinian_1.jpg, annotations/trainval.txt and test.txt."""
    base = root / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    for part, first in (("trainval", 1), ("test", 1 + each)):
        rows = []
        for label, name in enumerate(names, 1):
            for number in range(first, first + each):
                picture(base / "images" / f"{name}_{number}.jpg", 100 * label + number)
                rows.append(f"{name}_{number} {label} 1 1")
        (base / "annotations" / f"{part}.txt").write_text("\n".join(rows) + "\n")


def dtd(root: Path, names: tuple[str, ...], each: int) -> None:
    """dtd/dtd: images/<class>/<class>_0001.jpg, labels/train1.txt, val1.txt, test1.txt."""
    base = root / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    for place, part in enumerate(("train", "val", "test")):
        rows = []
        for name in names:
            for number in range(place * each, (place + 1) * each):
                file = f"{name}/{name}_{number:04d}.jpg"
                picture(base / "images" / file, number)
                rows.append(file)
        (base / "labels" / f"{part}1.txt").write_text("\n".join(rows) + "\n")


def aircraft(root: Path, makers: tuple[str, ...], each: int) -> None:
    """fgvc-aircraft-2013b: data/images/0000001.jpg, data/images_manufacturer_train.txt …"""
    base = root / "fgvc-aircraft-2013b" / "data"
    number = 0
    (base / "images").mkdir(parents=True)
    (base / "manufacturers.txt").write_text("\n".join(makers) + "\n")
    for part in ("train", "test"):
        rows = []
        for maker in makers:
            for _ in range(each):
                number += 1
                picture(base / "images" / f"{number:07d}.jpg", number)
                rows.append(f"{number:07d} {maker}")
        (base / f"images_manufacturer_{part}.txt").write_text("\n".join(rows) + "\n")


def food(root: Path, names: tuple[str, ...], each: int) -> None:
    """food-101: images/<class>/<number>.jpg, meta/train.json and test.json."""
    base = root / "food-101"
    (base / "meta").mkdir(parents=True)
    for place, part in enumerate(("train", "test")):
        listed = {
            name: [f"{name}/{1000 + number}" for number in range(place * each, (place + 1) * each)]
            for name in names
        }
        for number, file in enumerate(file for files in listed.values() for file in files):
            picture(base / "images" / f"{file}.jpg", number)
        (base / "meta" / f"{part}.json").write_text(json.dumps(listed))


def sun(root: Path, names: tuple[str, ...], each: int) -> None:
    """SUN397: ClassName.txt with /a/abbey, a/abbey/sun_aaaa.jpg."""
    base = root / "SUN397"
    base.mkdir(parents=True)
    (base / "ClassName.txt").write_text("".join(f"/{name[0]}/{name}\n" for name in names))
    for name in names:
        for number in range(each):
            picture(base / name[0] / name / f"sun_{name[0]}{number:04d}.jpg", number)


def caltech(root: Path, names: tuple[str, ...], each: int) -> None:
    """caltech101: 101_ObjectCategories/<class>/image_0001.jpg, with BACKGROUND_Google."""
    base = root / "caltech101" / "101_ObjectCategories"
    for name in (*names, "BACKGROUND_Google"):
        for number in range(1, each + 1):
            picture(base / name / f"image_{number:04d}.jpg", number)


def cifar10(root: Path, each_batch: int = 20) -> None:
    """cifar-10-batches-py: five pickled batches, a test batch, batches.meta."""
    base = root / "cifar-10-batches-py"
    base.mkdir(parents=True)
    names = [f"class{number}" for number in range(10)]
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    for place, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        (base / name).write_bytes(pickle.dumps(_batch(place, each_batch, "labels", 10)))


def cifar100(root: Path, train: int, test: int) -> None:
    """cifar-100-python: the pickles train, test and meta, with fine labels."""
    base = root / "cifar-100-python"
    base.mkdir(parents=True)
    names = [f"class{number:02d}" for number in range(100)]
    (base / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    for place, (name, count) in enumerate((("train", train), ("test", test))):
        (base / name).write_bytes(pickle.dumps(_batch(place, count, "fine_labels", 100)))


def _batch(seed: int, count: int, key: str, classes: int) -> dict[str, Any]:
    data = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": data, key: [number % classes for number in range(count)]}


def cifar10c(root: Path, corruptions: tuple[str, ...], each: int = 40) -> None:
    """CIFAR-10-C: <corruption>.npy of five severities, labels.npy."""
    base = root / "CIFAR-10-C"
    base.mkdir(parents=True)
    for place, name in enumerate(corruptions):
        shape = (5 * each, 32, 32, 3)
        images = np.random.default_rng(place).integers(0, 256, shape, dtype=np.uint8)
        np.save(base / f"{name}.npy", images)
    np.save(base / "labels.npy", np.tile(np.arange(each) % 10, 5).astype(np.uint8))
