"""A small real sweep through the command line: two arms of one strategy, every configuration
confirmed, an arm without a search."""

import json

import pytest

from raysel.cli import main
from raysel.record.events import sqlite_url
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.record.state import fold

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FILE = """\
name: many
task:
  data: digits
  shift: {kind: gaussian_noise, severity: 5}
  split: {train: 60, validation: 60, test: 100}
model: {name: resnet10t}
strategies:
  suffix_L2: {strategy: suffix, layers: 2, training: {learning_rate: {categorical: [0.01, 0.1]}}}
  suffix_L5: {strategy: suffix, layers: {categorical: [4, 5]}}
  everything: {strategy: full}
training: {epochs: 2, learning_rate: 0.05}
search: {num_trials: 6}
pruner: {kind: none}
confirm: {splits: 2, configurations: all}
"""


def test_arms_all_configurations_and_an_arm_without_a_search(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "many.yaml").write_text(FILE, encoding="utf-8")
    assert main.main(["run", "many.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "everything, linear_probe: one configuration, nothing to tune" in shown
    assert "every configuration of each strategy by validation error, 12 runs" in shown
    folder = SweepFolder.of("runs", "many")
    results = json.loads(folder.results.read_text("utf-8"))
    assert {t["strategy"] for t in results["trials"]} == {"suffix_L2", "suffix_L5"}
    assert len(results["trials"]) == 4
    arms = {"suffix_L2", "suffix_L5", "everything", "linear_probe"}
    assert {row["strategy"] for row in results["confirm"]} == arms
    others = [row["strategy"] for row in results["other_configurations"]]
    assert sorted(others) == ["suffix_L2", "suffix_L5"]
    assert all(row["test_error"]["n"] == 2 for row in results["other_configurations"])
    assert results["verdict"]["baseline"] == "everything"
    trials = fold(read_events(sqlite_url(folder.record)))
    assert sum(trial.phase == "confirm" for trial in trials.values()) == 12
    assert "Other configurations" in (folder.path / "report" / "index.html").read_text("utf-8")
