"""A sweep on a folder of pictures: decoded once, recorded, and refused where it must be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysel.cli.main import main
from raysel.training.confusion import read_confusion

from .helpers import states

SWEEP = """
name: pictures
task:
  data: {{folder: {root}/photos}}
  cache: {root}/cache
  image_size: 16
  augmentation: random_resized_crop
  max_unreadable_fraction: 0.05
  source: 60
  shift: {{kind: inversion}}
  split: {{shots: 6, validation: 30, test: 30}}
model: {{name: test_resnet}}
strategies: {{full: , linear_probe: }}
training: {{epochs: 2, batch_size: 8, shots: {{categorical: [2, 5]}}}}
objective: {{metric: val/balanced_error}}
search: {{num_trials: 3}}
confirm: {{seeds: 2, test_every_epoch: true}}
storage: {storage}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 50 pictures that differ in colour; one file is cut off."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (root / "photos" / name).mkdir(parents=True)
        for number in range(50):
            pixels = generator.integers(0, 120, (20, 24, 3), dtype=np.uint8)
            pixels[:, :, 2 - label] += 100
            Image.fromarray(pixels).save(root / "photos" / name / f"{number:02d}.jpg")
    (root / "photos" / "red" / "07.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    return root


@pytest.fixture(scope="module")
def file(root: Path, storage: Path) -> Path:
    path = root / "pictures.yaml"
    path.write_text(SWEEP.format(root=root, storage=storage), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(ray_cluster: None, file: Path, storage: Path) -> Path:
    assert main(["run", str(file), "--quiet"]) == 0
    return storage / "pictures"


@pytest.mark.slow
def test_the_split_and_the_bad_picture_are_in_the_record(finished: Path, root: Path) -> None:
    split = json.loads((finished / "split.json").read_text())
    assert [bad["file"] for bad in split["bad_images"]] == [str(root / "photos/red/07.jpg")]
    assert len(split["parts"]["train"]) in (17, 18)
    assert sum(map(len, split["parts"].values())) == 18 + 30 + 30 + 60 - 1


@pytest.mark.slow
def test_pictures_are_decoded_once_for_all_trials(finished: Path, root: Path) -> None:
    stores = list((root / "cache").glob("*/pixels.bin"))
    assert len(stores) == 5  # one a part: two of the source, three of the target


@pytest.mark.slow
def test_the_search_made_the_balanced_error_small(finished: Path) -> None:
    trials = [t for t in states(finished).values() if t.phase == "search" and t.value is not None]
    assert trials
    for trial in trials:
        assert trial.value in [row["val/balanced_error"] for row in trial.epochs]


@pytest.mark.slow
def test_confirmed_runs_have_their_confusion_matrix(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    runs = [run for row in results["confirm"] for run in row["runs"]]
    assert len(runs) == 4
    for run in runs:
        found = read_confusion(finished / "trials" / run["id"])
        assert found is not None
        classes, matrix = found
        counts = np.array(matrix)
        assert classes == ["blue", "green", "red"]
        assert 1 - counts.trace() / counts.sum() == pytest.approx(run["test/error"])
        own = counts.diagonal() / counts.sum(axis=1)
        assert 1 - own.mean() == pytest.approx(run["test/balanced_error"])


@pytest.mark.slow
def test_the_number_of_shots_was_searched(finished: Path) -> None:
    trials = [t for t in states(finished).values() if t.phase == "search"]
    assert {trial.searched["shots"] for trial in trials} <= {2, 5}
    assert all(t.config["training"]["shots"] == t.searched["shots"] for t in trials)


@pytest.mark.slow
def test_the_test_curve_of_a_confirmed_run_goes_through_its_test_error(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    for run in (run for row in results["confirm"] for run in row["runs"]):
        curve = {row["epoch"]: row["error"] for row in run["test_curve"]}
        assert sorted(curve) == [1, 2]
        assert curve[run["epoch"]] == pytest.approx(run["test/error"])
    searched = [t for t in states(finished).values() if t.phase == "search"]
    assert not any(name.startswith("test") for t in searched for row in t.epochs for name in row)


@pytest.mark.slow
def test_the_report_has_the_matrices_and_the_test_loss(finished: Path) -> None:
    figures = {path.stem for path in (finished / "report" / "figures").iterdir()}
    assert {"confusions", "loss_by_epoch"} <= figures
    assert "test loss" in (finished / "report" / "index.html").read_text(encoding="utf-8")


def test_missing_data_are_refused_unless_validate_is_to_do_without(
    file: Path, storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reported = f"pets is not in {tmp_path}/ (expected {tmp_path}/oxford-iiit-pet). Download it"
    split = "task.split={train: 100, validation: 100, test: 100}"
    changes = ["task.data=pets", f"task.root={tmp_path}", "name=pets", split]
    setting = [word for change in changes for word in ("--set", change)]
    assert main(["validate", str(file), *setting]) == 2
    assert f"error  task.data: {reported}" in capsys.readouterr().err
    assert main(["validate", str(file), *setting, "--without-data"]) == 0
    assert f"warning  task.data: {reported}" in capsys.readouterr().err
    assert main(["run", str(file), *setting]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error  task.data: {reported}")
    assert not (storage / "pets").exists()


def test_too_many_bad_pictures_leave_no_sweep(
    file: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["--set", "task.max_unreadable_fraction=0.001", "--set", "name=bad"]
    assert main(["run", str(file), *changes]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "red/07.jpg" in line
    assert not (storage / "bad").exists()
