import json
from dataclasses import replace

import pytest

from raysel.common.errors import UserError
from raysel.record.layout import SweepFolder
from raysel.spec.sweep import TaskSpec
from raysel.sweep.split import keep_split, refuse_other_split
from raysel.tasks.data import Task
from raysel.tasks.load_task import load_task


@pytest.fixture(scope="module")
def task() -> Task:
    split = {"train": 30, "validation": 20, "test": 40}
    return load_task(TaskSpec.model_validate({"data": "digits", "split": split}))


@pytest.fixture
def folder(tmp_path) -> SweepFolder:
    (tmp_path / "digits").mkdir()
    return SweepFolder(tmp_path / "digits")


def test_the_indices_of_every_part_lie_in_the_sweeps_folder(task, folder):
    keep_split(folder, task)
    kept = json.loads((folder.path / "split.json").read_text())
    assert {name: len(part) for name, part in kept["parts"].items()} == {
        **{"train": 30, "validation": 20, "test": 40},
        **{"source_train": 1536, "source_validation": 171},
    }


def test_the_same_data_go_on(task, folder):
    refuse_other_split(folder, task)  # a new sweep
    keep_split(folder, task)
    refuse_other_split(folder, task)


@pytest.mark.parametrize("key", ["fingerprint", "parts"])
def test_other_data_or_another_split_do_not_go_on(task, folder, key):
    keep_split(folder, task)
    other = replace(task, record={**task.record, key: "other"})
    with pytest.raises(UserError, match=r"^task.data: the data are not those that the sweep began"):
        refuse_other_split(folder, other)


def test_the_split_of_the_first_attempt_is_kept(task, folder):
    keep_split(folder, task)
    before = folder.split.read_text()
    keep_split(folder, replace(task, record={}))
    assert folder.split.read_text() == before
