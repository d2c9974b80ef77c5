"""How many epochs a search with two objectives needs for random search's hypervolume.

    python tests/benchmarks/several_objectives.py [--seeds 20] [--trials 60] [--only NAME ...]

The search controller, its study and its record are those of a sweep; in the place of Ray and the
workers stand four simulated ones, and made-up learning curves. A curve falls to an error that
depends on strategy, block, learning rate and batch size, at a pace that depends on the learning
rate, with noise, so that curves cross; an epoch's seconds depend on where the lowest layer that
moves lies and on the batch size, and what is cheap has the larger error.

For each seed random search without a pruner runs its trials to their end. Its hypervolume (of
error and seconds of the complete trials, both as shares of the reference point) is the target. The
others go on until they have as much, for at most three times as many trials. Printed are the
epochs that each needed over those of random search, median and quartiles over the seeds, and in
how many seeds they were at most two thirds.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles

from optuna import Trial

from raysel.engine.trial_source import Assignment
from raysel.record.event_log import EventLog
from raysel.record.events import Record, sqlite_url
from raysel.search.dominance_pruner import DominancePruner
from raysel.search.space import Space
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.search_controller import SearchController
from raysel.training.worker_messages import EpochMessage

LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
EPOCHS, WORKERS = 16, 4

FILE = f"""
name: simulated
task: {{data: digits}}
model: {{name: resnet10t}}
strategies:
  full:
  linear_probe:
  surgical: {{block: search}}
  bvg_ls: {{ema_decay: {{float: [0.5, 0.99]}}, ema_init: debiased}}
training:
  epochs: {EPOCHS}
  learning_rate: {{float: [1e-4, 1e-1], log: true}}
  batch_size: {{categorical: [16, 32, 64, 128]}}
objective: {{metric: val/error, secondary: [cost/seconds]}}
pruner: {{kind: asha}}
"""

SEARCHES: dict[str, tuple[str, ...]] = {
    "random": ("search.sampler=random", "pruner.kind=none"),
    "random, asha by dominance": ("search.sampler=random",),
    "random, asha by the first": ("search.sampler=random",),
    "tpe": ("search.sampler=tpe", "pruner.kind=none"),
    "tpe, asha by dominance": ("search.sampler=tpe",),
    "nsga2": ("search.sampler=nsga2", "pruner.kind=none"),
    "nsga2, asha by dominance": ("search.sampler=nsga2",),
}

SLOWEST = 3.0 * EPOCHS
"""Seconds of the most expensive trial: all layers, the smallest batch."""


class ByTheFirst(DominancePruner):
    """The same rule with the first objective alone."""

    def prune(self, trial: Trial, epoch: int, reached: Sequence[float]) -> bool:
        return super().prune(trial, epoch, reached[:1])


class Curve:
    """A trial's errors and seconds, a function of its configuration but for the noise."""

    def __init__(self, config: TrialConfig, seed: str) -> None:
        rate = math.log10(config.training.learning_rate)
        small = math.log2(128 / config.training.batch_size) / 3  # 0 at 128, 1 at 16
        block = config.parameters.get("block")
        moved = {
            "full": 1.0,
            "linear_probe": 0.0,
            "surgical": 1 - LAYERS.index(block) / 5 if block else 1.0,
            "bvg_ls": 0.7,
        }[config.strategy]
        best = {"full": -2.5, "linear_probe": -1.5, "surgical": -2.0, "bvg_ls": -2.0}
        self._low = 0.08 + 0.15 * (1 - moved) ** 2 + 0.05 * (1 - small)
        self._low += 0.06 * (rate - best[config.strategy]) ** 2
        self._pace = 0.5 * 10 ** (0.25 * (rate + 2))
        self._seconds = (0.4 + 0.6 * moved) * (1.0 + 2.0 * small)
        self._noise = random.Random(seed)

    def epoch(self, number: int) -> dict[str, float]:
        """The metrics of an epoch."""
        error = self._low + 0.6 * math.exp(-self._pace * number) + self._noise.gauss(0, 0.01)
        error = min(1.0, max(0.0, error))
        seconds = self._seconds * self._noise.uniform(0.95, 1.05)
        return {"val/error": error, "val/loss": 2 * error, "cost/seconds": seconds}


def hypervolume(points: list[tuple[float, float]]) -> float:
    """The area that points dominate, both numbers 0..1, up to (1, 1)."""
    area, lowest = 0.0, 1.0
    for x, y in sorted(points):
        if y < lowest:
            area += (1.0 - min(x, 1.0)) * (lowest - y)
            lowest = y
    return area


def progress(spec: Spec, name: str, folder: Path) -> Iterator[tuple[int, float]]:
    """Epochs run so far and the hypervolume, after each trial that is complete."""
    record = Record(sqlite_url(folder / "sweep.db"))
    source = SearchController(spec, Space(spec, LAYERS), EventLog(record, 1))
    if "by the first" in name:
        source._dominance = ByTheFirst(spec.pruner)
    points: list[tuple[float, float]] = []
    epochs, order = 0, itertools.count()
    queue: list[tuple[float, int, Assignment, Curve, int, list[dict[str, float]]]] = []

    def start(now: float) -> None:
        if (new := source.next_trial()) is not None:
            curve = Curve(new.config, f"{spec.search.seed} {new.trial}")
            heapq.heappush(queue, (now, next(order), new, curve, 1, []))

    for _ in range(WORKERS):
        start(0.0)
    while queue:
        now, _, assignment, curve, epoch, rows = heapq.heappop(queue)
        rows.append(curve.epoch(epoch))
        epochs += 1
        now += rows[-1]["cost/seconds"]
        if not source.epoch(assignment.trial, EpochMessage(epoch, rows[-1])):
            heapq.heappush(queue, (now, next(order), assignment, curve, epoch + 1, rows))
            continue
        if epoch == EPOCHS:
            seconds = math.fsum(row["cost/seconds"] for row in rows)
            points.append((min(row["val/error"] for row in rows), seconds / SLOWEST))
            yield epochs, hypervolume(points)
        start(now)
    record.close()


def needed(name: str, seed: int, trials: int, target: float | None) -> tuple[float, float]:
    """Epochs until the target (infinite where it is not reached), or all; the hypervolume then."""
    count = trials if target is None else 3 * trials
    settings = (f"search.seed={seed}", f"search.num_trials={count}", *SEARCHES[name])
    epochs, reached = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for epochs, reached in progress(parse(FILE, settings), name, Path(folder)):
            if target is not None and reached >= target:
                return epochs, reached
    return (epochs if target is None else math.inf), reached


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--only", nargs="*", default=[], choices=list(SEARCHES))
    options = parser.parse_args()
    base = [needed("random", seed, options.trials, None) for seed in range(options.seeds)]
    print(
        f"random, {options.trials} trials, {options.seeds} seeds: {median(e for e, _ in base):.0f}"
        f" epochs, hypervolume {median(v for _, v in base):.3f}",
        flush=True,
    )
    for name in options.only or list(SEARCHES)[1:]:
        shares = [
            needed(name, seed, options.trials, target)[0] / epochs
            for seed, (epochs, target) in enumerate(base)
        ]
        low, _, high = quantiles(shares, n=4)
        within = sum(share <= 2 / 3 for share in shares)
        never = sum(share == math.inf for share in shares)
        print(
            f"{name:28} median {median(shares):.2f}, quartiles {low:.2f} to {high:.2f}; at most"
            f" two thirds in {within} of {len(shares)}, never in {never}",
            flush=True,
        )


if __name__ == "__main__":
    main()
