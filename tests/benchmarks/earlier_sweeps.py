"""How many trials a search with an earlier sweep needs for the result of one without.

    python tests/benchmarks/earlier_sweeps.py [--first 0] [--seeds 50] [--trials 30] [--only NAME]

Sampler, study and what is taken from an earlier sweep are those of a sweep; the errors are made-up
functions of three values (learning rate, weight decay, momentum) with noise. For each seed an
optimum is drawn, and an earlier sweep of as many trials is searched without a prior, on the same
function with its optimum moved by 0.05 of each range (standard deviation) and 0.4 of its heights.
Then the same seed searches without it and with it

- good: as it is;
- elsewhere: with each trial moved by half a range in each value, so that its best trials lie
  elsewhere;
- reversed: with its order turned round, so that its best trials are named as the worst.

Regret is the noiseless distance of the best trial so far to the lowest error. The mean logarithm of
regret over the seeds after 1, 2, ... trials is one curve. Printed is after how many trials a curve
is as low as the one without an earlier sweep at its end, as a share of its trials, with the 90 %
interval of a bootstrap over seeds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.trial import TrialState

from raysel.search.prior import Key, Prior, PriorArm, PriorSweep, key_of_trial, placed, prior_from
from raysel.search.samplers import sampler
from raysel.search.space import SearchedValue, Space
from raysel.search.study import study_of
from raysel.spec.reader import parse

Array = NDArray[np.float64]

FILE = """
name: simulated
task: {data: digits}
model: {name: resnet10t}
strategies: {full: }
training:
  learning_rate: {float: [1e-4, 1e-1], log: true}
  weight_decay: {float: [1e-6, 1e-1], log: true}
  momentum: {float: [0.0, 0.99]}
