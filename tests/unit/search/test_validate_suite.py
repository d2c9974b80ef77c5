"""A suite is checked cell by cell, and everything wrong is reported together, each mistake once."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from raysel.cli.main import main
from raysel.common.errors import UserError
from raysel.search import validate_suite
from raysel.search.json_schema import sweep_schema

FILE = """\
name: small
task: {data: digits, split: {train: 60, validation: 60, test: 60}}
model: {name: resnet10t, weights: source}
strategies: {full: , linear_probe: }
training: {epochs: 2, batch_size: 20}
search: {num_trials: 4}
confirm: {splits: 3}
axes:
  model.name: [resnet10t, resnet18]
  training.shots: [3, 5]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(FILE + f"storage: {tmp_path}/runs\n", encoding="utf-8")
    return path


def lines(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        validate_suite.read(file, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_cells_that_share_a_task_open_it_once(file):
    checked = validate_suite.read(file)
    assert len(checked.cells) == 4
    assert len({id(cell.task) for cell in checked.cells}) == 1


def test_a_cell_whose_split_does_not_hold_is_named(file):
    (found,) = lines(file, "axes.task.split.train=[60, 60000]")
    assert found.startswith("cells resnet10t-shots3-train60000, resnet10t-shots5-train60000, ")
    assert " and 1 more: task.split: " in found


def test_several_mistakes_are_reported_together_and_one_of_all_cells_once(file):
    found = lines(file, "axes.model.name=[resnet10t, resnet19]", "axes.training.shots=[3, 50]")
    assert len(found) == 2
    assert any("axes.training.shots" in line and "shots50" in line for line in found)
    assert any("axes.model.name" in line and "resnet19-shots3" in line for line in found)
    (of_all,) = lines(file, "strategies.ful=")
    assert of_all.startswith('strategies.ful: no strategy is called "ful"; did you mean "full"?')


def test_two_cells_that_are_one_sweep_are_refused(file):
    zipped = "axes.zip={model.weights: {a: source, b: source}}"
    (found,) = lines(file, zipped)
    assert "is there twice" in found or "are one and the same sweep" in found


def test_the_command_line_shows_cells_and_counts(file, capsys):
    assert main(["validate", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "small · 4 cells: model.name 2 × training.shots 2" in shown
    assert "4 cells · 16 trials" in shown
    assert main(["validate", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] and next(iter(found["cells"])) == "resnet10t-shots3"
    one = ("--set", "axes.model.name=[resnet10t]", "--set", "axes.training.shots=[3]")
    assert main(["validate", str(file), *one]) == 0
    shown = capsys.readouterr().out
    assert "small · 1 cell: " in shown and "1 cell · 4 trials" in shown


def test_a_wrong_suite_ends_with_two_and_leaves_nothing(file, capsys):
    for verb in ("validate", "plan", "run"):
        assert main([verb, str(file), "--set", "axes.training.shots=[3, 50]"]) == 2
        assert "axes.training.shots" in capsys.readouterr().err
    assert not (file.parent / "runs").exists()


def test_data_that_are_not_there_are_reported_once_with_their_cells(file, capsys, monkeypatch):
    monkeypatch.chdir(file.parent)
    sets = ("axes.task.data=[digits, flowers102]", "model.weights=pretrained")
    more = (*sets, "task.split={train: 0.6, validation: 0.2, test: 0.2}")
    code = main(["validate", str(file), *(word for one in more for word in ("--set", one))])
    assert code == 2
    err = capsys.readouterr().err
    assert err.count("flowers102 is not in data") == 1, err
    assert "axes.task.data" in err


def test_the_schema_takes_a_suite_and_refuses_axes_without_lists():
    validator = jsonschema.Draft202012Validator(sweep_schema())
    given = yaml.safe_load(FILE)
    assert validator.is_valid(given)
    assert validator.is_valid(given | {"axes": {"zip": {"a.b": [1]}, "exclude": [{"a.b": 1}]}})
    assert not validator.is_valid(given | {"axes": {"training.shots": 5}})
    assert not validator.is_valid(given | {"axes": {}})
    assert not validator.is_valid(given | {"name": "a/b"})
