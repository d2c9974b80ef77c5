"""How near to an arm's best learning rate a search with few trials an arm comes, by the sampler.

    python tests/benchmarks/few_trials.py [--seeds 40] [--trials 30 60]

Five arms by turns, each a made-up function of the learning rate (three decades, a valley of 0.7
decades somewhere in the middle two, noise of 0.01) at a level of its own. Prints for each sampler
the mean regret of the trial that looks best, in points of error, for each arm, lowest level first.
No training.
"""

from __future__ import annotations

import argparse

import numpy as np
import optuna

from raysel.search.samplers import sampler
from raysel.search.space import Space
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec

LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3)
NOISE, DEPTH, WIDTH = 0.01, 0.3, 0.7
FILE = """
name: few
task: {data: digits}
model: {name: resnet10t}
strategies: {a: &rate {strategy: full}, b: *rate, c: *rate, d: *rate, e: *rate}
training: {learning_rate: {float: [1e-4, 1e-1], log: true}}
search: {baselines: false}
"""


def regret(rate: float, best: float) -> float:
    """Error (0..1) above the arm's lowest; `best` is the logarithm of its best rate."""
    return DEPTH * (1 - float(np.exp(-(((np.log10(rate) - best) / WIDTH) ** 2))))


def search(spec: Spec) -> list[float]:
    """The regret of each arm's best trial, in the order of `LEVELS`."""
    space, seed = Space(spec, ("stem", "head")), spec.search.seed
    best = np.random.default_rng(seed).uniform(-3.5, -1.5, len(LEVELS))
    noise = np.random.default_rng([seed, 1])
    study, arms = optuna.create_study(), space.strategies
    for number in range(spec.search.num_trials):
        arm = number % len(arms)
        study.enqueue_trial({"strategy": arms[arm]})
        study.sampler = sampler(spec.search, space, number)
        trial = study.ask()
        error = regret(space.suggest(trial).training.learning_rate, best[arm])
        trial.set_user_attr("regret", error)
        study.tell(trial, LEVELS[arm] + error + NOISE * noise.standard_normal())
    own = [[t for t in study.trials if t.params["strategy"] == arm] for arm in arms]
    return [min(trials, key=lambda t: t.value or 0.0).user_attrs["regret"] for trials in own]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--trials", type=int, nargs="+", default=[30, 60])
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print("| trials | sampler |", " | ".join(f"level {level}" for level in LEVELS), "| mean |")
    print("|---" * (len(LEVELS) + 3) + "|")
    for trials in given.trials:
        for name in ("random", "qmc", "tpe"):
            overrides = [f"search.num_trials={trials}", f"search.sampler={name}"]
            found = [
                search(parse(FILE, [*overrides, f"search.seed={n}"])) for n in range(given.seeds)
            ]
            cells = [100 * np.array(own) for own in zip(*found, strict=True)]
            words = [f"{c.mean():.1f} ± {c.std(ddof=1) / len(c) ** 0.5:.1f}" for c in cells]
            print("|", " | ".join([str(trials), name, *words, f"{np.mean(cells):.1f}"]), "|")


if __name__ == "__main__":
    main()
