import pickle
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pictures_kit as kit
import pytest
from PIL import Image

from raysel.common.errors import UserError
from raysel.tasks.cached_examples import CachedExamples, CacheMismatch
from raysel.tasks.data import Examples, Task, TestSplitSealed
from raysel.tasks.datasets import open_pictures
from raysel.tasks.decoding import cache_folder
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.load_task import load_task
from raysel.tasks.model_input import ModelInput
from raysel.tasks.opened_task import absolute, open_task

PARTS = ("source_train", "source_validation", "train", "validation")


def _parts(task: Task) -> dict[str, CachedExamples]:
    parts = {name: getattr(task, name) for name in PARTS}
    with task.test.opened() as test:
        parts["test"] = test
    assert all(isinstance(part, CachedExamples) for part in parts.values())
    return parts


def _all(part: CachedExamples) -> np.ndarray:
    return part.centres(np.arange(len(part)))


def _reported(spec) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_task(spec)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def pets(tmp_path) -> Path:
    """20 pictures of cats and 20 of dogs, 8x8."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(20):
            kit.picture(tmp_path / "pets" / name / f"{number:02d}.png", 100 * label + number, 8, 8)
    return tmp_path / "pets"


def test_every_part_holds_its_own_pictures_with_their_labels(pets, tmp_path):
    task = load_task(kit.task({"folder": str(pets)}, tmp_path))
    seen = []
    for name, part in _parts(task).items():
        for image, label, index in zip(_all(part), part.labels, part.indices, strict=True):
            assert label == index // 20
            seed = 100 * label + index % 20
            np.testing.assert_array_equal(image, kit.pixels(seed, 8, 8))
            seen.append(int(index))
        assert task.record["parts"][name] == part.indices.tolist()
    assert sorted(seen) == list(range(40))
    assert (task.name, task.classes, task.channels) == ("pets", ("cat", "dog"), 3)
    assert task.image_size == (8, 8)


def test_the_test_part_is_sealed_and_a_copy_too(pets, tmp_path):
    task = load_task(kit.task({"folder": str(pets)}, tmp_path))
    for held in (task, pickle.loads(pickle.dumps(task))):
        with pytest.raises(TestSplitSealed):
            _ = held.test.examples


def test_nothing_is_decoded_a_second_time(pets, tmp_path):
    spec = kit.task({"folder": str(pets)}, tmp_path)
    first = load_task(spec)
    for file in pets.rglob("*.png"):  # same name, size and time: only a read would notice
        facts = file.stat()
        file.write_bytes(bytes(facts.st_size))
        import os

        os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    again = load_task(spec)
    for name, part in _parts(again).items():
        np.testing.assert_array_equal(_all(part), _all(_parts(first)[name]))


def test_a_changed_file_is_decoded_again(pets, tmp_path):
    spec = kit.task({"folder": str(pets)}, tmp_path)
    before = load_task(spec).train
    assert isinstance(before, CachedExamples)
    changed = sorted(pets.rglob("*.png"))[before.indices[0]]
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(changed)
    after = load_task(spec).train
    assert isinstance(after, CachedExamples)
    assert _all(before)[0].any()
    assert not _all(after)[0].any()
    np.testing.assert_array_equal(_all(after)[1:], _all(before)[1:])


def test_pixels_do_not_travel_with_the_examples(pets, tmp_path):
    train = load_task(kit.task({"folder": str(pets)}, tmp_path)).train
    assert isinstance(train, CachedExamples)
    _all(train)  # opened
    copy = pickle.loads(pickle.dumps(train))
    assert "opened" not in copy.__dict__
    np.testing.assert_array_equal(_all(copy), _all(train))


def test_a_node_without_the_store_builds_its_own(pets, tmp_path):
    spec = kit.task({"folder": str(pets)}, tmp_path, shift={"kind": "gaussian_noise"})
    train = load_task(spec).train
    assert isinstance(train, CachedExamples)
    wanted = _all(train)
    copy = pickle.loads(pickle.dumps(train))
    shutil.rmtree(tmp_path / "cache")
    np.testing.assert_array_equal(_all(copy), wanted)


def test_a_node_with_other_pictures_is_found_out(pets, tmp_path):
    train = load_task(kit.task({"folder": str(pets)}, tmp_path)).train
    copy = pickle.loads(pickle.dumps(train))
    shutil.rmtree(tmp_path / "cache")
    for file in pets.rglob("*.png"):
        kit.picture(file, 999, 8, 8)
    with pytest.raises(CacheMismatch):
        _ = copy.opened


def test_a_shift_changes_the_target_and_not_the_source(pets, tmp_path):
    plain = _parts(load_task(kit.task({"folder": str(pets)}, tmp_path)))
    spec = kit.task({"folder": str(pets)}, tmp_path, shift={"kind": "inversion"})
    shifted = _parts(load_task(spec))
    for name in ("source_train", "source_validation"):
        np.testing.assert_array_equal(_all(shifted[name]), _all(plain[name]))
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(_all(shifted[name]), 255 - _all(plain[name]))


def test_noise_follows_the_seed_and_the_picture_and_not_the_part(pets, tmp_path):
    def by_index(**split) -> dict[int, bytes]:
        sizes = {"train": 4, "validation": 4, "test": 4, **split}
        spec = kit.task(
            {"folder": str(pets)}, tmp_path, shift={"kind": "gaussian_noise"}, split=sizes
        )
        parts = _parts(load_task(spec))
        return {
            int(index): image.tobytes()
            for name in ("train", "validation", "test")
            for index, image in zip(parts[name].indices, _all(parts[name]), strict=True)
        }

    few, many = by_index(), by_index(train=10, test=6)
    common = few.keys() & many.keys()
    assert len(common) >= 4
    assert all(few[index] == many[index] for index in common)
    other = by_index(seed=1, train=10)
    common = many.keys() & other.keys()
    assert not any(many[index] == other[index] for index in common)


@pytest.mark.parametrize(("size", "width", "height"), [(96, 32, 32), (80, 200, 100)])
def test_all_parts_are_shifted_alike_though_training_keeps_whole_pictures(
    tmp_path, size, width, height
):
    grey = Image.fromarray(np.full((height, width, 3), 128, np.uint8))
    for name in ("cat", "dog"):
        (tmp_path / "grey" / name).mkdir(parents=True)
        for number in range(6):
            grey.save(tmp_path / "grey" / name / f"{number}.png")
    spec = kit.task(
        {"folder": str(tmp_path / "grey")},
        tmp_path,
        image_size=size,
        augmentation="random_resized_crop",
        shift={"kind": "gaussian_noise", "severity": 5},
        split={"train": 2, "validation": 2, "test": 2},
        duplicates="keep",
    )
    task = load_task(spec)
    assert isinstance(task.train, CachedExamples)
    noise = {name: float(_all(part).std()) for name, part in _parts(task).items()}
    assert noise["train"] == pytest.approx(noise["validation"], rel=0.05)
    assert noise["test"] == pytest.approx(noise["validation"], rel=0.05)
    assert noise["source_train"] == 0
    assert task.train.opened[0].std() == pytest.approx(noise["train"], rel=0.05)  # as it is kept


def test_two_pictures_that_are_equal_get_noise_of_their_own(tmp_path):
    pets = tmp_path / "pets"
    for name in ("cat", "dog"):
        for number in range(10):
            kit.picture(pets / name / f"{number}.png", seed=0, width=8, height=8)
    shift = {"kind": "gaussian_noise"}
    spec = kit.task({"folder": str(pets)}, tmp_path, shift=shift, duplicates="keep")
    images = _all(_parts(load_task(spec))["train"])
    assert len({image.tobytes() for image in images}) == len(images)


def test_a_label_shift_changes_the_targets_labels(pets, tmp_path):
    spec = kit.task({"folder": str(pets)}, tmp_path, shift={"kind": "label_flip"})
    for name, part in _parts(load_task(spec)).items():
        flipped = name in ("train", "validation", "test")
        wanted = part.indices // 20
        np.testing.assert_array_equal(part.labels, 1 - wanted if flipped else wanted)


def test_only_training_parts_are_augmented(pets, tmp_path):
    spec = kit.task({"folder": str(pets)}, tmp_path, augmentation="random_resized_crop")
    parts = _parts(load_task(spec))
    assert {name: part.augmentation for name, part in parts.items()} == {
        **{"source_train": "random_resized_crop", "train": "random_resized_crop"},
        **{"source_validation": "none", "validation": "none", "test": "none"},
    }


def test_the_source_is_not_decoded_where_it_is_not_needed(pets, tmp_path):
    spec = kit.task({"folder": str(pets)}, tmp_path)
    task = load_task(spec, with_source=False)
    assert task.source_train is None
    assert len(task.record["parts"]["source_train"]) > 0
    assert len(list((tmp_path / "cache").glob("*/pixels.bin"))) == 3


@pytest.mark.parametrize(
    ("preprocess", "mean"),
    [(None, (0.1, 0.2, 0.3)), ("model", (0.1, 0.2, 0.3)), ("unit", (0,) * 3)],
)
def test_pictures_are_standardised_as_asked(pets, tmp_path, preprocess, mean):
    model = ModelInput(size=8, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    task = load_task(kit.task({"folder": str(pets)}, tmp_path, preprocess=preprocess), model)
    assert task.mean == mean
    assert task.std == ((1, 1, 1) if preprocess == "unit" else (0.4, 0.5, 0.6))


def test_the_datas_own_statistics_are_those_of_the_source_training_part(pets, tmp_path):
    task = load_task(kit.task({"folder": str(pets)}, tmp_path, preprocess="data"))
    pixels = _all(_parts(task)["source_train"]).reshape(-1, 3) / 255
    assert task.mean == pytest.approx(pixels.mean(axis=0))
    assert task.std == pytest.approx(pixels.std(axis=0))


def test_the_size_is_the_models_or_the_users(pets, tmp_path):
    spec = kit.task({"folder": str(pets)}, tmp_path)
    own = spec.model_copy(update={"image_size": None})
    assert open_task(spec).shape(ModelInput(size=20)) == (3, (8, 8), 2)
    assert open_task(own).shape(ModelInput(size=20)) == (3, (20, 20), 2)
    assert load_task(own, ModelInput(size=20)).image_size == (20, 20)


def test_official_parts_are_kept_apart(tmp_path):
    for part, each, first in (("train", 12, 0), ("test", 5, 100)):
        kit.folder(tmp_path / "pets" / part, each=each, first=first)
    sizes = {"train": "all", "validation": 0.25, "test": "all"}
    spec = kit.task({"folder": str(tmp_path / "pets")}, tmp_path, split=sizes)
    parts = load_task(spec).record["parts"]
    assert len(parts["validation"]) == 6  # a quarter of 24
    assert len(parts["train"]) == 18
    assert parts["test"] == list(range(24, 34))


# --- bad pictures ------------------------------------------------------------------------------


def _spoil(pets: Path, count: int) -> list[Path]:
    files = sorted(pets.rglob("*.png"))[::7][:count]
    for number, file in enumerate(files):
        content = file.read_bytes()
        file.write_bytes([b"", b"no image", content[:40]][number % 3])
    return files


def test_a_few_bad_pictures_are_left_out_and_named(pets, tmp_path):
    spoiled = _spoil(pets, 3)
    task = load_task(kit.task({"folder": str(pets)}, tmp_path, max_unreadable_fraction=0.1))
    assert {bad["file"] for bad in task.record["bad_images"]} == set(map(str, spoiled))
    assert sum(map(len, _parts(task).values())) == 37
    (note,) = task.notes
    assert note.startswith("3 of 40 pictures cannot be read and are left out")
    assert f"{spoiled[0]} is empty (0 bytes)" in note
    assert "split.json" not in note  # finetune and validate write none
    for part in _parts(task).values():
        for image, index in zip(_all(part), part.indices, strict=True):
            seed = 100 * (index // 20) + index % 20
            np.testing.assert_array_equal(image, kit.pixels(seed, 8, 8))


def test_too_many_bad_pictures_stop_before_training_with_their_paths(pets, tmp_path):
    spoiled = _spoil(pets, 3)
    (line,) = _reported(kit.task({"folder": str(pets)}, tmp_path, max_unreadable_fraction=0.05))
    assert line.startswith(
        "task.data: 3 of 40 pictures cannot be read (7.5%, more than"
        " task.max_unreadable_fraction: 0.05): "
    )
    for file in spoiled:
        assert str(file) in line


def test_one_bad_picture_in_fifty_is_more_than_the_default_allows(pets, tmp_path):
    _spoil(pets, 1)
    assert "1 of 40 pictures" in _reported(kit.task({"folder": str(pets)}, tmp_path))[0]


def test_a_class_that_no_picture_is_left_of_stops(tmp_path):
    pets = kit.folder(tmp_path / "pets", each=40)
    for file in (pets / "dog").glob("*.png"):
        file.write_bytes(b"")
    (line,) = _reported(kit.task({"folder": str(pets)}, tmp_path, max_unreadable_fraction=0.9))
    assert line.startswith('task.split.train: no picture of class "dog" can be read: ')


def test_a_table_whose_file_is_missing_names_it(pets, tmp_path):
    table = pets / "labels.csv"
    rows = [f"{c}/{n:02d}.png,{c}" for c in ("cat", "dog") for n in range(21)]
    table.write_text("\n".join(["file,label", *rows]))
    (line,) = _reported(
        kit.task({"csv": str(table)}, tmp_path, split={"train": 14, "validation": 14, "test": 14})
    )
    assert f"{pets / 'cat' / '20.png'} is missing" in line


def test_a_tables_files_may_lie_below_another_folder(pets, tmp_path):
    (tmp_path / "lists").mkdir()
    table = tmp_path / "lists" / "labels.csv"
    rows = [f"{c}/{n:02d}.png,{c}" for c in ("cat", "dog") for n in range(20)]
    table.write_text("\n".join(["file,label", *rows]))
    spec = kit.task({"csv": str(table), "root": str(pets)}, tmp_path)
    assert open_pictures(spec).sources[0] == pets / "cat" / "00.png"
    assert absolute(spec) == spec.model_copy(update={"root": str(Path(spec.root).absolute())})


# --- what is reported before anything is decoded ------------------------------------------------


def test_missing_data_are_a_note_for_validation_and_a_refusal_for_a_run(tmp_path):
    (tmp_path / "pets").mkdir()
    spec = kit.task({"folder": str(tmp_path / "pest")}, tmp_path)
    line = f'there is no folder {tmp_path / "pest"}; did you mean "{tmp_path / "pets"}"?'
    assert open_task(spec).problems == ()
    assert open_task(spec).absent == line
    assert open_task(spec).has_source()
    assert open_task(spec).shape().class_count == 10
    assert _reported(spec) == [f"task.data: {line}"]
    assert not (tmp_path / "cache").exists()


def test_a_published_data_set_that_is_not_there(tmp_path):
    spec = kit.task("pets", tmp_path, root=str(tmp_path / "data"))
    assert open_task(spec).problems == ()
    assert open_task(spec).shape() == (3, (8, 8), 37)
    note = open_task(spec).absent
    assert note.startswith(f"pets is not in {tmp_path / 'data'}/ (expected ")
    assert note.endswith("): --set task.download=true")
    assert _reported(spec) == [f"task.data: {note}"]
    fetch = spec.model_copy(update={"download": True})
    assert open_task(fetch).absent is None
    assert open_task(fetch).notes() == [
        f"pets will be downloaded into {tmp_path / 'data'}/ (790 MB) when the sweep starts"
    ]


def test_a_split_larger_than_the_data_is_reported_before_anything_is_decoded(pets, tmp_path):
    spec = kit.task(
        {"folder": str(pets)}, tmp_path, split={"train": 30, "validation": 8, "test": 8}
    )
    wanted = "task.split: train 30 + validation 8 + test 8 = 46 examples; the data set has 40. "
    (problem,) = open_task(spec).problems
    assert str(problem).startswith(wanted)
    assert _reported(spec) == [str(problem)]
    assert not (tmp_path / "cache").exists()


def test_an_empty_class_is_reported_before_anything_is_decoded(pets, tmp_path):
    (pets / "eel").mkdir()
    spec = kit.task({"folder": str(pets)}, tmp_path)
    (problem,) = open_task(spec).problems
    assert str(problem) == f"task.data: class folder {pets / 'eel'} is empty"
    assert _reported(spec) == [str(problem)]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"image_size": 8}, "task.image_size: digits is embedded and stays as it is"),
        ({"augmentation": "flip"}, "task.augmentation: digits is embedded and stays as it is"),
        ({"auto_augment": "rand_augment"}, "task.auto_augment: digits is embedded and stays as"),
        ({"preprocess": "model"}, "task.preprocess: digits is embedded and stays as it is"),
    ],
)
def test_what_is_said_of_pictures_is_refused_for_embedded_data(tmp_path, values, line):
    spec = kit.task("digits", tmp_path, image_size=None, split={})
    spec = spec.model_validate({**spec.model_dump(), **values})
    (problem,) = open_task(spec).problems
    assert str(problem).startswith(line)


def test_embedded_data_may_be_left_unstandardised(tmp_path):
    task = load_task(kit.task("digits", tmp_path, image_size=None, split={}, preprocess="unit"))
    assert (task.mean, task.std) == ((0.0,), (1.0,))
    assert isinstance(task.train, Examples)


def test_stores_lie_below_the_users_cache_folder_unless_asked_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    spec = kit.task("pets", tmp_path)
    assert cache_folder(spec) == tmp_path / "cache"
    assert cache_folder(spec.model_copy(update={"cache": None})) == (
        tmp_path / "mine" / "raysel" / "images"
    )


# --- CIFAR-10-C and CIFAR-10F -----------------------------------------------------------------


def test_cifar10c_is_shifted_by_its_files_alone(tmp_path, monkeypatch):
    kit.without_checksums(monkeypatch)
    kit.counted(monkeypatch, "cifar10", 10, 100, 20)
    kit.cifar10(tmp_path, each_batch=20)
    kit.cifar10c(tmp_path, ("fog", "gaussian_noise"), each=100)
    sizes = {"train": 20, "validation": 20, "test": "all"}
    spec = kit.task(
        "cifar10c",
        tmp_path,
        root=str(tmp_path),
        image_size=32,
        split=sizes,
        shift={"kind": "gaussian_noise", "severity": 3},
    )
    assert open_task(spec).problems == ()
    parts = _parts(load_task(spec))
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [20, 20, 60]
    assert len(parts["source_train"]) + len(parts["source_validation"]) == 100
    rows = np.load(tmp_path / "CIFAR-10-C" / "gaussian_noise.npy")[200:300]
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(_all(parts[name]), rows[parts[name].indices])
        np.testing.assert_array_equal(parts[name].labels, parts[name].indices % 10)


def test_cifar10c_knows_corruptions_that_raysel_has_not(tmp_path):
    spec = kit.task("cifar10c", tmp_path, root=str(tmp_path), shift={"kind": "fogg"})
    (problem,) = open_task(spec).problems
    assert str(problem) == 'task.shift.kind: no shift is called "fogg"; did you mean "fog"?'
    assert open_task(kit.task("cifar10c", tmp_path, shift={"kind": "fog"})).problems == ()


def test_cifar10f_flips_the_targets_labels_and_not_the_sources(tmp_path, monkeypatch):
    kit.without_checksums(monkeypatch)
    kit.counted(monkeypatch, "cifar10", 10, 200, 40)
    kit.cifar10(tmp_path, each_batch=40)
    sizes = {"train": 20, "validation": 20, "test": "all"}
    spec = kit.task("cifar10f", tmp_path, root=str(tmp_path), image_size=32, split=sizes)
    parts = _parts(load_task(spec))
    assert len(parts["test"]) == 40
    for name, part in parts.items():
        clean = part.indices % 40 % 10
        flipped = name in ("train", "validation", "test")
        np.testing.assert_array_equal(part.labels, 9 - clean if flipped else clean)


def test_cifar10f_takes_no_other_shift(tmp_path):
    (problem,) = open_task(kit.task("cifar10f", tmp_path, shift={"kind": "inversion"})).problems
    assert str(problem).startswith('task.shift.kind: no shift is called "inversion"')


def test_splits_of_the_confirm_phase_hold_other_pictures_beside_the_same_test_part(pets, tmp_path):
    spec = kit.task({"folder": str(pets)}, tmp_path)
    task, alone = load_task(spec, splits=3), load_task(spec)
    assert alone.draws == () and len(task.draws) == 3
    sealed = set(_parts(task)["test"].indices.tolist())
    assert sealed == set(_parts(alone)["test"].indices.tolist())
    for split, written in zip(task.draws, task.record["draws"], strict=True):
        for name in ("train", "validation"):
            part = getattr(split, name)
            assert written[name] == part.indices.tolist()
            assert len(part) == len(getattr(task, name))
            assert not sealed & set(part.indices.tolist())
            for image, label, index in zip(_all(part), part.labels, part.indices, strict=True):
                assert label == index // 20
                seed = 100 * label + index % 20
                np.testing.assert_array_equal(image, kit.pixels(seed, 8, 8))
    assert task.draws[0].train.indices.tolist() != task.draws[1].train.indices.tolist()
    kept = pickle.loads(pickle.dumps(task.draws[0].train))
    np.testing.assert_array_equal(_all(kept), _all(task.draws[0].train))


@pytest.mark.parametrize("augmentation", ["none", "random_resized_crop"])
def test_what_the_search_has_decoded_the_splits_of_the_confirm_phase_copy(
    pets, tmp_path, monkeypatch, augmentation
):
    """Each picture is read once for each way of keeping it: whole to train on, cut to evaluate."""
    read = []
    original = ImageDataset.read
    monkeypatch.setattr(ImageDataset, "read", lambda s, i: (read.append(i), original(s, i))[1])
    spec = kit.task({"folder": str(pets)}, tmp_path, augmentation=augmentation)
    task = load_task(spec, splits=3)
    once = Counter(read)
    parts = task.record["parts"]
    drawn = {i for draw in task.record["draws"] for i in (*draw["train"], *draw["validation"])}
    assert all(once[i] == 1 for i in (*parts["test"], *parts["source_train"]))
    for index in drawn | {*parts["train"], *parts["validation"]}:
        ways = 1 if augmentation == "none" or index not in drawn else 2
        assert once[index] == ways
    first = task.draws[0].train
    assert isinstance(first, CachedExamples)
    shutil.rmtree(first.cache / first.key)  # as on a node that has the search's parts alone
    read.clear()
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(_all(again), _all(task.draws[0].train))
    assert set(read) == drawn - {*parts["train"], *(parts["validation"] * (augmentation == "none"))}


def test_a_copy_is_in_one_split_of_the_confirm_phase_once(pets, tmp_path):
    for number in range(4):
        shutil.copy(pets / "cat" / "00.png", pets / "cat" / f"copy{number}.png")
    spec = kit.task({"folder": str(pets)}, tmp_path, duplicates="keep")
    for split in load_task(spec, splits=4).draws:
        places = np.r_[split.train.indices, split.validation.indices]
        copies = [int(i) for i in places if i in (0, 20, 21, 22, 23)]
        assert len(copies) <= 1
