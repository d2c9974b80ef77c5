"""What a training step costs: a plain PyTorch loop, `full`, `bvg_ls`, `bvg_ls_threshold` in turn.

    python tests/benchmarks/step_cost.py [--rounds 30] [--threads 2]

The plain loop is forward, backward and `torch.optim.SGD(nesterov=True, foreach=True)`. Each round
times one step of every side on the same batch, in an order that rotates, so that a drift of the
machine's speed falls on all of them. A ratio is the median over the rounds of (a side's step) /
(the other's step of the same round). Memory is what the strategy's state holds after the steps,
counted tensor by tensor and set against the parameters.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition
from raysel.spec.source import SourceSpec
from raysel.spec.trial_config import TrialConfig
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData
from raysel.training.selection_trace import EpochTrace

CASES = [
    ("resnet18", 64, 16),
    ("vit_tiny_patch16_224", 224, 8),
    ("efficientnet_lite0", 96, 16),
    ("test_resnet", 64, 64),
]
PLAIN = "plain loop"
VARIANTS = [
    ("full", "full", {}),
    ("bvg_ls", "bvg_ls", {"ema_decay": 0.9}),
    ("bvg_ls_threshold", "bvg_ls_threshold", {"ema_decay": 0.9}),
    ("bvg_ls, a /= mu", "bvg_ls", {"ema_decay": 0.8}),
]


Step = Callable[[Batch], None]


def trial(name: str, size: int, batch: Batch, strategy: str, parameters: dict) -> FineTuning:
    device = batch.labels.device
    model = build(ModelConfig(name, 10, 3, (size, size)), seed=0).to(device)
    settings = SourceSpec().settings.model_copy(
        update={"optimizer": "sgd", "learning_rate": 1e-3, "weight_decay": 0.0}
    )
    config = TrialConfig(strategy=strategy, parameters=parameters, training=settings, seed=0)
    made = FineTuning(config, model, partition(model), TrialData(batch, batch))
    model.train()
    return made


def plain(name: str, size: int, device: torch.device) -> Step:
    """The step of a loop as one writes it by hand."""
    model = build(ModelConfig(name, 10, 3, (size, size)), seed=0).to(device).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, foreach=True
    )

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(model(batch.images), batch.labels).backward()
        optimizer.step()

    return step


def of_trial(trial: FineTuning) -> Step:
    trace = EpochTrace(trial.partition.names, 1)
    return lambda batch: trial._update(trial._backward([batch]), trace)


def seconds_of(step: Step, batch: Batch) -> float:
    if batch.labels.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    step(batch)
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
        "| model | batch | side | ms a step | to plain | to full | state, numbers | of parameters |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for model, size, count in CASES:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(count, 3, size, size, generator=generator).to(device)
        batch = Batch(images, torch.randint(0, 10, (count,), generator=generator).to(device))
        trials = {label: trial(model, size, batch, s, p) for label, s, p in VARIANTS}
        sides = {PLAIN: plain(model, size, device)}
        sides |= {label: of_trial(made) for label, made in trials.items()}
        times: dict[str, list[float]] = {label: [] for label in sides}
        labels = list(sides)
        for round_ in range(-3, arguments.rounds):
            turn = round_ % len(labels)
            for label in labels[turn:] + labels[:turn]:
                seconds = seconds_of(sides[label], batch)
                if round_ >= 0:
                    times[label].append(seconds)
        parameters = sum(p.numel() for p in trials["full"].model.parameters())
        for label in sides:
            ratios = [
                statistics.median(a / b for a, b in zip(times[label], times[other], strict=True))
                for other in (PLAIN, "full")
            ]
            held = state_numbers(trials[label].strategy.state_dict()) if label in trials else 0
            milliseconds = 1e3 * statistics.median(times[label])
            print(
                f"| {model} {size} | {count} | {label} | {milliseconds:.1f} | {ratios[0]:.3f} "
                f"| {ratios[1]:.3f} | {held:,} | {held / parameters:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
