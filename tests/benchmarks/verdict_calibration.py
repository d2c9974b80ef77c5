"""How often the verdict is wrong, and how often its interval covers: made-up sweeps of known truth.

    python tests/benchmarks/verdict_calibration.py [--sweeps 2000] [--rows NAME ...]

No training: the losses of every run on every test example are drawn, and given to
`raysel.sweep.verdict.verdict` as a sweep gives them. Beside it stands the rule that it replaced:
the winner by the confirm runs' own validation error, Student's t over training seeds on one split.

A test example is missed by a run with a probability on the logit scale: the example's
difficulty, what the strategy does to this example, what it does on this split, with this seed,
and an independent rest. With `overlap`, what a split does is the mean over its training examples
of one number each, and splits share examples.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from raysel.spec.sweep import SMALLEST_EFFECT
from raysel.sweep.confirm_rounds import level_of_looks, looks
from raysel.sweep.question import Question
from raysel.sweep.results import ConfirmedStrategy
from raysel.sweep.statistics.differences import overlap_correction
from raysel.sweep.verdict import verdict

STRATEGIES = ("full", "bvg_ls", "surgical", "auto_rgn", "linear_probe")
MEASURE = "test/error"
DIFFICULTY = (-1.2, 2.0)
"""Mean and deviation of the examples' difficulty: about 30 % test error."""

REST = 0.5
"""Deviation of what is independent in every run and example."""


@dataclass(frozen=True)
class World:
    """A kind of sweep of known truth.

    Attributes:
        splits, examples: of the confirm phase and the test part.
        of_split, of_seed, of_example: deviations of a strategy's effects (logits).
        difference: true difference of the first strategy from full, 0..1; the others have none.
        heavy: the split's effects are Student's t with three degrees of freedom.
        train, pool: examples of a training part and of what it is drawn from; 0 is a new pool
            for each split.
        until: add splits up to so many until the question is decided; 0 is never.
        zone: the smallest difference that matters, 0..1.
    """

    name: str
    splits: int = 5
    examples: int = 400
    of_split: float = 0.15
    of_seed: float = 0.15
    of_example: float = 1.0
    difference: float = 0.0
    heavy: bool = False
    train: int = 0
    pool: int = 0
    until: int = 0
    zone: float = SMALLEST_EFFECT


_PRECISE: dict[str, Any] = {
    **{"splits": 10, "examples": 3000, "of_split": 0.05, "of_seed": 0.05, "of_example": 0.3},
    "zone": 0.02,
}
"""So much is measured that "no relevant difference" can be shown."""

WORLDS = (
    World("equal"),
    World("equal, 3 splits", splits=3),
    World("equal, 10 splits", splits=10),
    World("equal, splits differ much", of_split=0.4),
    World("equal, 100 test examples", examples=100),
    World("equal, 2000 test examples", examples=2000),
    World("equal, heavy tails", heavy=True),
    World("equal, overlapping training parts", train=160, pool=200, of_seed=0.4),
    World("equal, few shots of a large pool", train=50, pool=1000),
    World("equal, one split", splits=1),
    World("equal, until decided (3 to 20)", splits=3, until=20),
    World("1 point", difference=-0.01),
    World("2 points", difference=-0.02),
    World("4 points", difference=-0.04),
    World("4 points, 100 test examples", difference=-0.04, examples=100),
    World("4 points, heavy tails", difference=-0.04, heavy=True),
    World(
        "4 points, overlapping training parts", difference=-0.04, train=160, pool=200, of_seed=0.4
    ),
    World("4 points, until decided (3 to 20)", difference=-0.04, splits=3, until=20),
    World("equal, ±2 points do not matter", **_PRECISE),
    World("2 points, ±2 points do not matter", difference=-0.02, **_PRECISE),
)


class Sweep:
    """The losses of one made-up sweep; runs are drawn when they are asked for."""

    def __init__(self, world: World, random: np.random.Generator, shift: float) -> None:
        self.world, self._random = world, random
        self._difficulty = random.normal(*DIFFICULTY, world.examples)
        self._of_example = {
            name: random.normal(0, world.of_example, world.examples) for name in STRATEGIES
        }
        self._of_pool = {name: random.normal(0, 1, max(world.pool, 1)) for name in STRATEGIES}
        self._shift = dict.fromkeys(STRATEGIES, 0.0) | {STRATEGIES[1]: shift}
        self._split_effects: dict[tuple[str, int], float] = {}

    def losses(self, strategy: str, split: int) -> NDArray[np.float64]:
        """Loss of each test example in one run."""
        world = self.world
        key = (strategy, split)
        if key not in self._split_effects:
            self._split_effects[key] = self._of_split(strategy, split)
        logit = (
            self._difficulty
            + self._of_example[strategy]
            + self._shift[strategy]
            + self._split_effects[key]
            + self._random.normal(0, world.of_seed)
            + self._random.normal(0, REST, world.examples)
        )
        missed: NDArray[np.float64] = (
            self._random.random(world.examples) < 1 / (1 + np.exp(-logit))
        ).astype(np.float64)
        return missed

    def _of_split(self, strategy: str, split: int) -> float:
        world = self.world
        if world.pool:
            drawn = np.random.default_rng([split, world.pool]).permutation(world.pool)
            mean = self._of_pool[strategy][drawn[: world.train]].mean()
            return float(world.of_split * np.sqrt(world.train) * mean)
        if world.heavy:
            return float(self._random.standard_t(3) * world.of_split / np.sqrt(3))
        return float(self._random.normal(0, world.of_split))

    def ranking(self) -> list[str]:
        """The search's order of the strategies: runs on a split of its own, 300 examples."""
        order = {name: self._random.normal(self._shift[name] * 0.15, 0.03) for name in STRATEGIES}
        return sorted(order, key=order.__getitem__)


