"""The plan of a sweep whose data are not here, from published counts: worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raysel.cli.main import main
from raysel.common.errors import UserError
from raysel.search.validate import check
from raysel.service.plan.counted import Counted, counted, summed
from raysel.spec.reader import parse
from raysel.tasks.opened_task import counted_task, open_task
from raysel.tasks.readers.published import PUBLISHED
from raysel.tasks.readers.published_counts import counted_pictures

FILE = """\
name: pets
task:
  data: pets
  split: {train: 0.9, validation: 0.1, test: all, seed: 0}
model: {name: test_resnet, weights: pretrained}
strategies: {full: , linear_probe: }
training: {epochs: 10, batch_size: 100, learning_rate: {float: [1e-3, 1e-1], log: true}}
search: {num_trials: 8}
pruner: {kind: none}
confirm: {splits: 3}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no data lie


def found(*overrides: str) -> Counted:
    spec = parse(FILE, overrides)
    return counted(spec, open_task(spec.task))


def test_the_work_is_counted_from_the_published_sizes():
    """3,680 training pictures: 3,312 to train on, 368 to validate; 3,669 to test."""
    plan = found()
    assert (plan.trials, plan.runs, plan.epochs) == (8, 6, 8 * 10 + 6 * 10)
    assert plan.trained == pytest.approx(140 * 3312, rel=0.002)
    assert plan.evaluated == pytest.approx(140 * 368 + 6 * 3669, rel=0.002)
    assert plan.steps == 140 * 34  # 33 whole batches of 100, and one of 12
    assert plan.downloads["pets"] == 790_000_000


def test_a_training_image_costs_three_times_what_an_evaluated_one_does():
    plan = found()
    assert plan.hours(100.0) == pytest.approx((plan.trained + plan.evaluated / 3) / 100 / 3600)


def test_the_source_models_training_counts_too():
    plan = found("task.data=cifar10c", "model.weights=source", "task.shift.kind=frost",
                 "task.split={train: 1000, validation: 100, test: all}")  # fmt: skip
    without = found("task.data=cifar10c", "task.shift.kind=frost",
                    "task.split={train: 1000, validation: 100, test: all}")  # fmt: skip
    assert plan.trained - without.trained == pytest.approx(15 * 50_000, rel=0.2)


def test_several_sweeps_fetch_the_same_data_once():
    whole = summed([found(), found("task.split.seed=1"), found("task.data=dtd")])
    assert whole.trials == 24
    assert whole.downloads["pets"] == 790_000_000
    assert "dtd" in whole.downloads


def test_what_nobody_has_counted_is_refused_with_what_is_missing():
    with pytest.raises(UserError, match="nothing can be counted"):
        found("task.data={folder: photos}")


def test_a_split_that_the_counts_do_not_hold_is_refused():
    with pytest.raises(UserError, match=r"task\.split"):
        found("task.split={train: 5000, validation: 100, test: all}")


def test_a_split_that_does_not_hold_is_refused_by_validate_without_the_data():
    spec = parse(FILE, ["task.split={train: 5000, validation: 100, test: all}"])
    assert [problem.path for problem in check(spec, counted=True)] == ["task.split"]
    assert check(parse(FILE), counted=True) == []
    assert check(spec) == []  # where the data must be there, their absence is what is said


@pytest.mark.parametrize("name", [*PUBLISHED, "cifar10c", "living17", "entity30"])
def test_a_stand_in_has_the_counts_and_parts_of_the_data_set(name):
    pictures = counted_pictures(name)
    assert pictures is not None
    known = PUBLISHED.get(name)
    if known is not None:
        assert len(pictures.classes) == known.class_count
        assert len(pictures) == known.train + known.test
    task = parse(FILE, [f"task.data={name}", "task.split={train: 0.6, validation: 0.2}"]).task
    opened = counted_task(task)
    assert opened is not None
    assert opened.problems == ()


def test_the_command_line_counts_without_the_data_and_fetches_nothing(tmp_path: Path, capsys):
    file = tmp_path / "pets.yaml"
    file.write_text(FILE, encoding="utf-8")
    assert main(["plan", str(file), "--images-per-second", "100"]) == 0
    out = capsys.readouterr().out
    assert "8 trials, 6 confirm runs · 140 epochs" in out
    assert "hours of one trial at 100 training images a second" in out
    assert [path.name for path in tmp_path.iterdir()] == ["pets.yaml"]
    suite = tmp_path / "suite.yaml"
    suite.write_text(FILE + "axes: {task.data: [pets, dtd]}\n", encoding="utf-8")
    assert main(["plan", str(suite), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["trials"] == 16 and set(plan["cells"]) == {"pets", "dtd"}
    assert plan["hours"] is None
