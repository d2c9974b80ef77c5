"""How the next trial is chosen, and which trials end early: Optuna's samplers and pruners,
every argument pinned (Optuna 5 changed several defaults).

A suggestion is a function of the study alone: a sampler is made anew for each trial, seeded
from the sweep's seed and the trial's number.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.samplers.nsgaii import UniformCrossover
from optuna.trial import FrozenTrial, TrialState
from scipy.stats.qmc import Halton

from raysel.search import allocation
from raysel.search.layer_sets import GREEDY
from raysel.search.prior import Prior
from raysel.search.space import STRATEGY, Space
from raysel.search.trial_budget import is_warmed, walks_every_point, walks_strategy
from raysel.search.warm_start import WarmStarted
from raysel.spec.sweep import PrunerSpec, SearchSpec

STARTUP_TRIALS = 10
"""TPE draws this many trials at random, the published settings among them."""

POPULATION = 10
"""Complete trials of an arm that are a generation of NSGA-II; Optuna's 50 are more than an arm has
trials as a rule."""


def sampler(
    search: SearchSpec,
    space: Space,
    trial_number: int,
    strategy: str | None = None,
    prior: Prior | None = None,
    arms: allocation.TrialsByArm | None = None,
) -> BaseSampler:
    """The sampler for one trial.

    Args:
        trial_number: Optuna's number of the trial that is about to be asked for.
        strategy: the trial's, where it is chosen already.
        prior: what earlier sweeps know.
        arms: what the caller knows of the arms' trials, which spares a walk over all of them.
    """
    sequence = np.random.SeedSequence([search.seed, trial_number])
    seed = int(sequence.generate_state(1)[0])
    if walks_strategy(search, space, strategy) or walks_every_point(search, space):
        return _without_experimental_warning(lambda: ExhaustiveSampler(seed=seed))
    if search.sampler in ("random", GREEDY):  # whose sets of layers are given
        return RandomSampler(seed=seed)
    if search.sampler == "qmc":
        return QuasiRandomSampler(space, search.seed, arms or allocation.TrialsByArm())
    if search.sampler == "nsga2":
        return GeneticSampler(seed)
    tpe = _without_experimental_warning(
        lambda: TPESampler(
            n_startup_trials=STARTUP_TRIALS,
            n_ei_candidates=24,
            multivariate=True,
            group=space.is_conditional,
            constant_liar=True,  # trials at the same time keep apart
            seed=seed,
        )
    )
    if prior is None or not is_warmed(search, space):
        return tpe
    return WarmStarted(tpe, prior, space)


def pruner(spec: PrunerSpec, max_epochs: int) -> BasePruner:
    """Optuna's pruner; a step is an epoch, counted from 1.

    Args:
        max_epochs: the most epochs that a trial takes (`Space.max_epochs`).
    """
    found = _pruner(spec, max_epochs)
    return allocation.WithinStrategy(found) if spec.compare == "within_strategy" else found


def _pruner(spec: PrunerSpec, max_epochs: int) -> BasePruner:
    match spec.kind:
        case "asha":
            return SuccessiveHalvingPruner(
                min_resource=spec.grace_epochs,
                reduction_factor=spec.reduction_factor,
                min_early_stopping_rate=0,
                bootstrap_count=0,
            )
        case "hyperband":
            return HyperbandPruner(
                min_resource=spec.grace_epochs,
                max_resource=max(max_epochs, spec.grace_epochs),
                reduction_factor=spec.reduction_factor,
                bootstrap_count=0,
            )
        case "median":
            return MedianPruner(
                n_startup_trials=5,
                n_warmup_steps=spec.grace_epochs,
                interval_steps=1,
                n_min_trials=1,
            )
        case "none":
            return NopPruner()


class ExhaustiveSampler(BruteForceSampler):
    """Walks every point of a discrete space once, in random order.

    Optuna's own stops the study at the end, which is an error under ask and tell; `budget`
    says when it is done.
    """

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Nothing."""


