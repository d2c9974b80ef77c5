"""Samplers and pruners: a suggestion is a function of the study, the seed and the number."""

import warnings
from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import TrialState

from raysel.search.samplers import (
    ExhaustiveSampler,
    QuasiRandomSampler,
    at_quantile,
    pruner,
    sampler,
)
from raysel.search.space import Space
from raysel.search.trial_budget import budget, may_repeat
from raysel.spec.reader import parse
from raysel.spec.sweep import PrunerSpec, Spec
from raysel.spec.trial_config import TrialConfig

FILE = """\
name: small
task: {data: digits}
model: {name: resnet10t}
strategies:
  surgical: {block: search}
  bvg_ls: {ema_decay: {float: [0.5, 0.99]}}
search: {num_trials: 25, run_single_configurations: true}
"""

DISCRETE = (
    "training.learning_rate={categorical: [0.1, 0.01]}",
    "strategies.bvg_ls.ema_decay={float: [0.5, 0.9], step: 0.2}",
)
"""3 blocks x 2 + 3 decays x 2 + 2 + 2 = 16 configurations."""


def sweep(*overrides: str) -> tuple[Spec, Space]:
    spec = parse(FILE, overrides)
    return spec, Space(spec, ("stem", "layer1", "head"))


def ask(study: optuna.Study, spec: Spec, space: Space) -> tuple[optuna.Trial, TrialConfig]:
    study.sampler = sampler(spec.search, space, len(study.trials))
    trial = study.ask()
    return trial, space.suggest(trial)


def value(config: TrialConfig) -> float:
    return abs(config.training.learning_rate - 0.02) + len(config.strategy) / 100


def search(study: optuna.Study, spec: Spec, space: Space, until: int) -> list[dict]:
    while len(study.trials) < until:
        trial, config = ask(study, spec, space)
        study.tell(trial, value(config))
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", ["tpe", "random", "qmc", "grid"])
def test_a_search_that_is_taken_up_anew_suggests_the_same(name):
    overrides = [f"search.sampler={name}", *(DISCRETE if name == "grid" else ())]
    spec, space = sweep(*overrides)
    whole = search(optuna.create_study(), spec, space, until=16)
    storage = optuna.storages.InMemoryStorage()
    first = optuna.create_study(storage=storage, study_name="s")
    search(first, spec, space, until=7)
    second = optuna.load_study(storage=storage, study_name="s")
    assert search(second, spec, space, until=16) == whole


@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_another_seed_suggests_otherwise(name):
    one, other = (
        search(optuna.create_study(), *sweep(f"search.sampler={name}", f"search.seed={seed}"), 8)
        for seed in (0, 1)
    )
    assert one != other


@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_each_trial_draws_anew(name):
    trials = search(optuna.create_study(), *sweep(f"search.sampler={name}"), 8)
    assert len({str(trial) for trial in trials}) == 8


def test_the_space_is_walked_point_by_point_where_it_is_smaller_than_the_budget():
    spec, space = sweep(*DISCRETE)
    assert isinstance(sampler(spec.search, space, 0), ExhaustiveSampler)
    assert budget(spec.search, space) == 16
    study = optuna.create_study()
    for parameters in space.first_trials():
        study.enqueue_trial(parameters)
    while len(study.get_trials(states=[TrialState.COMPLETE])) < 16:
        number = len(study.get_trials(states=[TrialState.COMPLETE]))
        study.sampler = sampler(spec.search, space, number)
        trial = study.ask()
        study.tell(trial, value(space.suggest(trial)))
    seen = {tuple(sorted(trial.params.items())) for trial in study.trials}
    assert len(study.trials) == len(seen) == 16


def test_trials_at_the_same_time_walk_the_space_without_a_repetition():
    spec, space = sweep(*DISCRETE)
    study = optuna.create_study()
    running = [ask(study, spec, space)[0] for _ in range(16)]
    seen = Counter(tuple(sorted(trial.params.items())) for trial in running)
    assert set(seen.values()) == {1}
    for trial in running:
        study.tell(trial, 0.0)  # the last one must not stop the study


def test_random_stays_random_in_a_small_space_and_a_large_grid_ends_with_the_budget():
    spec, space = sweep(*DISCRETE, "search.sampler=random", "search.allocation=adaptive")
    assert isinstance(sampler(spec.search, space, 0), RandomSampler)
    assert budget(spec.search, space) == 25
    spec, space = sweep(*DISCRETE, "search.sampler=grid", "search.num_trials=5")
    assert isinstance(sampler(spec.search, space, 0), ExhaustiveSampler)
    assert budget(spec.search, space) == 5


def test_b09_tpe_is_grouped_where_the_space_is_conditional_and_nothing_is_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec, space = sweep()
        grouped = sampler(spec.search, space, 0)
        assert isinstance(grouped, TPESampler)
        assert (grouped._group, grouped._multivariate, grouped._constant_liar) == (
            *(True, True, True),
        )
        spec, space = sweep("strategies={full: }", "search.baselines=false")
        assert not sampler(spec.search, space, 0)._group
        sampler(*_discrete_search(), 0)


