"""What stored features of frozen layers save: linear probing, and the trials of all blocks.

    python tests/benchmarks/frozen_features.py FOLDER [--pairs 3] [--size 128] [--epochs 15]

FOLDER holds a folder of photographs a class. Weights are random: they change no time. Linear
probing is one trial without stored features, with an empty folder of them ("first") and with the
files that are there then ("next"). The trials of all blocks are those of a block-wise sweep, one
for each layer of the model, which share a folder that is empty at first. The sides take turns;
ratios are of the wall clock and of this process's own processor seconds, which others on the
machine disturb less. Losses and errors of both sides are compared.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from raysel.models.build import ModelConfig, build
from raysel.models.data_config import model_input
from raysel.models.layers import partition
from raysel.spec.sweep import TaskSpec, TrainingSettings
from raysel.spec.trial_config import TrialConfig
from raysel.tasks.data import Task
from raysel.tasks.load_task import load_task
from raysel.training.features import FeatureCache
from raysel.training.image_batches import on_device
from raysel.training.loop import FineTuning, TrialData

PROBED = ["resnet18", "vit_tiny_patch16_224", "efficientnet_lite0", "convnext_atto"]
SWEPT = "efficientnet_lite0"
COMPARED = ("train/loss", "val/loss", "val/error")


class Took(NamedTuple):
    """Seconds of the wall clock, and of the processor in this process."""

    wall: float
    processor: float

    def plus(self, other: Took) -> Took:
        return Took(self.wall + other.wall, self.processor + other.processor)


def load(folder: Path, cache: Path, given: argparse.Namespace, size: int | None = None) -> Task:
    spec = {"data": {"folder": str(folder)}, "image_size": size or given.size}
    split = {"train": given.train, "validation": given.train // 2, "test": 60}
    spec |= {"cache": str(cache), "split": split, "duplicates": "keep"}
    return load_task(TaskSpec.model_validate(spec), model_input(SWEPT), with_source=False)


def trial(
    name: str,
    task: Task,
    epochs: int,
    features: FeatureCache | None,
    strategy: str = "linear_probe",
    parameters: dict[str, Any] | None = None,
) -> tuple[Took, list[dict[str, float]]]:
    """What a trial took, and its epochs."""
    settings = TrainingSettings(
        epochs=epochs, batch_size=32, optimizer="sgd", learning_rate=0.001, momentum=0.9,
        weight_decay=0.0, schedule="constant", warmup_epochs=0.0, batch_norm="frozen_eval",
        precision="float32", clip_norm=None, gradient_accumulation_steps=1, deterministic=False,
    )  # fmt: skip
    model = build(ModelConfig(name, len(task.classes), 3, task.image_size), seed=0)
    device = torch.device("cpu")
    data = TrialData(
        *(on_device(part, task.mean, task.std, device) for part in (task.train, task.validation))
    )
    config = TrialConfig(strategy=strategy, parameters=parameters or {}, training=settings, seed=0)
    run = FineTuning(config, model, partition(model), data, features=features)
    started = time.perf_counter(), time.process_time()
    rows = [run.run_epoch().metrics for _ in range(epochs)]
    return Took(time.perf_counter() - started[0], time.process_time() - started[1]), rows


def furthest(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, float]:
    """The largest difference of each metric."""
    return {
        metric: max(abs(a[metric] - b[metric]) for a, b in zip(one, other, strict=True))
        for metric in COMPARED
    }


def probing(folder: Path, given: argparse.Namespace, scratch: Path) -> None:
    print("| model | without, s | first, s | next, s | without / first | without / next | differ |")
    print("|---|---|---|---|---|---|---|")
    for name in PROBED:
        task = load(folder, scratch / "images", given, 224 if "vit" in name else None)
        times: dict[str, list[Took]] = {"without": [], "first": [], "next": []}
        for pair in range(given.pairs):
            shutil.rmtree(scratch / "features", ignore_errors=True)
            cache = FeatureCache(scratch / "features", torch.get_num_threads())
            rows = {}
            sides = [("without", None), ("first", cache), ("next", cache)]
            for side, features in sides if pair % 2 else [*sides[1:], sides[0]]:
                took, rows[side] = trial(name, task, given.epochs, features)
                times[side].append(took)
        walls = {side: statistics.median(t.wall for t in took) for side, took in times.items()}
        ratios = [
            " or ".join(f"{statistics.median(a[c] / b[c] for a, b in pairs):.1f}" for c in (0, 1))
            for pairs in (
                [*zip(times["without"], times[s], strict=True)] for s in ("first", "next")
            )
        ]
        differ = max(furthest(rows["without"], rows["next"]).values())
        print(
            f"| {name} {task.image_size[0]} | {walls['without']:.1f} | {walls['first']:.1f}"
            f" | {walls['next']:.2f} | {ratios[0]} | {ratios[1]} | {differ:.1e} |",
            flush=True,
        )


def all_blocks(folder: Path, given: argparse.Namespace, scratch: Path) -> None:
    task = load(folder, scratch / "images", given)
    names = partition(build(ModelConfig(SWEPT, len(task.classes), 3, task.image_size), 0)).names
    cache = FeatureCache(scratch / "blocks", torch.get_num_threads())
    print("\n| block that moves | without, s | with, s | without / with | processor |")
    print("|---|---|---|---|---|")
    totals = {"without": Took(0.0, 0.0), "with": Took(0.0, 0.0)}
    for turn, name in enumerate(given.blocks or names):
        arm = ("blockwise", {"block": name})
        sides = [("without", None), ("with", cache)]
        took, rows = {}, {}
        for side, features in sides if turn % 2 else sides[::-1]:
            took[side], rows[side] = trial(SWEPT, task, given.epochs, features, *arm)
            totals[side] = totals[side].plus(took[side])
        assert max(furthest(rows["without"], rows["with"]).values()) <= 1e-5, name
        print(f"| {name} | {row(took['without'], took['with'])} |", flush=True)
    print(f"| all | {row(totals['without'], totals['with'])} |")


def row(without: Took, other: Took) -> str:
    wall = f"{without.wall:.1f} | {other.wall:.1f} | {without.wall / other.wall:.2f}"
    return f"{wall} | {without.processor / other.processor:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--only", choices=["probing", "blocks"])
    parser.add_argument("--blocks", nargs="*", help="these layers alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if given.only != "blocks":
            probing(given.folder, given, Path(scratch))
        if given.only != "probing":
            all_blocks(given.folder, given, Path(scratch))


if __name__ == "__main__":
    main()
