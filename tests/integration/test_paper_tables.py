"""Every file of `search_spaces/papers/tables/` runs end to end through the command line, on small
data in the real formats: every cell of its table gets a test error.

What is tested is the file: its task, arms, axes and confirm phase. Models are small ones in the
papers' place; sizes, seeds and searched rates are cut by `--set`, as a user would.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from raysel.cli.main import main
from raysel.search import validate_suite
from raysel.search.space import Space, strategies_of
from raysel.search.validate import partition_for
from raysel.spec.confirm import BestBy
from raysel.sweep.suite_folder import read_cells, read_suite

from .helpers import states
from .paper_data import SIZE

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

TABLES = Path(__file__).parents[2] / "search_spaces" / "papers" / "tables"

SMALL = [
    *("training.epochs=1", "confirm.seeds=1", "resources={cpus: 1}", "trace.diagnostics=[]"),
    f"task.image_size={SIZE}",
]
FEW = ["task.split.shots=2", "task.split.validation=10", "training.batch_size=10"]
CIFAR = [*FEW, "model.name=cifar_wrn_16_2", "task.image_size=16"]
LENGTHY = [
    *("strategies.surprise.samples=8", "strategies.surprise_diff.samples=8"),
    *(f"strategies.auto_rgn_{name}.history=2" for name in ("hessian", "hessian_change")),
]
RATES = "training: {learning_rate: {categorical: [1e-2, 1e-3]}}"
TWO_RATES = [
    *(f"strategies.{arm}={{{RATES}}}" for arm in ("full", "linear_probe")),
    f"strategies.surgical={{block: {{categorical: [stem+block1, block2, block3]}}, {RATES}}}",
]
TUNED = [
    f"strategies.{arm}.tune_epochs={{categorical: [0, 1]}}"
    for arm in ("criticality_identity", "criticality_random")
]
BOTH = "layers: {categorical: [1, 5]}, tune_epochs: {categorical: [0, 1]}, criticality_data: source"
# two examples a class are not enough for a tenth
HALVES = "task.split={train: 0.5, validation: 0.5, test: all, seed: 0}"
# where another file has all of an axis's values, some of them
SHIFTS = "axes.task.shift.kind=[frost, gaussian_noise, zoom_blur]"

# file -> what makes it small: at least two steps of each trial
CHANGES = {
    "bvg_ls_table3": [
        *("model.name=resnet10t", "model.weights=weights/resnet10t-3.safetensors"),
        *("training.batch_size=16", HALVES),
    ],
    "bvg_ls_table4": [
        *("training.batch_size=16", HALVES),
        "axes={zip: {model.name: [test_vit, test_convnext], model.weights:"
        " {vit: weights/test_vit-3.safetensors, convnext: weights/test_convnext-3.safetensors}},"
        " task.data: [flowers102, dtd, cifar100]}",
    ],
    "automatic_table1": [*CIFAR, *LENGTHY, *TUNED, SHIFTS],
    "automatic_table1_flip": [*CIFAR, *TUNED, *LENGTHY[2:]],
    "automatic_table1_breeds": [
        *("model.name=resnet10t", "task.split.shots=2", "training.batch_size=17", *LENGTHY),
        *("source.epochs=3", "axes={task.data: [living17, entity30]}", *TUNED),
        *("task.split.validation=30", "strategies.surgical={block: {categorical: [layer2, head]}}"),
    ],
    "automatic_figure4": [
        *(*CIFAR, SHIFTS),
        f"strategies.identity={{strategy: criticality_identity_target, {BOTH}}}",
        f"strategies.random={{strategy: criticality_random_target, {BOTH}}}",
    ],
    "automatic_figure7": [*CIFAR, *LENGTHY, *TUNED, "axes.training.shots=[1, 2]"],
    "surgical_bars": [*CIFAR, *TWO_RATES],
    "surgical_flip": [*CIFAR, *TWO_RATES],
    "blockwise_figures": [
        "axes={zip: {model.name: [test_resnet, resnet10t], model.weights:"
        " {test_resnet: weights/test_resnet-3.safetensors,"
        " resnet10t: weights/resnet10t-3.safetensors}}, task.data: [flowers102_all, caltech101]}",
    ],
}


def test_every_table_is_made_small_here() -> None:
    assert sorted(CHANGES) == sorted(file.stem for file in TABLES.glob("*.yaml"))


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_every_cell_of_a_table_gets_a_test_error(
    name: str,
    paper_place: Path,
    storage: Path,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(paper_place)
    sets = [*SMALL, *CHANGES[name], f"storage={storage}"]
    file = TABLES / f"{name}.yaml"
    checked = validate_suite.read(file, sets)
    shrunk = [word for change in sets for word in ("--set", change)]
    assert main(["run", str(file), "--quiet", *shrunk]) == 0, capsys.readouterr().err
    suite = storage / name
    with (suite / "report" / "tables" / "suite.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for cell in checked.cells:
        arms = set(strategies_of(cell.spec))
        assert {row["arm"] for row in rows} >= arms
        for row in (row for row in rows if row["arm"] in arms):  # not the untouched model's
            assert 0.0 <= float(row[f"{cell.name}_mean"]) <= 1.0, (row["arm"], cell.name)
        found = states(suite / cell.name).values()
        assert {trial.status for trial in found} == {"COMPLETE"}
        assert all(len(trial.epochs) == 1 for trial in found)
    for cell, view, results in read_cells(read_suite(str(storage), name)):
        (spec, task) = next((c.spec, c.task) for c in checked.cells if c.name == cell.name)
        asked = spec.confirm.configurations
        if asked == "best":
            assert not results.other_configurations
            continue
        space = Space(spec, partition_for(spec, task).names)
        kept = asked.by if isinstance(asked, BestBy) else None
        for arm, searched in space.searched.items():
            names = [v.name for v in searched if kept is None or v.name in kept]
            wanted = {
                json.dumps([trial.searched[n] for n in names])
                for trial in results.trials
                if trial.strategy == arm
            }
            own = [
                e for e in (*results.confirm, *results.other_configurations) if e.strategy == arm
            ]
            assert len(own) == max(1, len(wanted))
            assert all(entry.test_error.mean is not None for entry in own)
            assert view.spec.confirm.runs == 1
