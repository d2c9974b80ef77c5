"""Data that are wrong: one line, exit code 2, and no trial, no sweep, no Ray."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pictures_kit as kit
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysel.cli.main import main

SWEEP = """
name: photos
task:
  data: {folder: photos}
  cache: cache
  image_size: 16
  source: 12
  split: {train: 12, validation: 6, test: 6}
model: {name: test_resnet, weights: source}
strategies: {full: , linear_probe: }
training: {epochs: 1}
search: {num_trials: 2}
storage: runs
"""

Damage = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep file beside 36 photographs of three classes, sound until a test damages them."""
    monkeypatch.chdir(tmp_path)
    kit.folder(tmp_path / "photos", ("bird", "cat", "dog"), each=12)
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *changes: str) -> str:
    """The one line with which `raysel run` refuses."""
    setting = [word for change in changes for word in ("--set", change)]
    assert main(["run", "sweep.yaml", *setting]) == 2
    err = capsys.readouterr().err
    assert not Path("runs", "photos").exists()
    (line,) = err.splitlines()
    assert line.startswith("error  ")
    return line.removeprefix("error  ")


def empty_a_class(photos: Path) -> None:
    for file in (photos / "cat").iterdir():
        file.unlink()


def twin(photos: Path) -> None:
    """A folder `Cat` beside `cat`."""
    if (photos / "CAT").exists():
        pytest.skip("the file system does not tell upper from lower case")
    kit.folder(photos, ("Cat",), each=12)


def take_away(photos: Path) -> None:
    photos.rename(photos.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (take_away, "task.data: there is no folder photos"),
        (empty_a_class, "task.data: class folder photos/cat is empty"),
        (twin, 'task.data: classes "Cat" and "cat" '),
    ],
)
def test_a_folder_that_is_wrong(
    folder: Path, damage: Damage, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder / "photos")
    assert refused(capsys).startswith(line)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (["task.data=pets"], "task.data: pets is not in data/ (expected data/oxford-iiit-pet)."),
        (["task.data=cifar10c", "task.shift.kind=fog"], "task.data: cifar10c is not in data/ "),
        (["task.data=living17"], "task.data: living17 is made of ImageNet's folders; of 102 "),
        (["task.data={csv: labels.csv}"], "task.data: there is no file labels.csv"),
        (
            ["task.split={train: 20, validation: 20, test: 6}"],
            "task.split: train 20 + validation 20 + test 6 = 46 examples; the data set has 36",
        ),
        (
            ["task.split={shots: 11, validation: 3, test: 3}"],
            "task.split: train 33 + validation 3 + ",
        ),
        (["training.shots=9"], "training.shots: 9 examples a class; the training part has 4 of "),
    ],
)
def test_data_that_are_not_there_or_too_few(
    folder: Path, changes: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *changes).startswith(line)


@pytest.mark.parametrize(
    ("label", "classes", "line"),
    [
        ("3", "[bird, cat, dog]", "line 37: label 3 is outside 0 .. 2"),
        ("-1", "[bird, cat, dog]", "line 37: label -1 is outside 0 .. 2"),
        ("dgo", "[bird, cat, dog]", "none of the classes"),
    ],
)
def test_a_label_outside_the_range(
    folder: Path, label: str, classes: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"photos/bird/{n:02d}.png,{n % 3}" for n in range(12)]
    rows += [f"photos/cat/{n:02d}.png,{n % 3}" for n in range(12)]
    rows += [f"photos/dog/{n:02d}.png,{n % 3}" for n in range(11)]
    table = "\n".join(["file,label", *rows, f"photos/dog/11.png,{label}"])
    Path("labels.csv").write_text(table, encoding="utf-8")
    reported = refused(capsys, f"task.data={{csv: labels.csv, classes: {classes}}}")
    assert reported.startswith("task.data: labels.csv") and line in reported


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut_off(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def no_image(file: Path) -> None:
    file.write_text("a page of HTML that was downloaded in its place", encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (empty, "is empty (0 bytes)"),
        (cut_off, "cannot be read: "),
        (no_image, "is not an image that Pillow knows"),
    ],
)
def test_a_bad_picture_too_many_is_reported_with_its_path(
    folder: Path, damage: Damage, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "photos" / "dog" / "05.png"
    damage(file)
    # all pictures are in some part: the source takes what the target leaves
    reported = refused(capsys, "task.max_unreadable_fraction=0")
    assert reported.startswith("task.data: 1 of 36 pictures cannot be read (2.8%, more than")
    assert f"photos/dog/05.png {reason}" in reported


def cmyk(picture: Image.Image) -> tuple[Image.Image, str]:
    return picture.convert("CMYK"), "jpg"


def sixteen_bit(picture: Image.Image) -> tuple[Image.Image, str]:
    return picture.convert("L").convert("I;16"), "png"


def palette(picture: Image.Image) -> tuple[Image.Image, str]:
    return picture.convert("P"), "gif"


def alpha(picture: Image.Image) -> tuple[Image.Image, str]:
    picture.putalpha(128)
    return picture, "png"


def test_an_unusual_picture_is_no_bad_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not one may be bad here, and all of a class are of one kind, or of two."""
    kinds = {"bird": [cmyk], "cat": [sixteen_bit], "dog": [palette, alpha]}
    for name, ways in kinds.items():
        for number, file in enumerate(sorted((folder / "photos" / name).iterdir())):
            with Image.open(file) as opened:
                picture, suffix = ways[number % len(ways)](opened.convert("RGB"))
            file.unlink()
            picture.save(file.with_suffix(f".{suffix}"))
    setting = ["--set", "task.max_unreadable_fraction=0", "--steps", "1"]
    assert main(["finetune", "sweep.yaml", *setting]) == 0
    assert "cannot be read" not in capsys.readouterr().err


def parquet_without_pictures(folder: Path) -> str:
    pq.write_table(pa.table({"file": ["a.png", "b.png"], "label": [0, 1]}), "x.parquet")
    return "x.parquet"


def tar_of_two_layouts(folder: Path) -> str:
    sample = next((folder / "photos").rglob("*.png"))
    (folder / "0.cls").write_text("0")
    with tarfile.open("x.tar", "w") as tar:
        tar.add(sample, "0.png")
        tar.add("0.cls", "0.cls")
        tar.add(sample, "cat/1.png")
    return "x.tar"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (parquet_without_pictures, "task.data: x.parquet has no column of pictures (their bytes"),
        (
            tar_of_two_layouts,
            "task.data: x.tar: holds samples (a picture with a .cls or .json",
        ),
        (lambda folder: "hfds/team/pond", "task.data: hfds/team/pond is not in the cache "),
        (lambda folder: "tfds/pond", "task.data: tfds/pond is not below "),
        (
            lambda folder: "hfds/a/b/c",
            'task.data.hub: "a/b/c" is not accepted: give OWNER/NAME, the end of',
        ),
    ],
)
@pytest.mark.parametrize("download", ["false", "true"])
def test_data_that_another_library_keeps(
    folder: Path,
    data: Callable[[Path], str],
    line: str,
    download: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a network; also where the file says that data may be fetched."""
    datasets = pytest.importorskip("datasets", reason='pip install "raysel[hub]"')
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "hub")
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
    text = SWEEP.replace("{folder: photos}", f"{data(folder)}\n  download: {download}")
    Path("sweep.yaml").write_text(text, encoding="utf-8")
    said = refused(capsys)
    assert said.startswith(line), said
