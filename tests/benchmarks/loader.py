"""Pictures a second: raysel's reading ahead in threads against torch's DataLoader.

    python tests/benchmarks/loader.py FOLDER [--rounds 5] [--size 224] [--batch 64]

FOLDER holds a folder of photographs a class. All sides read the decoded pictures of one store, cut
the same boxes, resize them by the same filter and give the same uint8 batches: to a bit where
torchvision resizes tensors, within two grey levels where it resizes Pillow's images, which is
checked. The sides take turns. Then a device step is simulated by a sleep of 40 ms a batch, and the
share of the time is measured in which the step waits for its batch, the first of the epoch too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from raysel.common.torchvision_compat import ensure_importable
from raysel.models.data_config import model_input
from raysel.spec.sweep import TaskSpec
from raysel.tasks.augmentation import crop_box
from raysel.tasks.load_task import load_task
from raysel.training.batches import epoch_order
from raysel.training.image_batches import CachedData, on_device
from raysel.training.read_ahead import read_ahead

ensure_importable()

from torchvision.transforms import InterpolationMode  # noqa: E402
from torchvision.transforms.v2 import functional as transforms  # noqa: E402

STEP = 0.04


class Crops(Dataset):
    """The same pictures and crops, by torchvision's functions, of Pillow's images or of tensors."""

    def __init__(self, data: CachedData, size: int, epoch: int, pillow: bool) -> None:
        self.examples, self.size, self.epoch, self.pillow = data.examples, size, epoch, pillow

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, place: int) -> Tensor:
        examples = self.examples
        kept = examples.opened[examples.rows[place]]
        generator = np.random.default_rng([0, self.epoch, int(examples.indices[place])])
        left, top, right, bottom = crop_box(kept.shape[1], kept.shape[0], generator)
        image: Any = Image.fromarray(kept) if self.pillow else torch.from_numpy(kept.copy())
        if not self.pillow:
            image = image.permute(2, 0, 1)
        sides = [self.size, self.size]
        cut = transforms.resized_crop(
            image, top, left, bottom - top, right - left, sides, InterpolationMode.BICUBIC
        )
        if generator.random() < 0.5:
            cut = transforms.horizontal_flip(cut)
        return transforms.pil_to_tensor(cut) if self.pillow else cut


def ours(data: CachedData, places: list[Tensor], epoch: int, threads: int) -> Iterator[Tensor]:
    return read_ahead(data.augmented(0, epoch)._pixels, places, threads)


def theirs(
    data: CachedData, places: list[Tensor], epoch: int, workers: int, size: int, pillow: bool
) -> DataLoader:
    sampler = [place.tolist() for place in places]
    return DataLoader(Crops(data, size, epoch, pillow), batch_sampler=sampler, num_workers=workers)


def speed(batches: Iterator[Tensor], batch: int) -> float:
    """Pictures a second, from the second batch on: a worker starts once an epoch."""
    iterator = iter(batches)
    next(iterator)
    started = time.perf_counter()
    count = sum(len(found) for found in iterator)
    return count / (time.perf_counter() - started)


def waiting(batches: Iterator[Tensor]) -> float:
    """The share of an epoch that a step of 40 ms a batch waits."""
    started, steps = time.perf_counter(), 0
    for _ in batches:
        time.sleep(STEP)
        steps += 1
    whole = time.perf_counter() - started
    return (whole - steps * STEP) / whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        spec = {"data": {"folder": str(given.folder)}, "image_size": given.size, "cache": cache}
        spec |= {"augmentation": "random_resized_crop", "duplicates": "keep"}
        spec |= {"split": {"train": 576, "validation": 60, "test": 60}}
        task = load_task(TaskSpec.model_validate(spec), model_input("resnet18"), with_source=False)
        data = on_device(task.train, task.mean, task.std, torch.device("cpu"))
        assert isinstance(data, CachedData)
        # four times as many as there are, so that starting takes a small part
        many = data.only(torch.arange(len(data)).repeat(4))
        many = replace(many, examples=many.examples)
        compare(many, given)


def compare(data: CachedData, given: argparse.Namespace) -> None:
    sides: dict[str, Callable[[list[Tensor], int], Iterator[Tensor]]] = {}
    for count in (0, 1, 2):
        sides[f"raysel, {count} threads"] = lambda p, e, n=count: ours(data, p, e, n)
        for kind in ("Pillow", "tensors"):
            sides[f"DataLoader ({kind}), {count} workers"] = lambda p, e, n=count, k=kind: theirs(
                data, p, e, n, given.size, k == "Pillow"
            )
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    waits: dict[str, list[float]] = {side: [] for side in sides}
    places = list(epoch_order(len(data), 0, 1).split(given.batch))
    own, pillow, tensors = (next(iter(sides[side](places, 1))) for side in list(sides)[:3])
    own = own.permute(0, 3, 1, 2)
    assert torch.equal(own, tensors), "not the same crops"
    assert (own.short() - pillow.short()).abs().max() <= 2, "not the same crops"
    for round_ in range(given.rounds):
        turn = round_ % len(sides)
        order = list(sides)[turn:] + list(sides)[:turn]
        for side in order:
            speeds[side].append(speed(sides[side](places, round_), given.batch))
        for side in order:
            waits[side].append(waiting(sides[side](places, round_)))
    print("| side | pictures a second | of Pillow's | of tensors' | waits at a step of 40 ms |")
    print("|---|---|---|---|---|")
    for side in sides:
        ratios = []
        for kind in ("Pillow", "tensors"):
            rival = f"DataLoader ({kind}), {side.split(', ')[1].split()[0]} workers"
            pairs = zip(speeds[side], speeds[rival], strict=True)
            ratios.append(f"{statistics.median(a / b for a, b in pairs):.2f}")
        print(
            f"| {side} | {statistics.median(speeds[side]):.0f} | {' | '.join(ratios)}"
            f" | {statistics.median(waits[side]):.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
