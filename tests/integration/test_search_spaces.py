"""Every sweep file that comes with raysel runs: on small data in the real formats, with a small
model in the paper's place, and without the network.

What is tested is the file: its task, its split by kind, its strategies and their values, its
training. Sizes are cut by `--set`, as a user would.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raysel.cli.main import main
from raysel.search.space import strategies_of
from raysel.spec import reader

from .helpers import states
from .paper_data import SIZE

FOLDER = Path(__file__).parents[2] / "search_spaces"
FILES = sorted(set(FOLDER.rglob("*.yaml")) - set((FOLDER / "papers" / "tables").iterdir()))
SMALL = ["training.epochs=1", "training.batch_size=4", "resources={cpus: 1}", "confirm.seeds=1"]
FEW = ["task.split.shots=2", "task.split.validation=30"]
CIFAR = [
    *("task.split.shots=2", "task.split.validation=10", "task.cache=cache"),
    *("model.name=cifar_wrn_16_2", "task.image_size=16"),
]
PICTURES = [f"task.image_size={SIZE}", "task.cache=cache"]


def model(name: str, classes: int) -> list[str]:
    """A small model in the place of the paper's, with weights from a file."""
    return [f"model.name={name}", f"model.weights=weights/{name}-{classes}.safetensors"]


# file -> what makes it small
CHANGES = {
    "digits": ["model.name=test_resnet", "task.source=100"],
    "strategies": ["model.name=test_resnet", "task.source=100"],
    "compare": ["task.source=100"],
    "photographs": [
        *("task.data={folder: photographs}", "task.image_size=32", "task.split.shots=2"),
        *model("resnet10t", 3),
    ],
    "papers/bvg_ls_alpha": [*PICTURES, *model("resnet10t", 3)],
    "papers/bvg_ls_random": [*PICTURES, *model("resnet10t", 3)],
    "papers/bvg_ls_wrn": [*PICTURES, *model("resnet10t", 3)],
    "papers/bvg_ls_transformers": [*PICTURES, *model("test_vit", 3)],
    "papers/surgical_cifar10c": CIFAR,
    "papers/surgical_cifar10f": CIFAR,
    "papers/automatic_cifar10c": CIFAR,
    "papers/automatic_cifar10f": CIFAR,
    "papers/automatic_shots": [*CIFAR, "training.shots=1"],
    "papers/automatic_living17": [*PICTURES, *FEW, "model.name=resnet10t"],
    "papers/automatic_entity30": [*PICTURES, *FEW, "model.name=resnet10t"],
    "papers/blockwise_caltech101": [*PICTURES, *model("test_resnet", 3)],
    "papers/blockwise_flowers": [*PICTURES, *model("test_resnet", 102)],
}
QUICK = {"digits", "photographs", "papers/bvg_ls_wrn", "papers/blockwise_flowers"}
QUICK |= {"papers/surgical_cifar10c", "papers/automatic_living17"}
# the seconds that a strategy of these takes to prepare (second derivatives, a tuned copy)
LENGTHY = {"surprise": {"samples": 8}, "surprise_diff": {"samples": 8}}


def named(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def cases() -> Iterator[object]:
    """Each file with each strategy; a file of each paper with the first in `make test`."""
    for file in FILES:
        for place, strategy in enumerate(strategies_of(reader.read(file, ()).spec())):
            marks = [pytest.mark.slow] if place or named(file) not in QUICK else []
            yield pytest.param(file, strategy, marks=marks, id=f"{named(file)}-{strategy}")


def changes(file: Path, *more: str) -> list[str]:
    return [word for change in (*SMALL, *CHANGES[named(file)], *more) for word in ("--set", change)]


@pytest.fixture(autouse=True)
def _there(paper_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(paper_place)


def test_every_file_is_made_small_here() -> None:
    assert sorted(CHANGES) == [named(file) for file in FILES]


@pytest.mark.parametrize(("file", "strategy"), cases())
def test_a_strategy_of_a_file_takes_two_steps(
    file: Path, strategy: str, paper_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    smaller = [f"strategies.{strategy}.{k}={v}" for k, v in LENGTHY.get(strategy, {}).items()]
    asked = ["finetune", str(file), "--strategy", strategy, "--steps", "2", "--json"]
    assert main([*asked, *changes(file, *smaller)]) == 0
    name = reader.read(file, ()).spec().name
    folder = paper_place / "runs" / f"{name}.finetune" / strategy
    result = json.loads((folder / "result.json").read_text())
    assert result["failure"] is None
    assert [row["epoch"] for row in result["epochs"]] == [1]
    traces = (folder / "trials" / "0000" / "trace").glob("*.parquet")
    steps = [step for file in traces for step in pq.read_table(file)["step"].to_pylist()]
    assert set(steps) == {1, 2}


# the file of each paper that runs end to end, and what makes its search short
WHOLE = {
    "papers/surgical_cifar10c": ["search.num_trials=3", "training.batch_size=10"],
    "papers/bvg_ls_wrn": [],
    "papers/blockwise_caltech101": [],
    "papers/automatic_cifar10c": [
        "search.num_trials=10",
        *(f"strategies.{name}.samples=8" for name in LENGTHY),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "papers/surgical_cifar10c",
        *(pytest.param(n, marks=pytest.mark.slow) for n in WHOLE if "surgical" not in n),
    ],
)
def test_one_file_of_each_paper_runs_end_to_end(
    name: str,
    paper_place: Path,
    storage: Path,
    ray_cluster: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = FOLDER / f"{name}.yaml"
    shrunk = changes(file, *WHOLE[name], f"storage={storage}")
    code = main(["run", str(file), "--quiet", *shrunk])
    assert code == 0, capsys.readouterr().err
    spec = reader.read(file, [word for word in shrunk if word != "--set"]).spec()
    folder = storage / spec.name
    found = states(folder).values()
    assert {trial.status for trial in found} == {"COMPLETE"}
    results = json.loads((folder / "results.json").read_text())
    assert {row["strategy"] for row in results["confirm"]} == set(strategies_of(spec))
    assert results["verdict"]["winner"] is not None
    assert (folder / "report" / "index.html").is_file()
    assert (folder / "best" / "model.safetensors").is_file()
