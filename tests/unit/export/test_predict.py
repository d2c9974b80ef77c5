"""predict.py beside a model reads pictures as raysel does, though it has no code of raysel."""

from __future__ import annotations

import ast
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from files_kit import ORIENTATION, scene
from PIL import Image

from raysel.export.timm_layout import COPIED
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_io import read_image
from raysel.tasks.range_scan import scan_ranges
from raysel.tasks.value_range import ValueRanges


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def deep(top: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, top + 1, (30, 40))
    return Image.fromarray(values.astype(np.uint16))


def write_files(folder: Path) -> None:
    """Every kind of file that Pillow and raysel read in two ways, and ordinary ones."""
    picture = scene(1, 47, 33)
    alpha = picture.copy()
    alpha.putalpha(picture.convert("L"))
    for orientation in range(1, 9):
        picture.save(folder / f"turned-{orientation}.jpg", exif=turned(orientation))
        picture.save(folder / f"turned-{orientation}.png", exif=turned(orientation))
        picture.save(folder / f"turned-{orientation}.tif", exif=turned(orientation))
        picture.save(folder / f"turned-{orientation}.webp", exif=turned(orientation))
    for mode in ("L", "1", "P", "CMYK", "YCbCr"):
        picture.convert(mode).save(folder / f"{mode}.tif")
    picture.convert("CMYK").save(folder / "cmyk.jpg", exif=turned(6))
    alpha.save(folder / "alpha.png")
    alpha.convert("LA").save(folder / "grey-alpha.png")
    alpha.save(folder / "alpha.webp")
    picture.convert("P").save(folder / "see-through.gif", transparency=3)
    picture.save(folder / "colour-key.png", transparency=picture.getpixel((3, 3)))
    deep(4095).save(folder / "12bit.png")
    deep(900, 1).save(folder / "dark.tif")
    deep(65535, 2).save(folder / "scaled.pgm")
    real = np.random.default_rng(3).random((20, 30), np.float32) - 0.2
    Image.fromarray(real).save(folder / "real.tif")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return sorted(folder.iterdir())


def predictor(folder: Path, ranges: ValueRanges, channels: int = 3) -> ModuleType:
    """predict.py as it lies beside a model, with the part of the config that it reads."""
    folder.mkdir()
    for source in COPIED:
        (folder / source.name).write_bytes(source.read_bytes())
    reported = {"raysel": {"ranges": asdict(ranges)}}
    reported |= {"pretrained_cfg": {"input_size": [channels, 32, 32]}}
    (folder / "config.json").write_text(json.dumps(reported))
    spec = importlib.util.spec_from_file_location(f"predict_{folder.name}", folder / "predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_file_has_the_pixels_that_training_saw(files: list[Path], tmp_path: Path):
    labels = np.arange(len(files)) % 2
    ranges = scan_ranges(ImageDataset("files", ("a", "b"), labels, files), tmp_path / "cache")
    assert ranges.whole.white == 4095  # the data set has pictures of more than 8 bits
    predict = predictor(tmp_path / "model", ranges)
    for file in files:
        wanted, seen = read_image(file, ranges), predict.open_picture(file)
        np.testing.assert_array_equal(np.asarray(seen), np.asarray(wanted), err_msg=file.name)


def test_a_deep_picture_that_training_never_saw_has_its_own_range(
    files: list[Path], tmp_path: Path
):
    predict = predictor(tmp_path / "model", ValueRanges())
    for file in files:
        wanted, seen = read_image(file), predict.open_picture(file)
        np.testing.assert_array_equal(np.asarray(seen), np.asarray(wanted), err_msg=file.name)


def test_a_model_of_one_channel_gets_grey(files: list[Path], tmp_path: Path):
    predict = predictor(tmp_path / "model", ValueRanges(), channels=1)
    assert {predict.open_picture(file).mode for file in files} == {"L"}


def test_the_files_beside_a_model_know_nothing_of_raysel():
    for path in COPIED:
        modules = []
        tree = ast.parse(path.read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "__package__":
                node.body = []  # runs in raysel alone, where the file is copied from
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules.append(node.module or "")
        assert modules
        assert not [name for name in modules if name.split(".")[0] == "raysel"]