class GeneticSampler(NSGAIISampler):
    """NSGA-II (Deb et al., 2002) among the trials of the new one's own arm.

    Arms have different values, which cannot be crossed. Optuna's keeps each generation's parents
    in the study, which is rebuilt without them; here they are selected anew, so that a suggestion
    is a function of the trials.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(
            population_size=POPULATION,
            mutation_prob=None,  # 1 / values
            crossover=UniformCrossover(swapping_prob=0.5),
            crossover_prob=0.9,
            seed=seed,
        )
        self._arms = allocation.TrialsByArm()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What all complete trials of the arm have."""
        return super().infer_relative_search_space(self._peers(study, trial), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A child of two of the arm's parents; nothing in its first generation."""
        child = super().sample_relative(self._peers(study, trial), trial, search_space)
        # NumPy's numbers are written otherwise than those of a rebuilt study, which has to know
        # a configuration that was tried before
        return {n: v.item() if isinstance(v, np.generic) else v for n, v in child.items()}

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The parents of a generation: the elite of the one before and of its parents."""
        born: list[list[FrozenTrial]] = [[] for _ in range(generation)]
        for trial in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
            at = trial.system_attrs.get(self._get_generation_key(), generation)
            if at < generation:
                born[at].append(trial)
        parents: list[FrozenTrial] = []
        for population in born:
            parents = self._elite_population_selection_strategy(study, population + parents)
        return parents

    def _peers(self, study: Study, trial: FrozenTrial) -> Study:
        arm = allocation.arm_of_trial(trial)
        return study if arm is None else allocation.peers_of(study, self._arms, arm)


class QuasiRandomSampler(BaseSampler):
    """A scrambled Halton sequence for each arm, over its own values; a trial takes the point of
    its place among the arm's trials.

    One sequence over all arms' values would not do: an arm takes every n-th point of it, and of a
    coordinate whose base shares a factor with n those lie close together. Optuna's QMCSampler
    covers the values of the first trial's strategy only and keeps a counter in the study; this one
    serves conditional spaces and needs no state.

    Args:
        space: the arms and their searched values.
        seed: of the sequences.
        trials: what is known of the arms' trials, which spares a walk over all of them.
    """

    def __init__(self, space: Space, seed: int, trials: allocation.TrialsByArm) -> None:
        self._seed, self._trials = seed, trials
        self._places = {
            value.scoped: (arm, len(own), dimension)
            for arm, own in space.searched.items()
            for dimension, value in enumerate(own)
        }
        self._arms = tuple(space.searched)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is sampled together: the point binds the values already."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The coordinate of the trial's point that belongs to this name."""
        if param_name == STRATEGY:
            point = _halton_point(1, [self._seed], trial.number)
            return at_quantile(param_distribution, point[0])
        arm, dimensions, dimension = self._places[param_name]
        index = self._trials.place(study.get_trials(deepcopy=False), arm, trial.number)
        point = _halton_point(dimensions, [self._seed, 1 + self._arms.index(arm)], index)
        return at_quantile(param_distribution, point[dimension])


def _halton_point(dimensions: int, seed: Sequence[int], index: int) -> NDArray[np.float64]:
    """A point of a scrambled Halton sequence, in [0, 1)."""
    sequence = Halton(dimensions, scramble=True, rng=np.random.default_rng(seed))
    sequence.fast_forward(index)
    point: NDArray[np.float64] = sequence.random(1)[0]
    return point


def at_quantile(distribution: BaseDistribution, quantile: float) -> Any:
    """The value below which `quantile` (in [0, 1)) of a distribution lies."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(quantile * len(distribution.choices))]
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(f"no quantiles of {type(distribution).__name__}")
    low, high, step = distribution.low, distribution.high, distribution.step
    whole = isinstance(distribution, IntDistribution)
    if distribution.log:
        # a whole number stands for the half-open interval around it
        edges = np.log([low - 0.5, high + 0.5] if whole else [low, high])
        value = float(np.exp(edges[0] + quantile * (edges[1] - edges[0])))
        return min(max(round(value), low), high) if whole else min(max(value, low), high)
    if step is None:
        return low + quantile * (high - low)
    return low + step * int(quantile * (np.floor((high - low) / step + 1e-9) + 1))


def _without_experimental_warning(make: Callable[[], BaseSampler]) -> BaseSampler:
    """Hide Optuna's experimental warning for `group` and the brute-force sampler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return make()
