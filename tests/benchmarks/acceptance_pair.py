"""Which layer suits which shift: first block against full on a permutation of the channels,
last layer against full on flipped labels.

    python tests/benchmarks/acceptance_pair.py [--seeds 5]

The set-up of docs/algorithms.md D37: digits with their edges as three
channels, three 3x3 convolutions (16, 32, 64) without norm, 2x2 max pooling after the first
two, global pooling, a linear classifier; 1000 source images, Adam 2e-3, 25 epochs; 100 target
images, Adam, 25 epochs, the better of the rates 1e-2 and 1e-3 by 100 validation images, the
rest is test. It prints what comes out, whatever that is.
"""

from __future__ import annotations

import argparse
from typing import ClassVar

import torch
from torch import nn

from raysel.models.layers import partition
from raysel.spec.source import SourceSpec
from raysel.spec.sweep import ShiftSpec, SplitSpec, TaskSpec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.verdict import interval
from raysel.tasks.data import Task
from raysel.tasks.load_task import load_task
from raysel.training.batches import to_device
from raysel.training.loop import FineTuning, TrialData

DEVICE = torch.device("cpu")
RATES = (1e-2, 1e-3)
LAYERS = ("block1", "block2", "block3", "classifier")


class SmallNet(nn.Module):
    """Three blocks and a classifier."""

    pretrained_cfg: ClassVar = {"classifier": "classifier"}

    def __init__(self) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.block2 = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU())
        self.block3 = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.block3(self.pool(self.block2(self.pool(self.block1(images)))))
        return self.classifier(hidden.mean((2, 3)))


def tuned(config: TrialConfig, model: nn.Module, data: TrialData, keep_best: bool) -> FineTuning:
    trial = FineTuning(config, model, partition(model, LAYERS), data, keep_best=keep_best)
    for _ in range(config.training.epochs):
        trial.run_epoch()
    return trial


def configuration(strategy: str, parameters: dict, rate: float, seed: int) -> TrialConfig:
    settings = SourceSpec().settings.model_copy(
        update={
            "epochs": 25,
            "batch_size": 32,
            "optimizer": "adam",
            "learning_rate": rate,
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup_epochs": 0.0,
        }
    )
    return TrialConfig(strategy=strategy, parameters=parameters, training=settings, seed=seed)


def source_weights(task: Task, seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmallNet()
    train, validation = (
        to_device(part, task.mean, task.std, DEVICE)
        for part in (task.source_train, task.source_validation)
    )
    tuned(configuration("full", {}, 2e-3, seed), model, TrialData(train, validation), False)
    return model.state_dict()


def test_errors(kind: str, seed: int) -> dict[str, float]:
    """Test error of each choice of layers, its rate and epoch chosen by validation."""
    split = SplitSpec(train=100, validation=100, test=597, seed=seed)
    task = load_task(
        TaskSpec(data="digits_edges", source=1000, shift=ShiftSpec(kind=kind), split=split)
    )
    weights = source_weights(task, seed)
    train, validation = (
        to_device(part, task.mean, task.std, DEVICE) for part in (task.train, task.validation)
    )
    with task.test.opened() as examples:
        test = to_device(examples, task.mean, task.std, DEVICE)
    choices = {name: ("surgical", {"block": name}) for name in LAYERS} | {"full": ("full", {})}
    errors = {}
    for name, (strategy, parameters) in choices.items():
        trials = []
        for rate in RATES:
            model = SmallNet()
            model.load_state_dict(weights)
            config = configuration(strategy, parameters, rate, seed)
            trials.append(tuned(config, model, TrialData(train, validation), True))
        best = min(trials, key=lambda trial: trial.validated.best_value)
        best.validated.load()
        errors[name] = best.evaluate(test, "test")["test/error"]
    return errors


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    print("| shift | " + " | ".join([*LAYERS, "full"]) + " | pair: full minus layer |")
    print("|---" * (len(LAYERS) + 3) + "|")
    for kind, layer in (("channel_permutation", "block1"), ("label_flip", "classifier")):
        rows = [test_errors(kind, seed) for seed in seeds]
        cells = []
        for name in [*LAYERS, "full"]:
            mean, _, high = interval([row[name] for row in rows])
            cells.append(f"{mean:.3f} ± {(high or mean) - mean:.3f}")
        margin, low, high = interval([row["full"] - row[layer] for row in rows])
        bounds = "" if low is None else f" ({low:+.3f} to {high:+.3f})"
        print(f"| {kind} | " + " | ".join(cells) + f" | {layer}: {margin:+.3f}{bounds} |")


if __name__ == "__main__":
    main()
