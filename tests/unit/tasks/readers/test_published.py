"""torchvision's data sets in their real layouts; counts are those of the papers' tables."""

from pathlib import Path

import numpy as np
import pictures_kit as kit
import pytest

from raysel.common.errors import UserError
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.readers.published import PUBLISHED


def _open(name: str, root: Path, seed: int = 0) -> ImageDataset:
    return PUBLISHED[name].open(name, root, download=False, seed=seed)


def _reported(name: str, root: Path) -> str:
    with pytest.raises(UserError) as caught:
        _open(name, root)
    (problem,) = caught.value.problems
    assert problem.path == "task.data"
    return problem.message


def _part(pictures: ImageDataset, pool: str) -> list[str]:
    """File names of a part."""
    assert pictures.official_splits is not None
    return [
        p.stem for p, q in zip(pictures.sources, pictures.official_splits, strict=True) if q == pool
    ]


def test_the_counts_are_those_of_table_1_of_the_bvg_ls_paper():
    table = {
        "flowers102": (102, 1020, 1020),
        "pets": (37, 3680, 3669),
        "dtd": (47, 1880, 1880),
        "aircraft": (30, 3334, 3333),
        "food101": (101, 75750, 25250),
        "sun397": (397, 54377, 54377),
        "cifar100": (100, 50000, 10000),
    }
    known = {name: (p.class_count, p.train, p.test) for name, p in PUBLISHED.items()}
    assert table.items() <= known.items()


def test_flowers_are_tested_on_the_validation_split_as_the_paper_counts(tmp_path, monkeypatch):
    kit.without_checksums(monkeypatch)
    kit.counted(monkeypatch, "flowers102", 102, 102, 102)
    train, val = list(range(1, 103)), list(range(103, 205))
    kit.flowers(tmp_path, train, val, [205], classes=102)
    pictures = _open("flowers102", tmp_path)
    assert _part(pictures, "train") == [f"image_{n:05d}" for n in train]
    assert _part(pictures, "test") == [f"image_{n:05d}" for n in val]
    assert pictures.labels[:3].tolist() == [0, 1, 2]  # the file counts from 1
    assert pictures.classes[0] == "pink primrose"


def test_all_flowers_are_one_pool_for_the_block_wise_papers_split(tmp_path, monkeypatch):
    kit.without_checksums(monkeypatch)
    kit.counted(monkeypatch, "flowers102_all", 102, 206, 0)
    kit.flowers(tmp_path, list(range(1, 103)), list(range(103, 205)), [205, 206], classes=102)
    pictures = _open("flowers102_all", tmp_path)
    assert pictures.official_splits is None
    assert [path.stem for path in pictures.sources] == [f"image_{n:05d}" for n in range(1, 207)]


def test_pets(tmp_path, monkeypatch):
    kit.counted(monkeypatch, "pets", 2, 6, 6)
    kit.pets(tmp_path, ("Abyssinian", "american_bulldog"), each=3)
    pictures = _open("pets", tmp_path)
    assert pictures.classes == ("Abyssinian", "American Bulldog")
    assert _part(pictures, "test")[-1] == "american_bulldog_6"
    assert pictures.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2


def test_textures_by_the_first_partition_without_its_validation_part(tmp_path, monkeypatch):
    kit.counted(monkeypatch, "dtd", 2, 4, 4)
    kit.dtd(tmp_path, ("banded", "woven"), each=2)
    pictures = _open("dtd", tmp_path)
    assert _part(pictures, "train") == ["banded_0000", "banded_0001", "woven_0000", "woven_0001"]
    assert _part(pictures, "test") == ["banded_0004", "banded_0005", "woven_0004", "woven_0005"]


def test_aircraft_by_manufacturer(tmp_path, monkeypatch):
    kit.counted(monkeypatch, "aircraft", 2, 4, 4)
    kit.aircraft(tmp_path, ("Airbus", "McDonnell Douglas"), each=2)
    pictures = _open("aircraft", tmp_path)
    assert pictures.classes == ("Airbus", "McDonnell Douglas")
    assert _part(pictures, "train") == ["0000001", "0000002", "0000003", "0000004"]
    assert pictures.labels.tolist() == [0, 0, 1, 1] * 2


def test_food(tmp_path, monkeypatch):
    kit.counted(monkeypatch, "food101", 2, 4, 4)
    kit.food(tmp_path, ("apple_pie", "waffles"), each=2)
    pictures = _open("food101", tmp_path)
    assert pictures.classes == ("apple_pie", "waffles")
    assert _part(pictures, "test") == ["1002", "1003"] * 2