def shift_for(world: World) -> float:
    """The logit by which a strategy's mean test error becomes smaller by `difference`."""
    if not world.difference:
        return 0.0
    random = np.random.default_rng(0)
    spread = np.sqrt(world.of_split**2 + world.of_seed**2 + world.of_example**2 + REST**2)
    logit = random.normal(*DIFFICULTY, 1_000_000) + random.normal(0, spread, 1_000_000)
    mean = (1 / (1 + np.exp(-logit))).mean()
    return float(
        optimize.brentq(
            lambda s: (1 / (1 + np.exp(-logit - s))).mean() - mean - world.difference, -3, 3
        )
    )


def entries(sweep: Sweep, splits: Sequence[int]) -> tuple[list[ConfirmedStrategy], dict[str, Any]]:
    """`confirm` of results.json, and the losses of its runs."""
    confirm, losses = [], {}
    for name in STRATEGIES:
        runs = []
        for split in splits:
            run = f"confirm-{name}-s{split}"
            losses[run] = sweep.losses(name, split)
            runs.append({"id": run, "split": split, "seed": split, MEASURE: losses[run].mean()})
        confirm.append(ConfirmedStrategy.model_validate({"strategy": name, "runs": runs}))
    return confirm, losses


def asked(world: World, ranking: Sequence[str], splits: int, level: float) -> Question:
    overlap = overlap_correction(world.train, world.pool - world.train) if world.pool else 0.0
    return Question(
        "val/error",
        ranking,
        splits=splits,
        overlap=overlap,
        level=level,
        smallest_effect=world.zone,
    )


def new_rule(sweep: Sweep, world: World) -> tuple[Any, dict[str, Any]]:
    """The verdict, after as many rounds as its question needs."""
    ranking = sweep.ranking()
    if world.difference:
        ranking = [STRATEGIES[1], *(name for name in ranking if name != STRATEGIES[1])]
    if not world.until:
        confirm, losses = entries(sweep, range(1, world.splits + 1))
        return verdict(confirm, asked(world, ranking, world.splits, 0.05), losses), losses
    rounds = looks(world.splits, world.until)
    confirm, losses = entries(sweep, range(1, world.until + 1))
    for splits in rounds:
        part = [
            e.model_copy(update={"runs": [r for r in e.runs if r.split <= splits]}) for e in confirm
        ]
        found = verdict(part, asked(world, ranking, splits, level_of_looks(rounds)), losses)
        if found.outcome != "not_shown":
            break
    return found, losses


def old_rule(sweep: Sweep, world: World) -> float | None:
    """Whether the rule before this one said "better" (-1) or "worse" (1); 0 neither."""
    count = max(world.splits, 5)
    errors = {
        name: np.array([sweep.losses(name, 0).mean() for _ in range(count)]) for name in STRATEGIES
    }
    validation = {name: own.mean() + sweep._random.normal(0, 0.01) for name, own in errors.items()}
    winner = min(validation, key=validation.__getitem__)
    if winner == "full":
        return 0.0
    difference = errors[winner] - errors["full"]
    half = stats.t.ppf(0.975, count - 1) * difference.std(ddof=1) / np.sqrt(count)
    return float(np.sign(difference.mean())) if abs(difference.mean()) > half else 0.0


def row(world: World, sweeps: int, seed: int = 0) -> dict[str, Any]:
    """Rates over so many sweeps."""
    random = np.random.default_rng([seed, WORLDS.index(world)])
    shift = shift_for(world)
    counts = dict.fromkeys(("claimed", "table", "covered", "intervals", "old", "shown", "alike"), 0)
    widths, splits = [], []
    for _ in range(sweeps):
        sweep = Sweep(world, random, shift)
        found, _ = new_rule(sweep, world)
        counts["claimed"] += found.outcome in ("better", "worse")
        counts["shown"] += found.outcome == "better"
        counts["alike"] += found.outcome == "no_relevant_difference"
        counts["table"] += any(
            (c.outcome in ("better", "worse") and c.ours != STRATEGIES[1])
            or (c.outcome in ("better", "worse") and not world.difference)
            for c in found.against_baseline
        )
        if found.low is not None and found.high is not None:
            truth = world.difference if found.winner == STRATEGIES[1] else 0.0
            counts["intervals"] += 1
            counts["covered"] += found.low <= truth <= found.high
            widths.append((found.high - found.low) / 2)
            splits.append(found.n)
        counts["old"] += old_rule(sweep, world) != 0
    return {
        "world": world.name,
        "false claims": None if world.difference else counts["claimed"] / sweeps,
        "false in the table": counts["table"] / sweeps,
        "coverage": counts["covered"] / counts["intervals"] if counts["intervals"] else None,
        "half width, points": 100 * float(np.mean(widths)) if widths else None,
        "shown": counts["shown"] / sweeps if world.difference else None,
        "no relevant difference": counts["alike"] / sweeps,
        "splits": float(np.mean(splits)) if splits else None,
        "the rule before": counts["old"] / sweeps,
    }


def rows(sweeps: int, names: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """A row a world."""
    for world in WORLDS:
        if not names or any(name in world.name for name in names):
            yield row(world, sweeps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sweeps", type=int, default=2000)
    parser.add_argument("--rows", nargs="*", default=[])
    arguments = parser.parse_args()
    for found in rows(arguments.sweeps, arguments.rows):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
