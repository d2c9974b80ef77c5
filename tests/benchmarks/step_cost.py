"""What bias-variance guidance adds to a training step: full, bvg_ls and bvg_ls_threshold in turn.

    python tests/benchmarks/step_cost.py [--rounds 30] [--threads 2]

Each round times one step of every strategy on the same batch, in an order that rotates, so
that a drift of the machine's speed falls on all of them. A ratio is the median over the
rounds of (strategy's step) / (full's step of the same round). Memory is what the strategy's
state holds after the steps, counted tensor by tensor and set against the parameters.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition
from raysel.spec.sweep import TrialConfig
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData
from raysel.training.selection_trace import EpochTrace
from raysel.training.source_model import SETTINGS

CASES = [
    ("resnet18", 64, 16),
    ("vit_tiny_patch16_224", 224, 8),
    ("test_resnet", 64, 64),
]
VARIANTS = [
    ("full", "full", {}),
    ("bvg_ls", "bvg_ls", {"ema_decay": 0.9}),
    ("bvg_ls_threshold", "bvg_ls_threshold", {"ema_decay": 0.9}),
    ("bvg_ls, a /= mu", "bvg_ls", {"ema_decay": 0.8}),
]


def trial(name: str, size: int, batch: Batch, strategy: str, parameters: dict) -> FineTuning:
    device = batch.labels.device
    model = build(ModelConfig(name, 10, 3, (size, size)), seed=0).to(device)
    settings = SETTINGS.model_copy(
        update={"optimizer": "sgd", "learning_rate": 1e-3, "weight_decay": 0.0}
    )
    config = TrialConfig(strategy=strategy, parameters=parameters, training=settings, seed=0)
    made = FineTuning(config, model, partition(model), TrialData(batch, batch))
    model.train()
    return made


def one_step(trial: FineTuning, batch: Batch) -> float:
    if batch.labels.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    trial._update(trial._backward([batch]), EpochTrace(trial.partition.names, 1))
    if batch.labels.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def state_numbers(state: object) -> int:
    """How many numbers a strategy's state holds."""
    if isinstance(state, Tensor):
        return state.numel()
    if isinstance(state, dict):
        return sum(map(state_numbers, state.values()))
    if isinstance(state, list | tuple):
        return sum(map(state_numbers, state))
    return 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, {arguments.threads} threads, {arguments.rounds} rounds")
    print(
        "| model | batch | variant | ms a step | ratio to full | state, numbers | of parameters |"
    )
    print("|---|---|---|---|---|---|---|")
    for model, size, count in CASES:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(count, 3, size, size, generator=generator).to(device)
        batch = Batch(images, torch.randint(0, 10, (count,), generator=generator).to(device))
        trials = {label: trial(model, size, batch, s, p) for label, s, p in VARIANTS}
        times: dict[str, list[float]] = {label: [] for label in trials}
        labels = list(trials)
        for round_ in range(-3, arguments.rounds):
            turn = round_ % len(labels)
            for label in labels[turn:] + labels[:turn]:
                seconds = one_step(trials[label], batch)
                if round_ >= 0:
                    times[label].append(seconds)
        parameters = sum(p.numel() for p in trials["full"].model.parameters())
        for label, made in trials.items():
            pairs = zip(times[label], times["full"], strict=True)
            ratio = statistics.median(mine / full for mine, full in pairs)
            held = state_numbers(made.strategy.state_dict())
            milliseconds = 1e3 * statistics.median(times[label])
            print(
                f"| {model} {size} | {count} | {label} | {milliseconds:.1f} | {ratio:.3f} "
                f"| {held:,} | {held / parameters:.4f} |"
            )


if __name__ == "__main__":
    main()