def test_sun_is_halved_by_class_and_by_seed(tmp_path, monkeypatch):
    kit.counted(monkeypatch, "sun397", 2, 10, 10)
    kit.sun(tmp_path, ("abbey", "zoo"), each=10)
    pictures = _open("sun397", tmp_path)
    assert list(pictures.sources) == sorted(pictures.sources)
    assert pictures.official_splits is not None
    for label in (0, 1):
        assert (pictures.official_splits[pictures.labels == label] == "train").sum() == 5
    again, other = _open("sun397", tmp_path), _open("sun397", tmp_path, seed=1)
    assert again.official_splits is not None
    assert other.official_splits is not None
    np.testing.assert_array_equal(again.official_splits, pictures.official_splits)
    assert (other.official_splits != pictures.official_splits).any()


def test_caltech_without_its_background_class(tmp_path, monkeypatch):
    kit.counted(monkeypatch, "caltech101", 2, 6, 0)
    kit.caltech(tmp_path, ("accordion", "airplanes"), each=3)
    pictures = _open("caltech101", tmp_path)
    assert pictures.classes == ("accordion", "airplanes")
    assert pictures.official_splits is None
    assert all(path.is_file() for path in pictures.sources)


def test_cifar10_is_read_from_its_batches(tmp_path, monkeypatch):
    kit.without_checksums(monkeypatch)
    kit.counted(monkeypatch, "cifar10", 10, 100, 20)
    kit.cifar10(tmp_path, each_batch=20)
    pictures = _open("cifar10", tmp_path)
    first = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)[0]
    np.testing.assert_array_equal(
        np.asarray(pictures.read(0)), first.reshape(3, 32, 32).transpose(1, 2, 0)
    )
    assert pictures.official_splits is not None
    assert pictures.official_splits.tolist() == ["train"] * 100 + ["test"] * 20


def test_cifar100_by_its_fine_labels(tmp_path, monkeypatch):
    kit.without_checksums(monkeypatch)
    kit.counted(monkeypatch, "cifar100", 100, 200, 100)
    kit.cifar100(tmp_path, train=200, test=100)
    pictures = _open("cifar100", tmp_path)
    assert len(pictures.classes) == 100
    assert pictures.labels[150] == 50


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_data_set_that_is_not_there_is_one_line_and_leaves_nothing(tmp_path, name):
    reported = _reported(name, tmp_path)
    expected = PUBLISHED[name].expected(tmp_path)
    assert reported.startswith(f"{name} is not in {tmp_path}/ (expected {expected}). Download it (")
    assert reported.endswith("): --set task.download=true")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_is_not_whole_is_reported_with_both_counts(tmp_path, monkeypatch):
    kit.counted(monkeypatch, "pets", 2, 7, 6)
    kit.pets(tmp_path, ("Abyssinian", "Bengal"), each=3)
    assert _reported("pets", tmp_path) == (
        "pets: 6 training pictures, expected 7; the copy is incomplete"
    )


def test_a_copy_without_an_annotation_file_is_reported(tmp_path):
    kit.pets(tmp_path, ("Abyssinian", "Bengal"), each=1)
    (tmp_path / "oxford-iiit-pet" / "annotations" / "test.txt").unlink()
    reported = _reported("pets", tmp_path)
    assert reported.startswith(f"pets in {tmp_path / 'oxford-iiit-pet'} cannot be read: ")
    assert "test.txt" in reported


def test_a_damaged_checksum_is_reported(tmp_path):
    kit.cifar10(tmp_path)  # not the published bytes
    way_on = "cannot be read: Dataset not found or corrupted; remove it and write --set task"
    assert way_on in _reported("cifar10", tmp_path)


def test_a_label_beyond_the_classes_is_reported(tmp_path, monkeypatch):
    kit.counted(monkeypatch, "pets", 2, 4, 2)
    kit.pets(tmp_path, ("Abyssinian", "Bengal"), each=1)
    annotations = tmp_path / "oxford-iiit-pet" / "annotations" / "trainval.txt"
    annotations.write_text(annotations.read_text().replace("Bengal_1 2", "Bengal_1 9"))
    reported = _reported("pets", tmp_path)
    assert "label 8 of " in reported
    assert reported.endswith("is outside 0 .. 1 (2 classes)")


def test_nothing_is_downloaded_unless_the_user_says_so(tmp_path, monkeypatch):
    kit.counted(monkeypatch, "pets", 2, 6, 6)
    asked = []

    def download(url, download_root, **options):
        asked.append(url)
        kit.pets(Path(download_root).parent, ("Abyssinian", "Bengal"), each=3)
        Path(download_root, "annotations").mkdir(exist_ok=True)

    module = "torchvision.datasets.oxford_iiit_pet.download_and_extract_archive"
    monkeypatch.setattr(module, lambda *a, **o: asked or download(*a, **o))
    _reported("pets", tmp_path)
    assert asked == []
    pictures = PUBLISHED["pets"].open("pets", tmp_path, download=True, seed=0)
    assert len(pictures) == 12
    assert len(asked) == 1
