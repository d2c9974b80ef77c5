"""The confirm phase through the command line: splits drawn again, source models in turn, rounds."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysel.record.state import TrialState
from raysel.spec.reader import load
from raysel.tasks.datasets import open_arrays
from raysel.training.answers import Answers, read_answers

from . import drivers
from .helpers import states, without_clocks
from .test_stop_and_resume import driver

pytestmark = pytest.mark.slow  # sweeps of their own; the statistics are tested without Ray

FILE = """
name: NAME
task:
  data: digits
  source: 300
  shift: {kind: gaussian_noise, severity: 3}
  split: {shots: 4, validation: 50, test: 60, seed: 3}
model: {name: test_resnet}
strategies: {full: , surgical: {block: layer4}}
training: {epochs: 1, batch_size: 20}
search: {num_trials: 3, seed: 1}
confirm: {splits: 3, seeds: 2}
verdict: {contrasts: [surgical - linear_probe, full - surgical]}
storage: STORAGE
"""

ROUNDS = """
name: NAME
task:
  data: digits
  source: 300
  shift: {kind: gaussian_noise, severity: 3}
  split: {train: 40, validation: 50, test: 60, seed: 3}
model: {name: test_resnet}
strategies: {full: , linear_probe: }
training: {epochs: 2, batch_size: 20}
search: {num_trials: 2, seed: 1}
confirm: {until: decided, splits: 3, max_runs: 7, smallest_effect: 0.0001}
verdict: {contrasts: [full - linear_probe]}
resources: {max_concurrent_trials: 1}
storage: STORAGE
"""


@dataclass(frozen=True)
class Finished:
    """A sweep that ran to its end, and what its terminal showed."""

    folder: Path
    out: str

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "results.json").read_text())
        return found

    @property
    def split(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "split.json").read_text())
        return found

    @property
    def confirm(self) -> dict[str, TrialState]:
        return {n: t for n, t in states(self.folder).items() if t.phase == "confirm"}

    def answers(self, run: str) -> Answers:
        found = read_answers(self.folder / "trials" / run)
        assert found is not None, run
        return found


def sweep(text: str, name: str, storage: Path, *changes: str) -> Finished:
    file = storage / f"{name}.yaml"
    file.write_text(text.replace("NAME", name).replace("STORAGE", str(storage)), encoding="utf-8")
    setting = [word for change in changes for word in ("--set", change)]
    code, out, err = drivers.here("run", str(file), *setting)
    assert code == 0, out + err
    return Finished(storage / name, out)


# --- splits -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def splits(ray_cluster: None, storage: Path) -> Finished:
    return sweep(FILE, "splits", storage)


def test_each_strategy_runs_on_three_splits_with_two_seeds(splits: Finished) -> None:
    runs = splits.confirm
    assert {t.status for t in runs.values()} == {"COMPLETE"} and len(runs) == 18
    assert Counter((t.strategy, t.config["split"]) for t in runs.values()) == {
        (strategy, split): 2
        for strategy in ("full", "surgical", "linear_probe")
        for split in (1, 2, 3)
    }
    of_one = [t.config["seed"] for t in runs.values() if t.strategy == "full"]
    assert len(set(of_one)) == 6


def test_the_draws_leave_the_test_part_alone_and_differ(splits: Finished) -> None:
    record = splits.split
    kept = {n: set(record["parts"][n]) for n in ("test", "source_train", "source_validation")}
    trained, validated = [], []
    for draw in record["draws"]:
        train, validation = set(draw["train"]), set(draw["validation"])
        assert not train & validation
        assert not any((train | validation) & part for part in kept.values())
        trained.append(train)
        validated.append(validation)
    assert len(trained) == 3 and len(kept["test"]) == 60
    for parts in (trained, validated):
        assert all(a != b for a, b in combinations(parts, 2))


def test_shots_and_stratification_hold_in_each_draw(splits: Finished) -> None:
    labels = open_arrays(load(splits.folder / "spec.yaml").task).labels
    for draw in splits.split["draws"]:
        assert set(np.bincount(labels[draw["train"]], minlength=10)) == {4}
        counts = np.bincount(labels[draw["validation"]], minlength=10)
        assert counts.sum() == 50 and counts.min() >= 4 and counts.max() <= 6


def test_record_answers_and_results_agree_and_all_see_the_same_test_part(splits: Finished) -> None:
    labels = open_arrays(load(splits.folder / "spec.yaml").task).labels
    expected = labels[splits.split["parts"]["test"]]
    recorded = splits.confirm
    seen = set()
    for row in splits.results["confirm"]:
        for run in row["runs"]:
            own, answers = recorded[run["id"]], splits.answers(run["id"])
            assert (run["split"], run["seed"]) == (own.config["split"], own.config["seed"])
            assert run["test/error"] == own.end_metrics["test/error"]
            assert np.array_equal(answers.labels, expected)
            assert np.mean(answers.predicted != expected) == pytest.approx(run["test/error"])
            seen.add(run["id"])
    assert seen == recorded.keys()


def test_contrasts_stand_first_in_the_terminal_and_the_results(splits: Finished) -> None:
    verdict = splits.results["verdict"]
    pairs = [(c["ours"], c["theirs"]) for c in verdict["contrasts"]]
    assert pairs == [("surgical", "linear_probe"), ("full", "surgical")]
    first = verdict["contrasts"][0]
    assert [verdict[n] for n in ("outcome", "difference", "low", "high", "against")] == [
        first[n] for n in ("outcome", "difference", "low", "high", "theirs")
    ]
    said = " ".join(splits.out.split("verdict  ")[1].split())
    places = [
        said.index(words)
        for words in (
            "surgical against linear_probe:",
            "Full fine-tuning against surgical:",
            "The search chose",
        )
    ]
    assert places[0] == 0 and places == sorted(places)


def test_a_split_is_one_unit_of_the_comparison_whatever_its_seeds(splits: Finished) -> None:
    """By hand: each split's mean over its two seeds, and the mean of the differences."""
    means: dict[tuple[str, int], float] = {}
    for row in splits.results["confirm"]:
        for split in (1, 2, 3):
            own = [run["test/error"] for run in row["runs"] if run["split"] == split]
            means[row["strategy"], split] = sum(own) / len(own)
    for found in splits.results["verdict"]["contrasts"]:
        differences = [means[found["ours"], s] - means[found["theirs"], s] for s in (1, 2, 3)]
        assert (found["units"], found["examples"]) == (3, 60)
        assert found["difference"] == pytest.approx(np.mean(differences), abs=1e-12)