search: {baselines: false, prior: [earlier]}
"""
ARM = "full"
NOISE = 0.02
MOVED = 0.05
LONGER = 1.25
"""How many times as many trials a search with an earlier sweep has, to see when it gets there."""

FIRST_EARLIER = 10_000
"""The seed of the first earlier sweep."""

BOOTSTRAP = 1000


def bowl(x: Array) -> float:
    """One broad valley."""
    return float((x**2 * (1.0, 0.5, 0.2)).sum())


def ridge(x: Array) -> float:
    """A narrow valley across two values."""
    return float((x[0] + x[2]) ** 2 + 0.1 * (x[0] - x[2]) ** 2 + 0.2 * x[1] ** 2)


def narrow(x: Array) -> float:
    """A small basin in a plain."""
    return float(1 - math.exp(-8 * (x**2).sum()) + 0.05 * np.abs(x).sum())


def waves(x: Array) -> float:
    """Many shallow minima in a valley (Rastrigin's)."""
    return float((x**2).sum() + 0.02 * (1 - np.cos(6 * math.pi * x)).sum())


FUNCTIONS: dict[str, Callable[[Array], float]] = {
    function.__name__: function for function in (bowl, ridge, narrow, waves)
}


@dataclass(frozen=True)
class World:
    """A function with its optimum and height; what is seen of it is noisy."""

    function: Callable[[Array], float]
    optimum: Array
    height: float = 1.0


class Searches:
    """Searches of one arm."""

    def __init__(self, trials: int) -> None:
        self.trials = trials
        self.spec = parse(FILE, [f"search.num_trials={trials}"])
        self.space = Space(self.spec, ("stem", "head"))

    def search(
        self, world: World, seed: int, trials: int, prior: Prior | None = None
    ) -> tuple[Study, Array]:
        """The study of a search, and the regret of its best trial after 1, 2, ... trials."""
        settings = self.spec.search.model_copy(update={"seed": seed})
        study, noise = study_of(self.spec, self.space, (), prior), np.random.default_rng([seed, 1])
        regrets = []
        for number in range(trials):
            listed = study.get_trials(deepcopy=False)
            known = None if any(t.state == TrialState.WAITING for t in listed) else prior
            study.sampler = sampler(settings, self.space, number, None, known)
            trial = study.ask()
            self.space.suggest(trial)
            regret = world.function(self.in_range(trial.params) - world.optimum)
            study.tell(trial, world.height * regret + NOISE * noise.normal())
            regrets.append(regret)
        return study, np.minimum.accumulate(regrets)

    def in_range(self, params: Mapping[str, float]) -> Array:
        """Where values lie in their ranges, 0 to 1."""
        return np.array([_place(value, params[value.scoped]) for value in self.values])

    @property
    def values(self) -> tuple[SearchedValue, ...]:
        """What is searched."""
        return self.space.searched[ARM]

    def priors(self, earlier: Study) -> dict[str, Prior]:
        """What is said of an earlier sweep: the truth, and twice not."""
        trials = earlier.get_trials(deepcopy=False)
        keys = [key for trial in trials if (key := key_of_trial(trial)) is not None]
        params = [trial.params for trial in trials]
        moved = [self._moved(own) for own in params]
        turned = [(0.0, 0.0, -key[-1]) for key in keys]
        said = {"good": (params, keys), "elsewhere": (moved, keys), "reversed": (params, turned)}
        return {name: self._prior(*own) for name, own in said.items()}

    def _prior(self, params: Sequence[Mapping[str, float]], keys: Sequence[Key]) -> Prior:
        arm = PriorArm(placed(list(zip(params, keys, strict=True))))
        return prior_from([PriorSweep("earlier", "", {ARM: arm})], self.spec.search, self.space)

    def _moved(self, params: Mapping[str, float]) -> dict[str, float]:
        places = (self.in_range(params) + 0.5) % 1.0
        return {v.scoped: _at(v, p) for v, p in zip(self.values, places, strict=True)}


def _at(value: SearchedValue, place: float) -> float:
    low, high = value.distribution.bounds
    if value.distribution.log:
        return float(low * (high / low) ** place)
    return float(low + place * (high - low))


def _place(value: SearchedValue, number: float) -> float:
    low, high = value.distribution.bounds
    if value.distribution.log:
        return math.log(number / low) / math.log(high / low)
    return (number - low) / (high - low)


def curves(searches: Searches, function: Callable[[Array], float], seed: int) -> dict[str, Array]:
    """The logarithm of regret after each trial, without an earlier sweep and with each."""
    draw = np.random.default_rng([seed, 2])
    optimum = draw.uniform(0.15, 0.85, 3)
    moved = np.clip(optimum + draw.normal(0, MOVED, 3), 0.05, 0.95)
    earlier, _ = searches.search(World(function, moved, 0.4), FIRST_EARLIER + seed, searches.trials)
    world, longer = World(function, optimum), round(LONGER * searches.trials)
    found = {"without": searches.search(world, seed, searches.trials)[1]}
    for name, prior in searches.priors(earlier).items():
        found[name] = searches.search(world, seed, longer, prior)[1]
    return {name: np.log(np.maximum(own, 1e-6)) for name, own in found.items()}


def needed(without: Array, with_prior: Array) -> float:
    """After what share of the trials the mean curve is as low as without at its end; infinite where
    it does not get there.

    Args:
        without, with_prior: a row for each seed.
    """
    target, curve = without.mean(0)[-1], with_prior.mean(0)
    below = np.nonzero(curve <= target)[0]
    if not len(below):
        return math.inf
    first = int(below[0])
    if first == 0:
        return 1 / without.shape[1]
    share = (curve[first - 1] - target) / (curve[first - 1] - curve[first])
    return (first + share) / without.shape[1]


def row(name: str, found: Mapping[str, Array]) -> str:
    """The printed line of one function, or of all."""
    draw, cells = np.random.default_rng(0), []
    count = len(found["without"])
    samples = [draw.integers(0, count, count) for _ in range(BOOTSTRAP)]
    for kind in ("good", "elsewhere", "reversed"):
        share = needed(found["without"], found[kind])
        again = [needed(found["without"][own], found[kind][own]) for own in samples]
        low, high = np.quantile(again, [0.05, 0.95], method="nearest")
        cells.append(f"{kind} {share:.2f} ({low:.2f} to {high:.2f})")
    return f"{name:7} {'  '.join(cells)}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--only", nargs="*", default=list(FUNCTIONS), choices=list(FUNCTIONS))
    options = parser.parse_args()
    searches, everything = Searches(options.trials), []
    seeds = range(options.first, options.first + options.seeds)
    for name in options.only:
        own = [curves(searches, FUNCTIONS[name], seed) for seed in seeds]
        everything += own
        print(row(name, {kind: np.array([c[kind] for c in own]) for kind in own[0]}), flush=True)
    print(row("all", {k: np.array([c[k] for c in everything]) for k in everything[0]}))


if __name__ == "__main__":
    main()
