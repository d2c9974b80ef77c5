"""Data sets of the Hugging Face hub, from a cache that the library `datasets` wrote, without a
network."""

import shutil
from pathlib import Path

import numpy as np
import pictures_kit as kit
import pytest
from PIL import Image

from raysel.common.errors import UserError
from raysel.spec.data_choice import HubData
from raysel.spec.task import TaskSpec
from raysel.tasks.datasets import download_note, open_pictures
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import open_task

datasets = pytest.importorskip("datasets", reason='pip install "raysel[hub]"')

FEATURES = {
    "image": datasets.Image(),
    "label": datasets.ClassLabel(names=["newt", "axolotl"]),
    "site": datasets.Value("string"),
}
PARTS = {"train": range(24), "validation": range(100, 104), "test": range(200, 204)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def _row(number: int) -> dict:
    image = Image.fromarray(kit.pixels(number, 8, 8))
    return {"image": image, "label": number % 2, "site": "ab"[number % 3 == 0]}


def _fetched(cache: Path, hub: str, parts=PARTS, subset="default", features=FEATURES, row=_row):
    """What `load_dataset(hub)` leaves in the cache: the library's own Parquet builder writes it,
    and its folder gets the name that it has for a data set of the hub."""
    from datasets.packaged_modules.parquet.parquet import Parquet

    files = {}
    for part, numbers in parts.items():
        rows = [row(number) for number in numbers]
        columns = {name: [one[name] for one in rows] for name in features}
        made = datasets.Dataset.from_dict(columns, datasets.Features(features))
        files[part] = [str(cache / f"{part}.parquet")]
        made.to_parquet(files[part][0])
    owner, name = hub.split("/")
    builder = Parquet(
        cache_dir=str(cache), dataset_name=name, config_name=subset, data_files=files, hash="0a1b"
    )
    builder.download_and_prepare()
    place = cache / f"{owner}___{name}" / subset / "0.0.0" / "0a1b"
    place.parent.mkdir(parents=True)
    shutil.move(builder.cache_dir, place)


def _problem(spec: TaskSpec) -> str:
    opened = open_task(spec)
    (problem,) = opened.problems or (opened.absent,)
    return str(problem)


def test_what_the_library_has_fetched_is_read_with_its_classes_and_parts(cache):
    _fetched(cache, "team/pond-life")
    data = open_pictures(TaskSpec(data="hfds/team/pond-life"))
    assert data.classes == ("newt", "axolotl") and data.name == "pond-life"
    numbers = [number for part in PARTS.values() for number in part]
    assert data.labels.tolist() == [number % 2 for number in numbers]
    assert data.official_splits.tolist() == [part for part in PARTS for _ in PARTS[part]]
    for index, number in enumerate(numbers):
        np.testing.assert_array_equal(np.asarray(data.read(index)), kit.pixels(number, 8, 8))
    assert len({data.fingerprint(index) for index in range(len(data))}) == len(data)


def test_a_task_is_learnt_from_it_with_groups(cache, tmp_path):
    _fetched(cache, "team/pond-life")
    data = {"hub": "team/pond-life", "group_column": ["label", "site"]}
    task = load_task(TaskSpec(data=data, image_size=8, cache=str(tmp_path / "decoded")))
    assert (len(task.train), len(task.validation), len(task.test)) == (24, 4, 4)
    names = ("axolotl, a", "axolotl, b", "newt, a", "newt, b")
    assert task.train.groups.names == names
    expected = [
        f"{('newt', 'axolotl')[n % 2]}, {'ab'[int(n % 3 == 0)]}" for n in task.train.indices
    ]
    assert [names[number] for number in task.train.groups.numbers] == expected


def test_a_picture_that_is_kept_as_a_file_is_that_file(cache, tmp_path):
    kit.picture(tmp_path / "files" / "3.png", 3, 8, 8)

    def row(number):
        path = str(tmp_path / "files" / "3.png")
        return {**_row(number), "image": {"bytes": None, "path": path} if number == 3 else path}

    features = {**FEATURES, "image": datasets.Image(decode=False)}
    _fetched(cache, "team/files", {"train": range(4)}, features=features, row=row)
    data = open_pictures(TaskSpec(data="hfds/team/files"))
    assert data.official_splits is None
    np.testing.assert_array_equal(np.asarray(data.read(3)), kit.pixels(3, 8, 8))


def test_splits_that_are_no_part_are_left_out_and_said(cache):
    _fetched(cache, "team/pond", {"train": range(4), "test": range(4, 6), "unlabeled": range(6, 9)})
    data = open_pictures(TaskSpec(data="hfds/team/pond"))
    assert len(data) == 6
    assert data.notes[-1] == "splits unlabeled of hfds/team/pond are no part and left out"
    _fetched(cache, "team/odd", {"first": range(4), "second": range(4, 6)})
    problem = _problem(TaskSpec(data="hfds/team/odd"))
    assert problem.endswith("hfds/team/odd has the splits first, second and no train")


def test_of_several_subsets_one_is_named(cache):
    _fetched(cache, "team/ponds", {"train": range(4)}, "large")
    _fetched(cache, "team/ponds", {"train": range(6)}, "small")
    problem = _problem(TaskSpec(data="hfds/team/ponds"))
    assert "has several subsets, large, small; write task.data: {hub: team/ponds, sub" in problem
    assert len(open_pictures(TaskSpec(data={"hub": "team/ponds", "subset": "small"}))) == 6
    problem = _problem(TaskSpec(data={"hub": "team/ponds", "subset": "tiny"}))
    assert f"{cache} has large, small of hfds/team/ponds, not tiny; HF_HUB_OFFLINE" in problem


@pytest.mark.parametrize("download", [True, False])
def test_without_a_network_it_is_one_line(cache, download):
    spec = TaskSpec(data="hfds/team/nothing", download=download)
    assert _problem(spec) == (
        f"hfds/team/nothing is not in the cache {cache}; HF_HUB_OFFLINE is set, so that it cannot"
        " be fetched either"
    )
    with pytest.raises(UserError, match="is not here, and HF_HUB_OFFLINE is set; fetch it where"):
        open_pictures(spec, download=True)


def test_it_is_fetched_when_the_file_says_so(cache, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    spec = TaskSpec(data="hfds/team/nothing")
    assert _problem(spec).endswith("; task.download: true fetches it")
    spec = TaskSpec(data="hfds/team/nothing", download=True)
    assert download_note(spec) == (
        f"hfds/team/nothing will be downloaded into {cache} when the sweep starts"
    )
    assert open_task(spec).absent is None

    def unreachable(*args, **options):
        raise ConnectionError("Couldn't reach 'team/nothing' on the Hub (ConnectError)")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(UserError, match="is not here, and no network reaches the hub; fetch it"):
        open_pictures(spec, download=True)


def test_a_folder_of_that_name_is_another_data_set(cache, tmp_path):
    kit.folder(tmp_path / "team" / "pond")
    assert "is not in the cache" in _problem(TaskSpec(data="hfds/team/pond"))
    _fetched(cache, "team/pond", {"train": range(4)})
    assert open_pictures(TaskSpec(data="hfds/team/pond")).classes == ("newt", "axolotl")


def test_without_the_library_its_extra_is_named(monkeypatch):
    monkeypatch.setattr("raysel.tasks.readers.hub.find_spec", lambda name: None)
    problem = _problem(TaskSpec(data="hfds/team/pond", download=True))
    assert 'hfds/team/pond: pip install "raysel[hub]" brings the library' in problem


@pytest.mark.parametrize("wrong", ["hfds/", "hfds/a/b/c", "hfds/../x", "hfds/a b"])
def test_an_id_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="give OWNER/NAME, the end of the data set's address"):
        TaskSpec(data=wrong)


def test_a_hub_id_starts_from_pretrained_weights_and_keeps_copies():
    spec = TaskSpec(data="hfds/team/pond")
    assert spec.data == HubData(hub="team/pond")
    assert (spec.default_weights, spec.duplicates_policy) == ("pretrained", "keep")
