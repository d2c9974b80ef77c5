"""A small real sweep of two models through the command line: range tests, search, confirm phase, on
workers that turn from one model to the other."""

import json
from pathlib import Path

import pytest

from raysel.cli import main
from raysel.record.layout import SweepFolder

from .helpers import states

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FILE = """\
name: both
task:
  data: digits
  shift: {kind: gaussian_noise, severity: 5}
  split: {train: 60, validation: 60, test: 100}
model: {name: {categorical: [resnet10t, test_resnet]}, weights: source}
strategies:
  full:
  stem: {strategy: surgical, block: stem, model: test_resnet}
training: {epochs: 2}
source: {epochs: 1}
search: {num_trials: 8, first: range_test}
confirm: {splits: 2}
"""


def test_two_models_are_searched_confirmed_and_run_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("both.yaml").write_text(FILE, encoding="utf-8")
    assert main.main(["run", "both.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "source   resnet10t on" in shown and "source   test_resnet on" in shown
    assert "equal_cost gives each arm as much computation" in shown
    folder = SweepFolder.of("runs", "both")
    results = json.loads(folder.results.read_text("utf-8"))
    assert results["models"] == {
        "full-resnet10t": "resnet10t",
        "full-test_resnet": "test_resnet",
        "stem": "test_resnet",
        "linear_probe-resnet10t": "resnet10t",
        "linear_probe-test_resnet": "test_resnet",
    }
    trials = states(folder.path)
    tested = {t.strategy for t in trials.values() if t.phase == "range"}
    assert tested == set(results["models"])
    for trial in trials.values():
        assert trial.config["model"] == results["models"][trial.strategy]
    for name in ("range-full-test_resnet", "0000", "confirm-full-resnet10t-s0"):
        assert main.main(["reproduce", "both", name]) == 0
    assert main.main(["export", "both", "--strategy", "stem", "--to", "stem", "--check"]) == 0
    assert json.loads(Path("stem/config.json").read_text())["architecture"] == "test_resnet"
