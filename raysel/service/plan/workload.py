"""How many trials, epochs and steps a sweep has, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysel.search.distributions import count
from raysel.search.layer_sets import GREEDY
from raysel.search.space import Space, settings_of
from raysel.search.trial_budget import (
    budget,
    fewest_trials_of,
    is_equal,
    most_trials_of,
    points_of,
    shares,
    walks_every_point,
)
from raysel.spec.confirm import FRONT, BestBy
from raysel.spec.sweep import RANGE_STEPS, RANGE_TEST, Choice, FloatRange, IntRange, Spec
from raysel.training.batches import batches_per_epoch


@dataclass(frozen=True)
class StrategyWorkload:
    """The work of one strategy.

    Attributes:
        trials: of the search, in expectation; at most so many where a set of layers grows.
        epochs: of a trial that nobody ends early, in expectation.
        steps: optimizer steps an epoch.
        confirm: runs of the confirm phase.
        range_epochs: epochs of its range test, before the search.
        fewest: trials of a set of layers that takes one layer; None where none grows.
    """

    strategy: str
    trials: float
    epochs: float
    steps: float
    confirm: int
    range_epochs: float = 0.0
    fewest: int | None = None

    @property
    def is_bound(self) -> bool:
        """Whether it may have fewer trials than `trials`."""
        return self.fewest is not None and self.fewest < self.trials

    def epochs_in_all(self, kept: float) -> float:
        """Of all phases, where the pruner lets that share of the search's run."""
        return self.range_epochs + kept * self.search_epochs + self.confirm_epochs

    @property
    def search_epochs(self) -> float:
        """Epochs of the search where no trial ends early."""
        return self.trials * self.epochs

    @property
    def confirm_epochs(self) -> float:
        """Epochs of the confirm phase, which ends no run early."""
        return self.confirm * self.epochs


def workloads(spec: Spec, space: Space, examples: int, classes: int) -> list[StrategyWorkload]:
    """The work of each strategy, in the order of the file.

    Args:
        examples: of the training part.
        classes: of the task.
    """
    trials = expected_trials(spec, space)
    return [
        _workload(
            spec, space, name, trials.get(name, 0.0), trained_on(spec, name, examples, classes)
        )
        for name in space.arms
    ]


def trained_on(spec: Spec, strategy: str, examples: int, classes: int) -> int:
    """Examples of an epoch: the training part's, or the shots of each class, in expectation.

    Args:
        examples: of the training part.
    """
    shots = settings_of(spec, strategy)["shots"]
    return examples if shots is None else min(examples, round(mean(shots) * classes))


def _workload(
    spec: Spec, space: Space, name: str, trials: float, examples: int
) -> StrategyWorkload:
    settings = settings_of(spec, name)
    batch, group = (
        round(mean(settings["batch_size"])),
        mean(settings["gradient_accumulation_steps"]),
    )
    steps = math.ceil(batches_per_epoch(examples, batch) / group)
    runs = confirm_runs(spec, space, name, trials)
    epochs = mean(settings["epochs"])
    tested = spec.search.first == RANGE_TEST and name in space.searched_rates
    range_epochs = min(RANGE_STEPS / steps, epochs) if tested else 0.0
    fewest = fewest_trials_of(spec.search, space).get(name)
    return StrategyWorkload(name, trials, epochs, steps, runs, range_epochs, fewest)


def confirm_runs(spec: Spec, space: Space, arm: str, trials: float) -> int:
    """Confirm runs of an arm, at most: of its best configuration, and of as many others as
    `confirm.configurations` may ask for.

    Args:
        trials: of the arm in the search.
    """
    asked, confirm = spec.confirm.configurations, spec.confirm
    if asked == "best" or arm in space.single:
        return confirm.runs
    by = asked.by if isinstance(asked, BestBy) else None
    sizes = [
        count(value.distribution) for value in space.searched[arm] if by is None or value.name in by
    ]
    known = [size for size in sizes if size is not None]
    tried = max(round(trials), 1)
    number = min(math.prod(known), tried) if len(known) == len(sizes) else tried
    if asked == "front":
        number = min(number, FRONT)
    return confirm.runs + (number - 1) * confirm.splits * confirm.seeds


def expected_trials(spec: Spec, space: Space) -> Mapping[str, float]:
    """Trials of each arm that is searched: exact where the search walks its points or gives equal
    shares, at most so many where sets of layers grow, else as if every strategy did equally
    well."""
    if not space.strategies:
        return {}
    if spec.search.sampler == GREEDY:
        return dict(most_trials_of(spec.search, space))
    if walks_every_point(spec.search, space):
        points = {name: points_of(space, name) for name in space.strategies}
        share = budget(spec.search, space) / sum(points.values())
        return {name: count * share for name, count in points.items()}
    if is_equal(spec.search, space):
        return dict(shares(spec.search, space))
    each = spec.search.num_trials / len(space.strategies)
    return dict.fromkeys(space.strategies, each)


def mean(value: Any) -> float:
    """The mean of a value, be it a constant or a distribution of numbers."""
    if isinstance(value, Choice):
        return sum(map(float, value.options)) / len(value.options)
    if isinstance(value, IntRange | FloatRange):
        low, high = value.bounds
        if value.log and low < high:
            return (high - low) / math.log(high / low)
        return (low + high) / 2
    return float(value)
