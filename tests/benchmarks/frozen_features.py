"""What stored features of frozen layers save: linear probing, and the sweep of all blocks.

    python tests/benchmarks/frozen_features.py FOLDER [--pairs 3] [--size 128]

FOLDER holds a folder of photographs a class. Weights are random: they change no time.

Linear probing: one trial in this process, without stored features, with an empty folder of them
("first") and with the files that are there then ("next"); the sides take turns. The sweep of all
blocks is `raysel run` twice, `training.cache_features` off and auto, on decoded pictures that
are there before and an empty folder of features. Losses and errors of both are compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from raysel.models.build import ModelConfig, build
from raysel.models.data_config import model_input
from raysel.models.layers import partition
from raysel.spec.sweep import TaskSpec, TrainingSettings, TrialConfig
from raysel.tasks.data import Task
from raysel.tasks.load_task import load_task
from raysel.training.features import FeatureCache
from raysel.training.image_batches import on_device
from raysel.training.loop import FineTuning, TrialData

PROBED = ["resnet18", "vit_tiny_patch16_224", "efficientnet_lite0", "convnext_atto"]
SWEPT = "efficientnet_lite0"
COMPARED = ("train/loss", "val/loss", "val/error")
SPLIT = {"train": 400, "validation": 160, "test": 160}


def load(folder: Path, cache: Path, size: int, model: str) -> Task:
    spec = {"data": {"folder": str(folder)}, "image_size": size, "cache": str(cache)}
    spec |= {"split": SPLIT, "duplicates": "keep"}
    return load_task(TaskSpec.model_validate(spec), model_input(model), with_source=False)


def probe(
    name: str, task: Task, epochs: int, features: FeatureCache | None
) -> tuple[float, list[dict[str, float]]]:
    """Seconds of a trial of linear probing, and its epochs."""
    settings = TrainingSettings(
        epochs=epochs, batch_size=32, optimizer="sgd", learning_rate=0.01, momentum=0.9,
        weight_decay=0.0, schedule="constant", warmup_epochs=0.0, batch_norm="frozen_eval",
        precision="float32", clip_norm=None, gradient_accumulation_steps=1, deterministic=False,
    )  # fmt: skip
    model = build(ModelConfig(name, len(task.classes), 3, task.image_size), seed=0)
    device = torch.device("cpu")
    data = TrialData(
        *(on_device(part, task.mean, task.std, device) for part in (task.train, task.validation))
    )
    config = TrialConfig(strategy="linear_probe", parameters={}, training=settings, seed=0)
    run = FineTuning(config, model, partition(model), data, features=features)
    started = time.perf_counter()
    rows = [run.run_epoch().metrics for _ in range(epochs)]
    return time.perf_counter() - started, rows


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
        size = 224 if "vit" in name else given.size
        task = load(folder, scratch / "images", size, name)
        times: dict[str, list[float]] = {"without": [], "first": [], "next": []}
        for pair in range(given.pairs):
            shutil.rmtree(scratch / "features", ignore_errors=True)
            cache = FeatureCache(scratch / "features", torch.get_num_threads())
            rows = {}
            sides = [("without", None), ("first", cache), ("next", cache)]
            for side, features in sides if pair % 2 else [*sides[1:], sides[0]]:
                seconds, rows[side] = probe(name, task, given.epochs, features)
                times[side].append(seconds)
        medians = {side: statistics.median(values) for side, values in times.items()}
        ratios = [
            statistics.median(a / b for a, b in zip(times["without"], times[side], strict=True))
            for side in ("first", "next")
        ]
        differ = max(furthest(rows["without"], rows["next"]).values())
        print(
            f"| {name} {size} | {medians['without']:.1f} | {medians['first']:.1f}"
            f" | {medians['next']:.2f} | {ratios[0]:.1f} | {ratios[1]:.1f} | {differ:.1e} |",
            flush=True,
        )


def sweep_file(folder: Path, scratch: Path, given: argparse.Namespace) -> Path:
    spec = {
        "name": "blocks",
        "task": {
            "data": {"folder": str(folder)},
            "image_size": given.size,
            "split": SPLIT,
            "duplicates": "keep",
            "cache": str(scratch / "cache"),
        },
        "model": {"name": SWEPT, "weights": str(scratch / "weights.pt")},
        "strategies": {"blockwise": {"block": "search"}, "linear_probe": None},
        "training": {"epochs": given.epochs, "learning_rate": 0.01, "batch_norm": "frozen_eval"},
        "search": {"sampler": "grid", "baselines": False},
        "pruner": {"kind": "none"},
        "confirm": {"splits": 1, "seeds": 1},
    }
    path = scratch / "blocks.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def all_blocks(folder: Path, given: argparse.Namespace, scratch: Path) -> None:
    model = build(ModelConfig(SWEPT, 12, 3, (given.size, given.size)), seed=0)
    torch.save(model.state_dict(), scratch / "weights.pt")
    path = sweep_file(folder, scratch, given)
    load(folder, scratch / "cache", given.size, SWEPT)  # decoded before either side
    found: dict[str, dict[str, Any]] = {}
    for side in ("off", "auto") if given.off_first else ("auto", "off"):
        storage = scratch / f"runs-{side}"
        command = [sys.executable, "-m", "raysel", "run", str(path)]
        command += ["--set", f"training.cache_features={side}"]
        command += ["--set", f"storage={storage}"]
        started = time.perf_counter()
        subprocess.run(command, check=True, cwd=scratch, stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - started
        results = json.loads((storage / "blocks" / "results.json").read_text(encoding="utf-8"))
        trials = {str(trial["config"]["parameters"]): trial for trial in results["trials"]}
        found[side] = {"whole": whole, "trials": trials, "spent": results["spent"]}
    off, auto = found["off"]["trials"], found["auto"]["trials"]
    print("\n| block | off, s | auto, s | off / auto |\n|---|---|---|---|")
    for key in off:
        a, b = off[key]["seconds"], auto[key]["seconds"]
        print(f"| {key} | {a:.1f} | {b:.1f} | {a / b:.2f} |")
        differ = furthest(off[key]["epochs"], auto[key]["epochs"])
        assert max(differ.values()) <= 1e-5, (key, differ)
    sums = [sum(trial["seconds"] for trial in side.values()) for side in (off, auto)]
    print(f"| all | {sums[0]:.1f} | {sums[1]:.1f} | {sums[0] / sums[1]:.2f} |")
    wholes = [found[side]["whole"] for side in ("off", "auto")]
    print(f"| the command | {wholes[0]:.1f} | {wholes[1]:.1f} | {wholes[0] / wholes[1]:.2f} |")
    print(found["auto"]["spent"]["features"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--only", choices=["probing", "blocks"])
    parser.add_argument("--off-first", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = given.folder.absolute()
    with tempfile.TemporaryDirectory() as scratch:
        if given.only != "blocks":
            probing(folder, given, Path(scratch))
        if given.only != "probing":
            all_blocks(folder, given, Path(scratch))


if __name__ == "__main__":
    main()
