"""The decode-once store against decoding anew: trials a minute, and memory of two workers.

    python tests/benchmarks/decode_once.py FOLDER [--pairs 5] [--size 32] [--trials 4]

FOLDER holds image folders (train/<class>/*.jpg, test/<class>/*.jpg). Both sides run the same
trials on the same examples with the same augmentation and end with the same numbers, which is
checked. "once" reads its batches from the memory-mapped store, "anew" opens, decodes and
resizes the files of every batch in every epoch, as a plain data loader in the same process
does. The sides take turns, and begin in turn; each pair gives one ratio.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysel.models.build import ModelConfig, build
from raysel.models.data_config import model_input
from raysel.models.layers import partition
from raysel.spec.sweep import TaskSpec, TrainingSettings
from raysel.spec.trial_config import TrialConfig
from raysel.tasks.cached_examples import CachedExamples
from raysel.tasks.data import Task
from raysel.tasks.datasets import open_pictures
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.load_task import load_task
from raysel.training.image_batches import CachedData
from raysel.training.loop import FineTuning, TrialData

MODEL = "test_resnet"


@dataclass(frozen=True)
class Anew:
    """Has the face of a `ImageCache`, and decodes a picture every time that it is asked for."""

    pictures: ImageDataset
    examples: CachedExamples
    index_of: dict[int, int] = field(default_factory=dict)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.examples.geometry.stored(self.pictures.read(self.index_of[int(row)]))

    def rows(self, chosen: np.ndarray) -> np.ndarray:
        return np.stack([self[row] for row in chosen])


def anew(examples: CachedExamples, pictures: ImageDataset) -> CachedExamples:
    """The same examples without the store."""
    index_of = {
        int(row): int(index) for row, index in zip(examples.rows, examples.indices, strict=True)
    }
    other = replace(examples)
    other.__dict__["opened"] = Anew(pictures, examples, index_of)
    return other


def load(folder: Path, cache: Path, size: int, train: int) -> tuple[Task, ImageDataset]:
    spec = TaskSpec.model_validate(
        {
            "data": {"folder": str(folder)},
            "image_size": size,
            "augmentation": "random_resized_crop",
            "cache": str(cache),
            "split": {"train": train, "validation": 500, "test": 500},
        }
    )
    task = load_task(spec, model_input(MODEL), with_source=False)
    return task, open_pictures(spec)


def data_of(task: Task, pictures: ImageDataset | None) -> TrialData:
    """A trial's data from the store, or without it where `pictures` are given."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = []
    for part in (task.train, task.validation):
        assert isinstance(part, CachedExamples)
        own = part if pictures is None else anew(part, pictures)
        parts.append(CachedData.on(own, task.mean, task.std, device))
    return TrialData(*parts)


def trial(task: Task, data: TrialData, epochs: int, strategy: str) -> dict[str, float]:
    settings = TrainingSettings(
        epochs=epochs, batch_size=32, optimizer="sgd", learning_rate=0.01, momentum=0.9,
        weight_decay=0.0, schedule="constant", warmup_epochs=0.0, batch_norm="train",
        precision="float32", clip_norm=None, gradient_accumulation_steps=1, deterministic=False,
    )  # fmt: skip
    model_config = ModelConfig(MODEL, len(task.classes), task.channels, task.image_size)
    model = build(model_config, seed=0).to(data.train.labels.device)
    config = TrialConfig(strategy=strategy, parameters={}, training=settings, seed=0)
    run = FineTuning(config, model, partition(model), data)
    rows = [run.run_epoch().metrics for _ in range(epochs)]
    return {name: rows[-1][name] for name in ("train/loss", "val/loss", "val/error")}


def timed(
    task: Task, pictures: ImageDataset | None, epochs: int, trials: int, strategy: str
) -> tuple[float, dict[str, float]]:
    """Trials a minute, and the outcome of the last one."""
    started = time.perf_counter()
    for _ in range(trials):
        outcome = trial(task, data_of(task, pictures), epochs, strategy)
    return 60 * trials / (time.perf_counter() - started), outcome


# --- memory ---------------------------------------------------------------------------------


def memory(queue: Any, gate: Any, task: Task, how: str, epochs: int) -> None:
    """In a process of its own: how its resident memory grew from before the data to after."""
    torch.set_num_threads(1)
    before = resident()
    if how == "array":
        data: TrialData = data_of(task, None)
        held = [part.augmented(0, 1).part(slice(None)) for part in (data.train, data.validation)]
        data = TrialData(*held)
    else:
        data = data_of(task, None)
    trial(task, data, epochs, "linear_probe")
    gate.wait()
    after = resident()
    grown = {name: after[name] - before[name] for name in after}
    queue.put({**grown, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})
    gate.wait()


def resident() -> dict[str, float]:
    """MiB of this process: its own memory, files mapped, and its share of what is shared."""
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in rollup}
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kinds = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Rss")}
    return {
        "private": values["Private_Clean"] + values["Private_Dirty"],
        "mapped files": int(kinds["RssFile"]) / 1024,
        "proportional": values["Pss"],
    }


def two_workers(task: Task, how: str, epochs: int) -> list[dict[str, float]]:
    context = multiprocessing.get_context("spawn")
    queue, gate = context.Queue(), context.Barrier(2)
    workers = [
        context.Process(target=memory, args=(queue, gate, task, how, epochs)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    reported = [queue.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    return reported


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--memory-train", type=int, default=7000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        task, pictures = load(given.folder, Path(cache), given.size, given.train)
        print(f"decoding once: {time.perf_counter() - started:.2f} s, before the first trial")
        for strategy in ("full", "linear_probe"):
            compare(task, pictures, given, strategy)
    with tempfile.TemporaryDirectory() as cache:
        task, _ = load(given.folder, Path(cache), given.size, given.memory_train)
        size = sum(file.stat().st_size for file in Path(cache).glob("*/pixels.bin")) / 2**20
        print(f"\nmemory of 2 workers, {given.memory_train} pictures ({size:.0f} MiB of stores)")
        for how in ("store", "array"):
            for worker in two_workers(task, how, 1):
                print(how, json.dumps({name: round(value, 1) for name, value in worker.items()}))


def compare(task: Task, pictures: ImageDataset, given: argparse.Namespace, strategy: str) -> None:
    ratios, speeds = [], {"once": [], "anew": []}
    for pair in range(given.pairs + 1):
        sides = [("once", None), ("anew", pictures)]
        outcomes = {}
        for name, source in sides if pair % 2 else sides[::-1]:
            speed, outcomes[name] = timed(task, source, given.epochs, given.trials, strategy)
            if pair:  # the first pair warms up
                speeds[name].append(speed)
        assert outcomes["once"] == outcomes["anew"], outcomes
        if pair:
            ratios.append(speeds["once"][-1] / speeds["anew"][-1])
    print(
        f"{strategy}: once {statistics.median(speeds['once']):.1f} trials a minute, anew"
        f" {statistics.median(speeds['anew']):.1f}; ratio {statistics.median(ratios):.2f}"
        f" ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} pairs)"
    )


if __name__ == "__main__":
    main()
