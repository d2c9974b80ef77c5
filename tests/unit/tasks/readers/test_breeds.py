from pathlib import Path

import pytest

from raysel.common.errors import UserError
from raysel.tasks.readers.breeds import SUBPOPULATIONS, pictures, superclasses

# ImageNet's numbers, source | target, as the release of BREEDS divides them
LIVING_17 = {
    "salamander": ([27, 29], [26, 28]),
    "turtle": ([37, 34], [33, 35]),
    "lizard": ([41, 44], [47, 38]),
    "snake": ([60, 57], [65, 61]),
    "spider": ([76, 72], [74, 77]),
    "grouse": ([81, 83], [82, 80]),
    "parrot": ([88, 90], [87, 89]),
    "crab": ([118, 120], [119, 121]),
    "dog": ([163, 154], [257, 157]),
    "wolf": ([272, 271], [270, 269]),
    "fox": ([280, 279], [277, 278]),
    "domestic cat": ([282, 285], [283, 284]),
    "bear": ([297, 295], [296, 294]),
    "beetle": ([305, 306], [302, 303]),
    "butterfly": ([325, 321], [324, 322]),
    "ape": ([368, 365], [366, 367]),
    "monkey": ([377, 380], [381, 379]),
}
# The last row can only be right if all before it drew from as many classes as the release.
ENTITY_30 = {
    "serpentes": ([64, 56, 57, 52], [61, 55, 53, 62]),
    "passerine": ([11, 10, 20, 19], [18, 12, 14, 16]),
    "saurian": ([44, 45, 40, 46], [48, 47, 42, 38]),
    "fruit": ([949, 953, 955, 948], [990, 987, 998, 988]),
}


def numbers():
    from raysel.models import timm

    path = Path(timm.__file__).parent / "data" / "_info" / "imagenet_synsets.txt"
    return {wnid: number for number, wnid in enumerate(path.read_text().split())}


def divided(name):
    number = numbers()
    return {
        kind.name: ([number[w] for w in kind.source], [number[w] for w in kind.target])
        for kind in superclasses(name)
    }


def test_living_17_is_divided_as_its_release_divides_it():
    found = divided("living17")
    assert found == LIVING_17
    assert list(found) == list(LIVING_17)


def test_entity_30_is_divided_as_its_release_divides_it():
    found = divided("entity30")
    assert len(found) == 30
    assert {name: found[name] for name in ENTITY_30} == ENTITY_30


@pytest.mark.parametrize("name", SUBPOPULATIONS)
def test_no_class_is_seen_twice(name):
    seen = [wnid for kind in superclasses(name) for wnid in (*kind.source, *kind.target)]
    assert len(seen) == len(set(seen))


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """ImageNet's folders of Living-17 with two pictures in each, and a stranger."""
    data = tmp_path_factory.mktemp("data")
    root = data / "imagenet"
    for kind in superclasses("living17"):
        for wnid in (*kind.source, *kind.target):
            for part in ("train", "val"):
                folder = root / part / wnid
                folder.mkdir(parents=True)
                for number in (1, 2):
                    (folder / f"{part}_{number}.JPEG").touch()
    (root / "train" / "n99999999").mkdir()
    return data


def test_source_and_target_are_pools_of_their_own(imagenet):
    found = pictures("living17", imagenet)
    assert found.classes[:2] == ("salamander", "turtle")
    # 17 superclasses, two kinds, two pictures each
    for pool in ("source", "train", "test"):
        assert (found.official_splits == pool).sum() == 17 * 2 * 2
    kinds = superclasses("living17")
    for file, label, pool in zip(found.sources, found.labels, found.official_splits, strict=True):
        kind = kinds[label]
        assert file.parent.name in (kind.source if pool == "source" else kind.target)
        assert file.parent.parent.name == ("val" if pool == "test" else "train")


def test_missing_folders_are_reported_in_one_line(tmp_path):
    with pytest.raises(UserError) as caught:
        pictures("entity30", tmp_path)
    (problem,) = caught.value.problems
    assert problem.path == "task.data"
    # four kinds in the source, four in the target of which two parts are read
    assert "of 360 that it needs 360 are missing" in problem.message
    assert "and 355 more" in problem.message


def test_an_empty_folder_is_reported(imagenet):
    folder = imagenet / "imagenet" / "train" / superclasses("living17")[3].source[0]
    aside = imagenet / "aside"
    folder.rename(aside)
    folder.mkdir()
    try:
        with pytest.raises(UserError, match=f"{folder.name} of living17 holds no picture"):
            pictures("living17", imagenet)
    finally:
        folder.rmdir()
        aside.rename(folder)


def test_a_sweep_file_names_it_and_is_sound_without_the_pictures(tmp_path):
    from raysel.spec.task import TaskSpec
    from raysel.tasks.opened_task import open_task

    spec = TaskSpec(data="entity30", root=str(tmp_path))
    assert open_task(spec).problems == ()
    assert open_task(spec).shape().class_count == 30
    assert "are missing" in open_task(spec).absent


def test_the_target_trains_on_its_own_kinds(imagenet):
    from raysel.spec.task import SplitSpec, TaskSpec
    from raysel.tasks.datasets import open_pictures
    from raysel.tasks.split_file import divide

    sizes = SplitSpec(train=17, validation=17, test="all")
    spec = TaskSpec(data="living17", root=str(imagenet), split=sizes)
    found = open_pictures(spec)
    parts = divide(spec, found.labels, found.classes, found.official_splits)
    where = {name: set(found.official_splits[getattr(parts, name)]) for name in vars(parts)}
    assert where == {
        "train": {"train"},
        "validation": {"train"},
        "test": {"test"},
        "source_train": {"source"},
        "source_validation": {"source"},
    }
