"""Epochs of a trial with `training.compile` against the same trial without, on the CPU.

    python tests/benchmarks/compiled_step.py [MODEL ...]

Both sides are raysel's own loop (`full`, SGD, batch 32, 64 pixels, 320 images to train on and 256
to validate with), one thread. Their epochs take turns in one process; the ratio is the median over
the pairs, above 1 where compiled epochs are faster. The first compiled epoch holds the compilation,
into an empty cache, and is shown apart. Processor seconds include the compiler's.
"""

import os
import statistics
import sys
import tempfile
import time

import torch

from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition
from raysel.spec.trial_config import TrialConfig
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData

MODELS = ("resnet18", "tf_efficientnet_lite0")
PAIRS, PIXELS, CLASSES = 3, 64, 12

SETTINGS = {
    **{"epochs": 100, "batch_size": 32, "optimizer": "sgd", "learning_rate": 1e-3},
    **{"momentum": 0.9, "weight_decay": 0.0, "schedule": "constant", "warmup_epochs": 0.0},
    **{"batch_norm": "train", "precision": "float32", "clip_norm": None},
    **{"gradient_accumulation_steps": 1, "deterministic": False},
}


def examples(count: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, PIXELS, PIXELS, generator=generator)
    return Batch(images, torch.arange(count) % CLASSES)


def a_trial(name: str, compiled: bool) -> FineTuning:
    model = build(ModelConfig(name, CLASSES, 3, (PIXELS, PIXELS)), 0)
    config = TrialConfig.model_validate(
        {"strategy": "full", "parameters": {}, "seed": 0}
        | {"training": SETTINGS | {"compile": compiled}}
    )
    data = TrialData(examples(320, 1), examples(256, 2))
    return FineTuning(config, model, partition(model), data)


def seconds(trial: FineTuning) -> tuple[float, float, float]:
    """Of an epoch: by the clock, of all processors with the compiler's; its training loss."""
    before, start = os.times(), time.perf_counter()
    loss = trial.run_epoch().metrics["train/loss"]
    used = sum(os.times()[:4]) - sum(before[:4])
    return time.perf_counter() - start, used, loss


def main() -> None:
    torch.set_num_threads(1)
    print("| model | first, s (processor) | an epoch, s | compiled, s | ratio | losses differ |")
    print("|---|---|---|---|---|---|")
    for name in sys.argv[1:] or MODELS:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()
        sides = [a_trial(name, compiled) for compiled in (False, True)]
        firsts = [seconds(side) for side in sides]
        pairs = [[seconds(side) for side in sides] for _ in range(PAIRS)]
        usual, compiled = (
            statistics.median(s[1] for s in column) for column in zip(*pairs, strict=True)
        )
        ratio = statistics.median(before[1] / after[1] for before, after in pairs)
        apart = max(abs(a[2] - b[2]) for a, b in [firsts, *pairs])
        print(
            f"| {name} | {firsts[1][0]:.0f} ({firsts[1][1]:.0f}) | {usual:.2f} | {compiled:.2f} |"
            f" {ratio:.2f} | {apart:.1e} |",
            flush=True,
        )
        for pair in [firsts, *pairs]:
            print("   ", pair, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
