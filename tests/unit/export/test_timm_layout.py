"""A model takes the place of whatever lay under its name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from raysel.export.timm_layout import damage_of, write_model
from raysel.models.build import ModelConfig, build
from raysel.spec.reader import parse
from raysel.tasks.load_task import load_task

SPEC = "{name: a, task: {data: digits}, model: {name: test_resnet}, strategies: {full: }}"


def _filled(path: Path) -> None:
    (path / "below").mkdir(parents=True)


@pytest.mark.parametrize(
    "occupy",
    [
        lambda path: None,
        _filled,
        Path.touch,
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to(path.parent / "other"),
    ],
    ids=["nothing", "folder", "file", "dangling link", "link"],
)
def test_it_is_written_in_place_of_what_was_there(
    tmp_path: Path, occupy: Callable[[Path], None]
) -> None:
    _filled(tmp_path / "other")
    target = tmp_path / "best"
    occupy(target)
    task = load_task(parse(SPEC).task)
    model = build(ModelConfig("test_resnet", 10, 1, task.image_size), seed=0)
    write_model(model, "test_resnet", task, {"sweep": "s", "run": "r"}, target)
    assert damage_of(target) is None
    assert not target.is_symlink()
    assert (tmp_path / "other" / "below").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "other"]