def _discrete_search():
    spec, space = sweep(*DISCRETE)
    return spec.search, space


def test_the_quasi_random_sequence_spreads_each_strategys_values_evenly():
    # 128 points of a Halton sequence: every quarter of each axis holds its share
    spec, space = sweep("search.sampler=qmc", "search.num_trials=128")
    study = optuna.create_study()
    assert isinstance(sampler(spec.search, space, 0), QuasiRandomSampler)
    trials = search(study, spec, space, until=128)
    per_strategy = Counter(trial["strategy"] for trial in trials)
    assert all(abs(count - 32) <= 2 for count in per_strategy.values())
    rates = [t["full.learning_rate"] for t in trials if t["strategy"] == "full"]
    decades = Counter(next(d for d in (1e-3, 1e-2, 1e-1) if rate <= d) for rate in rates)
    assert all(abs(count - len(rates) / 3) <= 3 for count in decades.values())


@pytest.mark.parametrize("arms", [2, 3, 7, 11, 14])
def test_the_few_trials_of_each_of_many_arms_are_spread_over_its_range(arms):
    """Eight points of an arm: one in each eighth of its range. They lay within a tenth of it where
    the number of arms and a coordinate's base had a factor in common."""
    named = ", ".join(f"arm{n}: {{strategy: full}}" for n in range(arms))
    spec, space = sweep(
        *("search.sampler=qmc", f"search.num_trials={8 * arms}", "search.baselines=false"),
        *(f"strategies={{{named}}}", "training.learning_rate={float: [1e-4, 1e-1], log: true}"),
    )
    study = optuna.create_study()
    for number in range(8 * arms):
        study.enqueue_trial({"strategy": f"arm{number % arms}"})
        study.sampler = sampler(spec.search, space, number)
        trial = study.ask()
        study.tell(trial, value(space.suggest(trial)))
    trials = [trial.params for trial in study.trials]
    for n in range(arms):
        rates = [trial[f"arm{n}.learning_rate"] for trial in trials[n::arms]]
        eighths = {int(8 * np.log(rate / 1e-4) / np.log(1e3)) for rate in rates}
        assert len(eighths) == 8, sorted(rates)
    firsts = {trials[n][f"arm{n}.learning_rate"] for n in range(arms)}
    assert len(firsts) == arms, "each arm has points of its own"


@pytest.mark.parametrize(
    ("distribution", "quantile", "value"),
    [
        (FloatDistribution(2, 4), 0.25, 2.5),
        (FloatDistribution(0.01, 1, log=True), 0.5, 0.1),
        (FloatDistribution(0, 1, step=0.25), 0.99, 1.0),
        (FloatDistribution(0, 1, step=0.25), 0.0, 0.0),
        (IntDistribution(3, 9, step=2), 0.5, 7),  # 3, 5 | 7, 9
        (IntDistribution(1, 4), 0.74, 3),
        (IntDistribution(1, 100, log=True), 0.0, 1),
        (IntDistribution(1, 100, log=True), 0.999999, 100),
        (CategoricalDistribution(["a", "b", "c"]), 0.34, "b"),
    ],
)
def test_quantiles_of_distributions(distribution, quantile, value):
    given = at_quantile(distribution, quantile)
    assert given == (pytest.approx(value) if isinstance(value, float) else value)
    assert distribution._contains(distribution.to_internal_repr(given))


def test_each_kind_of_pruner_is_optunas():
    def made(kind: str):
        return pruner(PrunerSpec(kind=kind, grace_epochs=3, compare="all"), max_epochs=15)

    assert isinstance(made("asha"), SuccessiveHalvingPruner)
    assert isinstance(made("hyperband"), HyperbandPruner)
    assert isinstance(made("median"), MedianPruner)
    assert isinstance(made("none"), NopPruner)


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median"])
def test_no_trial_is_pruned_before_its_grace_epochs_and_a_bad_one_after(kind):
    study = optuna.create_study(pruner=pruner(PrunerSpec(kind=kind, grace_epochs=3), 15))
    pruned = set()
    for number in range(40):
        trial = study.ask()
        for epoch in range(1, 16):
            trial.report(float(number), epoch)  # every trial is worse than all before
            if trial.should_prune():
                pruned.add(epoch)
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, float(number))
    assert pruned and min(pruned) >= 3


@pytest.mark.parametrize(
    ("overrides", "few"),
    [
        ((), {}),  # a rate is a real number
        (
            ("training.learning_rate=0.01", "search.allocation=adaptive"),
            {"surgical": 3, "full": 1, "linear_probe": 1},
        ),
        ((*DISCRETE, "search.num_trials=16"), {}),  # each of the 16 once
        (
            (*DISCRETE, "search.sampler=random"),
            {"surgical": 6, "bvg_ls": 6, "full": 2, "linear_probe": 2},
        ),
        (
            ("training.learning_rate=0.01",),
            {},  # each of them once in its share
        ),
    ],
)
def test_b08_the_strategies_whose_configurations_may_be_tried_twice(overrides, few):
    spec, space = sweep(*overrides)
    assert may_repeat(spec.search, space) == few