# --- source models ------------------------------------------------------------------------------


def test_the_splits_take_the_source_models_in_turn(ray_cluster: None, storage: Path) -> None:
    """At a rate of nothing a run answers as the source model does that it began with."""
    still = ("training.learning_rate=1e-12", "training.batch_norm=eval")
    confirm = ("confirm={splits: 4, source_seeds: 2}", "verdict.contrasts=[]")
    done = sweep(FILE, "sources", storage, *still, *confirm)
    for strategy in ("full", "surgical", "linear_probe"):
        said = [done.answers(f"confirm-{strategy}-s{i}").predicted for i in range(4)]
        assert np.array_equal(said[0], said[2]) and np.array_equal(said[1], said[3])
        assert not np.array_equal(said[0], said[1])
    runs = [run for row in done.results["confirm"] for run in row["runs"]]
    assert {(run["split"], run["source_seed"]) for run in runs} == {(1, 0), (2, 1), (3, 0), (4, 1)}


# --- rounds -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rounds(ray_cluster: None, storage: Path) -> Finished:
    return sweep(ROUNDS, "rounds", storage)


def test_rounds_are_added_and_the_terminal_shows_the_interval_narrowing(rounds: Finished) -> None:
    said = " ".join(rounds.out.split())
    number = r"([+−]?[\d.]+)"
    line = (
        r"confirm round (\d) of at most 3, (\d) splits: full − linear_probe"
        rf" {number} points \({number} to {number}\), open"
    )
    found = re.findall(line, said)
    assert [(n, splits) for n, splits, *_ in found] == [("1", "3"), ("2", "5")]
    widths = [
        float(high.replace("−", "-")) - float(low.replace("−", "-")) for *_, low, high in found
    ]
    verdict = rounds.results["verdict"]
    assert verdict["n"] == 7 and verdict["level"] < 0.05
    assert widths[0] > 100 * (verdict["high"] - verdict["low"])
    assert len(rounds.confirm) == 14


def test_a_sweep_killed_within_the_second_round_ends_as_if_it_had_not_been(
    rounds: Finished, storage: Path
) -> None:
    file = storage / "torn.yaml"
    file.write_text(
        ROUNDS.replace("NAME", "torn").replace("STORAGE", str(storage)), encoding="utf-8"
    )
    torn = storage / "torn"
    with driver(file, "torn") as process:
        deadline = time.monotonic() + 240
        while "confirm-linear_probe-s3" not in (states(torn) if begun(torn) else {}):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    left = {n: t for n, t in states(torn).items() if t.phase == "confirm"}
    assert 6 < len(left) < 10
    done = subprocess.run(
        [sys.executable, "-m", "raysel", "resume", "torn", "--storage", str(storage)],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    again = Finished(torn, done.stdout)
    whole, resumed = states(rounds.folder), states(torn)
    assert sorted(map(without_clocks, resumed.values())) == sorted(
        map(without_clocks, whole.values())
    )
    for name, run in rounds.confirm.items():
        assert resumed[name].end_metrics == run.end_metrics
        assert np.array_equal(again.answers(name).predicted, rounds.answers(name).predicted)
    assert again.results["verdict"] == rounds.results["verdict"]
    assert again.split == rounds.split


def begun(folder: Path) -> bool:
    """Whether the record's tables are there."""
    try:
        return bool(states(folder))
    except Exception:  # it is being made
        return False
