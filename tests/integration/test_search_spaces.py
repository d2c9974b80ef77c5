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

import numpy as np
import pictures_kit as kit
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image

from raysel.cli.main import main
from raysel.models.build import ModelConfig, build
from raysel.search.space import strategies_of
from raysel.spec import reader
from raysel.tasks.readers.breeds import superclasses

from .helpers import states

FOLDER = Path(__file__).parents[2] / "search_spaces"
FILES = sorted(set(FOLDER.rglob("*.yaml")) - set((FOLDER / "papers" / "tables").iterdir()))
SIZE = 32

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
# the seconds that a strategy of these takes to prepare (second derivatives, a tuned copy)
LENGTHY = {"surprise": {"samples": 8}, "surprise_diff": {"samples": 8}}


def named(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def cases() -> Iterator[object]:
    """Each file with its first strategy; with the others where there is time."""
    for file in FILES:
        for place, strategy in enumerate(strategies_of(reader.read(file, ()).spec())):
            marks = [pytest.mark.slow] if place else []
            yield pytest.param(file, strategy, marks=marks, id=f"{named(file)}-{strategy}")


def changes(file: Path, *more: str) -> list[str]:
    return [word for change in (*SMALL, *CHANGES[named(file)], *more) for word in ("--set", change)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `data` as the files expect them, small, and weights."""
    place = tmp_path_factory.mktemp("papers")
    with pytest.MonkeyPatch.context() as patch:
        kit.without_checksums(patch)
        write_data(place / "data", patch)
        write_weights(place)
        yield place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def write_data(data: Path, patch: pytest.MonkeyPatch) -> None:
    kit.counted(patch, "pets", 3, 36, 36)
    kit.pets(data, ("Abyssinian", "Bengal", "Birman"), each=12)
    kit.counted(patch, "cifar10", 10, 300, 60)
    kit.cifar10(data, each_batch=60)
    kit.cifar10c(data, ("gaussian_noise",), each=80)
    darken(data / "CIFAR-10-C" / "gaussian_noise.npy")
    kit.counted(patch, "caltech101", 3, 60, 0)
    kit.caltech(data, ("accordion", "airplanes", "anchor"), each=20)
    kit.counted(patch, "flowers102_all", 102, 510, 0)
    numbers = list(range(1, 511))
    kit.flowers(data, numbers[:204], numbers[204:408], numbers[408:], classes=102)
    for name, each in (("living17", 3), ("entity30", 2)):
        for kind in superclasses(name):
            for wnid in (*kind.source, *kind.target):
                light = 4 if wnid in kind.target else 1  # where nothing shifts surprise refuses
                for part in ("train", "val"):
                    folder = data / "imagenet" / part / wnid
                    folder.mkdir(parents=True, exist_ok=True)
                    for number in range(each):
                        image = Image.fromarray(kit.pixels(number, 40, 36) // light)
                        image.save(folder / f"{wnid}_{number}.JPEG")


def darken(images: Path) -> None:
    """Another distribution than the source's, without which surprise refuses to weigh."""
    np.save(images, np.load(images) // 4)


def write_weights(place: Path) -> None:
    """Random weights under the files' own names, and those that `CHANGES` names."""
    (place / "weights").mkdir()
    (place / "data" / "robustbench").mkdir()
    for name, classes in (("resnet10t", 3), ("test_vit", 3), ("test_resnet", 3)):
        save(name, classes, place / "weights" / f"{name}-{classes}.safetensors")
    save("test_resnet", 102, place / "weights" / "test_resnet-102.safetensors")
    for name, classes in (("living17", 17), ("entity30", 30)):
        save("resnet10t", classes, place / "data" / f"{name}_source.safetensors")
    wide = build(ModelConfig("cifar_wrn_16_2", 10, 3, (32, 32)), seed=0)
    torch.save({"state_dict": wide.state_dict()}, place / "data" / "robustbench" / "Standard.pt")


def save(name: str, classes: int, path: Path) -> None:
    made = build(ModelConfig(name, classes, 3, (SIZE, SIZE)), seed=0)
    safetensors.torch.save_file(made.state_dict(), path)


def test_every_file_is_made_small_here() -> None:
    assert sorted(CHANGES) == [named(file) for file in FILES]


@pytest.mark.parametrize(("file", "strategy"), cases())
def test_a_strategy_of_a_file_takes_two_steps(
    file: Path, strategy: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    smaller = [f"strategies.{strategy}.{k}={v}" for k, v in LENGTHY.get(strategy, {}).items()]
    asked = ["finetune", str(file), "--strategy", strategy, "--steps", "2", "--json"]
    assert main([*asked, *changes(file, *smaller)]) == 0
    name = reader.read(file, ()).spec().name
    folder = place / "runs" / f"{name}.finetune" / strategy
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
    name: str, place: Path, storage: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
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
