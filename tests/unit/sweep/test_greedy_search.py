"""A search that grows sets of layers: its rounds, what the arm is confirmed with, resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from controller_kit import Attempt, start_one, work

from raysel.engine.trial_source import Assignment
from raysel.record.event_log import EventLog
from raysel.record.events import Record, sqlite_url
from raysel.record.failure_kind import FailureKind
from raysel.search.space import Space
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.fold_results import trial_result
from raysel.sweep.ranking import leaders
from raysel.sweep.search_controller import SearchController

FILE = """\
name: toy
task: {data: digits}
model: {name: resnet10t}
strategies: {surgical: }
training: {learning_rate: 0.1, epochs: 2}
search: {sampler: greedy, num_trials: 40, seed: 3}
pruner: {kind: none}
"""
LAYERS = ("stem", "layer1", "layer2", "head")
SINGLES = list(LAYERS)
EXAMPLES = 100

Errors = Callable[[frozenset[str]], float]


def spec(*overrides: str) -> Spec:
    return parse(FILE, overrides)


def begin(folder: Path, chosen: Spec, attempt: int = 1) -> Attempt:
    record = Record(sqlite_url(folder / "sweep.db"))
    log = EventLog(record, attempt)
    controller = SearchController(chosen, Space(chosen, LAYERS), log, EXAMPLES)
    return Attempt(chosen, record, controller, [])


def block(config: TrialConfig) -> str:
    return config.parameters.get("block", "")


def worker(errors: Errors) -> Callable[[TrialConfig, int], float]:
    return lambda config, epoch: errors(frozenset(block(config).split("+")))


def helpful(chosen: frozenset[str]) -> float:
    """layer2 helps most, then the stem; more do not."""
    return 0.5 - 0.3 * ("layer2" in chosen) - 0.12 * ("stem" in chosen) + 0.001 * len(chosen)


def run(attempt: Attempt, errors: Errors = helpful) -> list[str]:
    found = []
    while (assignment := attempt.controller.next_trial()) is not None:
        found.append(assignment)
        work(attempt.controller, assignment, worker=worker(errors))
    return [block(one.config) for one in found]


def best(attempt: Attempt, arm: str = "surgical") -> str:
    trial = leaders(attempt.states.values(), "val/error")[arm]
    results = [trial_result(one, "val/error") for one in attempt.states.values()]
    assert leaders(results, "val/error")[arm].id == trial.id
    return str(trial.searched["block"])


ROUNDS = [
    *SINGLES,
    *("stem+layer2", "layer1+layer2", "layer2+head"),
    *("stem+layer1+layer2", "stem+layer2+head"),
]


def test_the_set_grows_until_no_layer_lowers_the_error_enough(tmp_path):
    attempt = begin(tmp_path, spec())
    assert run(attempt) == ROUNDS
    assert best(attempt) == "stem+layer2"


def test_the_smaller_set_is_confirmed_where_the_larger_is_better_within_the_noise(tmp_path):
    def slightly(chosen: frozenset[str]) -> float:
        return 0.2 - 0.01 * (len(chosen) - 1) + 0.1 * ("layer1" not in chosen)

    attempt = begin(tmp_path, spec())
    assert len(run(attempt, slightly)) == 7
    values = {t.searched["block"]: t.value for t in attempt.states.values()}
    assert values["stem+layer1"] < values["layer1"]
    assert best(attempt) == "layer1"


def test_all_additions_of_a_round_run_at_once_and_the_next_round_waits(tmp_path):
    attempt = begin(tmp_path, spec())
    first = [start_one(attempt) for _ in LAYERS]
    assert [block(one.config) for one in first] == SINGLES
    assert attempt.controller.next_trial() is None
    for one in reversed(first):
        assert attempt.controller.next_trial() is None
        work(attempt.controller, one, worker=worker(helpful))
    assert block(start_one(attempt).config) == "stem+layer2"


@pytest.mark.parametrize("done", range(1, len(ROUNDS)))
def test_a_resumed_search_suggests_what_one_that_never_stopped_does(tmp_path, done):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    expected = begin(whole, spec())
    run(expected)
    first = begin(cut, spec())
    for _ in range(done - 1):
        work(first.controller, start_one(first), worker=worker(helpful))
    start_one(first)  # the driver dies while it runs
    again = begin(cut, spec(), 2)
    run(again)
    assert _facts(again) == _facts(expected)


def _facts(attempt: Attempt) -> list[tuple]:
    return [
        (t.id, t.config, t.suggested, t.distributions, t.attributes, t.value)
        for t in attempt.states.values()
    ]


def test_a_failed_addition_is_not_taken_and_holds_nothing_up(tmp_path):
    attempt = begin(tmp_path, spec())
    found: list[Assignment] = []
    while (assignment := attempt.controller.next_trial()) is not None:
        found.append(assignment)
        if block(assignment.config) == "layer2":
            attempt.controller.failed(assignment.trial, FailureKind.ERROR, "broken")
        else:
            work(attempt.controller, assignment, worker=worker(helpful))
    assert [block(one.config) for one in found[4:7]] == ["stem+layer1", "stem+layer2", "stem+head"]


def test_each_arm_has_its_share_and_takes_turns(tmp_path):
    arms = "strategies={surgical: , blockwise: }"
    chosen = spec(arms, "search.num_trials=16", "search.run_single_configurations=true")
    attempt = begin(tmp_path, chosen)  # full and linear_probe have a trial each: shares of 4
    names = []
    while (assignment := attempt.controller.next_trial()) is not None:
        names.append((assignment.config.arm, block(assignment.config)))
        work(attempt.controller, assignment, worker=worker(helpful))
    assert names[:2] == [("full", ""), ("linear_probe", "")]
    turns = [(arm, one) for one in SINGLES for arm in ("surgical", "blockwise")]
    assert names[2:] == turns


def test_more_trials_take_an_ended_search_further(tmp_path):
    attempt = begin(tmp_path, spec("search.num_trials=5"))
    assert run(attempt) == SINGLES
    again = begin(tmp_path, spec("search.num_trials=40"), 2)
    assert run(again) == ROUNDS[4:]
