"""A configuration that is tried again is tried with another seed: a replicate, not a copy."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path

import pytest
from controller_kit import Attempt, begin, handed_out, run, sweep, work
from few_kit import few

from raysel.spec.trial_config import TrialConfig
from raysel.sweep.confirm import finalists, runs_of
from raysel.sweep.search_controller import FIRST_REPLICATE

# one configuration of full and of linear_probe, three of surgical; bvg_ls has no end of them
# (adaptive: with equal shares none of them is tried twice)
FEW = (
    *("training.learning_rate=0.01", "search.num_trials=24", "search.seed=3"),
    *("search.allocation=adaptive", "pruner.kind=none"),
)


def what(config: TrialConfig) -> str:
    """A configuration but for its seed."""
    return str(config.model_dump(exclude={"seed"}))


def seeds(configs: list[TrialConfig]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for config in configs:
        found[what(config)].append(config.seed)
    return found


def folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


@pytest.mark.parametrize("sampler", few("tpe", "random", "qmc"))
def test_b08_no_configuration_is_tried_twice_with_the_same_seed(tmp_path, sampler):
    attempt = begin(tmp_path, sweep(*FEW, f"search.sampler={sampler}"))
    found = seeds([assignment.config for assignment in run(attempt)])
    assert max(map(len, found.values())) > 2  # else there would be nothing to see
    for own in found.values():
        assert own == [3, *(3 + FIRST_REPLICATE + k for k in range(len(own) - 1))]


def test_b08_a_small_space_is_walked_without_a_repeat(tmp_path):
    spec = sweep(*FEW, "strategies.bvg_ls.ema_decay=0.9")
    assert set(map(len, seeds([a.config for a in run(begin(tmp_path, spec))]).values())) == {1}


def test_the_seed_does_not_depend_on_a_restart_nor_on_who_runs_beside(tmp_path):
    spec = sweep(*FEW)
    whole = [a.config for a in run(begin(folder(tmp_path, "whole"), spec))]
    torn = folder(tmp_path, "torn")
    done = [a.config for a in islice(handed_out(begin(torn, spec)), 13)]  # the 13th is left
    done[12:] = [a.config for a in run(begin(torn, spec, attempt=2))]
    assert done == whole
    beside = begin(folder(tmp_path, "beside"), spec)
    for own in seeds(together(beside, 3)).values():
        assert len(own) == len(set(own))


def together(attempt: Attempt, count: int) -> list[TrialConfig]:
    """The configurations where `count` trials run at a time."""
    running, done = [], []
    while True:
        while len(running) < count and (assignment := attempt.controller.next_trial()) is not None:
            running.append(assignment)
        if not running:
            return [assignment.config for assignment in done]
        done.append(running.pop(0))
        work(attempt.controller, done[-1])


def test_a_replicates_seed_is_none_of_the_confirm_phases(tmp_path):
    spec = sweep(*FEW, "confirm.seeds=50")
    attempt = begin(tmp_path, spec)
    searched = {assignment.config.seed for assignment in run(attempt)}
    runs = runs_of(spec, finalists(attempt.states.values(), "val/error"), attempt.states.values())
    assert not searched & {assignment.config.seed for _, assignment in runs}
    assert set(Counter(r.config.strategy for _, r in runs).values()) == {50}
