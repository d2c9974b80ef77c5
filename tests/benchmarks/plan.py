"""Is `raysel plan` right? Its memory against torch's memory tracker, its time against the clock.

    python tests/benchmarks/plan.py memory
    python tests/benchmarks/plan.py time [--rounds 5]

`memory`: the estimated peak of a training step against the peak of a real one, for three models.
`time`: in each round the quick start is planned, then run in a storage of its own; both are
processes of their own, and the run's whole wall time counts, from the shell's point of view.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUICK_START = ROOT / "search_spaces" / "digits.yaml"

MODELS = (
    # model, pixels, channels, batch, optimizer
    ("resnet10t", 16, 1, 32, "sgd"),
    ("resnet18", 64, 3, 16, "sgd"),
    ("vit_tiny_patch16_224", 224, 3, 8, "adamw"),
    ("convnext_atto", 96, 3, 16, "adamw"),
)


def memory() -> None:
    """A table, in MB."""
    sys.path.insert(0, str(ROOT / "tests" / "unit" / "service"))
    from step_kit import config_of, layers_of, measured_peak

    from raysel.models.build import ModelConfig
    from raysel.training.step_memory import step_memory

    print("| model | batch | strategy | estimated, MB | measured, MB | ratio |")
    print("|---|---|---|---|---|---|")
    for name, size, channels, batch, optimizer in MODELS:
        model_config = ModelConfig(name, 10, channels, (size, size))
        layers = layers_of(model_config)
        for strategy in ("full", "bvg_ls"):
            config = config_of(strategy, layers, batch_size=batch, optimizer=optimizer)
            estimated = step_memory(model_config, layers, config, "cpu").peak
            measured = measured_peak(model_config, layers, config)
            reported = f"{estimated / 1e6:.1f} | {measured / 1e6:.1f} | {estimated / measured:.3f}"
            print(f"| {name} {size}, {optimizer} | {batch} | {strategy} | {reported} |", flush=True)


def pair() -> tuple[float, float, dict[str, float]]:
    """Seconds estimated and taken, and the estimate by phase."""
    with tempfile.TemporaryDirectory() as storage:
        common = [str(QUICK_START), "--set", f"storage={storage}"]
        reported = _raysel(storage, "plan", *common, "--json")
        began = time.perf_counter()
        _raysel(storage, "run", *common, "--quiet")
        taken = time.perf_counter() - began
        seconds = json.loads(reported)["seconds"]
        return seconds["total"], taken, seconds


def _raysel(folder: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "raysel", *arguments]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder, env=environment
    )
    return ran.stdout


def clock(rounds: int) -> None:
    """A line a round, then the median of the ratios."""
    ratios = []
    for number in range(1, rounds + 1):
        load = os.getloadavg()[0]
        estimated, taken, phases = pair()
        ratios.append(estimated / taken)
        parts = ", ".join(f"{name} {value:.0f}" for name, value in phases.items())
        print(
            f"{number}: estimated {estimated:.0f} s, taken {taken:.0f} s, ratio {ratios[-1]:.2f} "
            f"(load before {load:.1f}; {parts})",
            flush=True,
        )
    print(f"median of the ratios {statistics.median(ratios):.2f}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("memory", "time"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.what == "memory":
        memory()
    else:
        clock(given.rounds)


if __name__ == "__main__":
    main()
