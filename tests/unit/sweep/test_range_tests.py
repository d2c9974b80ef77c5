"""`raysel range`: each arm of a sweep is tested, and what it then writes is taken by the file."""

from __future__ import annotations

import json

import pytest
import safetensors.torch

from raysel.cli.main import main
from raysel.models.build import ModelConfig, build
from raysel.search.space import Space
from raysel.spec.reader import parse
from raysel.sweep.range_tests import in_the_file
from raysel.training.range_test import RangeTest

FILE = """\
name: look
task: {data: digits, split: {train: 40, validation: 20, test: 20}}
model: {name: test_resnet.r160_in1k, weights: start.safetensors}
strategies:
  full:
  bvg_ls: {ema_decay: 0.5, training: {learning_rate: 0.01}}
training: {epochs: 6, batch_size: 10, learning_rate: {float: [1.0e-3, 1.0e-2], log: true}}
search: {baselines: false}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = build(ModelConfig("test_resnet.r160_in1k", 10, 1, (8, 8)), seed=0)
    safetensors.torch.save_file(start.state_dict(), "start.safetensors")
    (tmp_path / "look.yaml").write_text(FILE)
    return tmp_path


def test_what_it_writes_is_taken_by_the_file_and_tried_first():
    spec = parse(FILE)
    found = {
        "full": RangeTest((), (), 0.0421, 0.1),
        "bvg_ls": RangeTest((), (), 0.000123, 0.1),
    }
    lines = in_the_file(spec, found)
    assert lines == {
        "full": "{float: [0.001, 0.042], log: true, first: 0.042}",
        "bvg_ls": "0.00012",
    }
    again = parse(FILE, [f"strategies.{a}.training.learning_rate={v}" for a, v in lines.items()])
    space = Space(again, ("stem", "head"))
    first = {arm: space.first_configuration(arm).training.learning_rate for arm in space.arms}
    assert first == {"full": 0.042, "bvg_ls": 0.00012}
    assert in_the_file(spec, {"full": RangeTest((), (), None, None)}) == {"full": None}


def test_every_arm_is_tested_and_nothing_is_left_behind(folder, capsys):
    assert main(["range", "look.yaml", "--steps", "20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"full", "bvg_ls"}
    assert all(len(test["rates"]) == len(test["losses"]) <= 20 for test in found.values())
    assert not (folder / "runs").exists()


def test_an_arm_that_is_not_there_is_refused_in_a_line(folder, capsys):
    assert main(["range", "look.yaml", "--strategy", "ful"]) == 2
    said = capsys.readouterr()
    assert 'the sweep has no strategy "ful"; did you mean "full"?' in said.out + said.err
