"""`confirm.configurations`: which configurations are confirmed, under which names; and arms that
have but one and no search."""

from __future__ import annotations

import re
from typing import Any

import pytest
from controller_kit import sweep

from raysel.record.state import TrialState
from raysel.search.space import Space
from raysel.service.plan.workload import workloads
from raysel.spec.confirm import BestBy
from raysel.spec.trial_config import TrialConfig
from raysel.sweep import ranking
from raysel.sweep.confirm import finalists, of_round, runs_of
from raysel.sweep.pairwise import has_less
from raysel.sweep.results import StrategyEffort

METRIC = "val/error"
LAYERS = ("stem", "body", "head")
BLOCKS = ("stem", "body", "head")
OVERRIDES = (
    *("confirm.splits=2", "training.epochs=2", "search.seed=7"),
    "search.run_single_configurations=false",
)


def space(*overrides: str) -> Space:
    return Space(sweep(*OVERRIDES, *overrides), LAYERS)


def trial(number: int, value: float, block: str, rate: float, **changes: Any) -> TrialState:
    config = space().first_configuration(
        "surgical", {"surgical.block": block, "surgical.learning_rate": rate}
    )
    searched = {"block": block, "learning_rate": rate}
    facts = {"status": "COMPLETE", "value": value, "config": config.model_dump(mode="json")}
    facts |= {"number": number, "strategy": "surgical", "searched": searched}
    return TrialState(f"{number:04d}", **(facts | changes))


def of_full(number: int, value: float, **changes: Any) -> TrialState:
    config = space().first_configuration("full")
    facts = {"status": "COMPLETE", "value": value, "config": config.model_dump(mode="json")}
    facts |= {"number": number, "strategy": "full", "searched": {"learning_rate": 0.01}}
    return TrialState(f"{number:04d}", **(facts | changes))


TRIALS = [
    of_full(0, 0.3),
    trial(1, 0.5, "stem", 0.1),
    trial(2, 0.2, "stem", 0.01),
    trial(3, 0.1, "head", 0.1),
    trial(4, 0.4, "head", 0.01, status="PRUNED"),
    trial(5, 0.3, "body", 0.1),
    trial(6, 0.25, "body", 0.1),  # the same again, with another seed
    trial(7, 0.0, "body", 0.01, status="FAILED"),
]


def asked(configurations: Any) -> list[str]:
    return [f.trial for f in finalists(TRIALS, METRIC, configurations)]


def test_the_best_alone_is_what_is_confirmed_where_nothing_is_said():
    assert asked("best") == ["0000", "0003"]
    assert [f.best for f in finalists(TRIALS, METRIC)] == [True, True]


def test_all_are_the_distinct_ones_that_have_a_result_each_as_its_best_trial():
    assert asked("all") == ["0000", "0003", "0001", "0002", "0004", "0006"]
    best = [f.trial for f in finalists(TRIALS, METRIC, "all") if f.best]
    assert best == ["0000", "0003"]


def test_by_takes_the_best_for_each_value_and_the_best_of_arms_that_search_none():
    assert asked(BestBy(by=("block",))) == ["0000", "0003", "0002", "0006"]
    by_both = asked(BestBy(by=("block", "learning_rate")))
    assert by_both == ["0000", "0003", "0001", "0002", "0004", "0006"]


def runs(configurations: Any, known: list[TrialState] = TRIALS, splits: int = 2):
    spec = sweep(*OVERRIDES)
    return runs_of(spec, finalists(TRIALS, METRIC, configurations), known, splits)


def test_names_are_as_before_for_the_best_unique_and_parse_back():
    named = {run.trial: finalist for finalist, run in runs("all")}
    assert len(named) == 12
    before = {run.trial: run.config for _, run in runs("best")}
    assert sorted(before) == [f"confirm-{s}-s{i}" for s in ("full", "surgical") for i in (0, 1)]
    for name, finalist in named.items():
        found = re.fullmatch(r"confirm-(.+?)(?:-(\d{4,}))?-s\d+", name)
        assert found is not None and found[1] == finalist.config.arm
        assert found[2] == (None if finalist.best else finalist.trial)


def test_all_have_the_same_seeds_so_that_they_are_paired():
    seeds: dict[str, list[int]] = {}
    for finalist, run in runs("all"):
        seeds.setdefault(finalist.trial, []).append(run.config.seed)
    assert len({tuple(own) for own in seeds.values()}) == 1


def test_a_run_that_is_there_already_is_not_made_again_under_another_name():
    """The best of an earlier attempt is another one's now: its runs stay its runs."""
    known = [
        TrialState(run.trial, phase="confirm", config=run.config.model_dump(mode="json"))
        for finalist, run in runs_of(sweep(*OVERRIDES), finalists(TRIALS[:3], METRIC), (), 2)
    ]
    later = {run.trial: finalist.trial for finalist, run in runs("all", [*TRIALS, *known])}
    assert later["confirm-surgical-s0"] == "0002"
    assert later["confirm-surgical-0003-s0"] == "0003"
    assert len(later) == 12


# --- arms with one configuration ----------------------------------------------------------------


def single() -> dict[str, TrialConfig]:
    return space("strategies.full.training={learning_rate: 0.1}").single


def test_an_arm_without_a_search_is_confirmed_as_it_is():
    chosen = finalists(TRIALS[1:], METRIC, "best", single())
    assert [(f.config.arm, f.trial, f.best) for f in chosen] == [
        ("surgical", "0003", True),
        ("full", "", True),
    ]
    names = [run.trial for _, run in runs_of(sweep(*OVERRIDES), chosen, TRIALS[1:], 1)]
    assert names == ["confirm-surgical-s0", "confirm-full-s0"]


def test_its_effort_is_not_unequal():
    given, tuned = (
        StrategyEffort(strategy="full"),
        StrategyEffort(trials=12, complete=9, searched=1),
    )
    assert given.nothing_to_tune and not tuned.nothing_to_tune
    assert not has_less(given, tuned) and not has_less(tuned, given)
    few = StrategyEffort(trials=1, complete=1)
    assert has_less(few, tuned)  # one that was tried once, where arms were searched as before


# --- the plan -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configurations", "expected"),
    [
        # 8 trials are 2 for each of the four arms; bvg_ls and the others search real numbers
        ("best", {"surgical": 2, "bvg_ls": 2, "full": 2, "linear_probe": 2}),
        ("all", {"surgical": 4, "bvg_ls": 4, "full": 4, "linear_probe": 4}),
        ("{by: [block]}", {"surgical": 4, "bvg_ls": 2, "full": 2, "linear_probe": 2}),
    ],
)
def test_the_plan_counts_the_confirm_runs_of_each_arm(configurations, expected):
    overrides = (*OVERRIDES, "search.num_trials=8", f"confirm.configurations={configurations}")
    work = workloads(sweep(*overrides), space(*overrides), 100, 10)
    assert {w.strategy: w.confirm for w in work} == expected


def test_the_plan_has_no_trials_of_an_arm_without_a_search():
    overrides = (*OVERRIDES, "strategies.full.training={learning_rate: 0.1}")
    work = {w.strategy: w for w in workloads(sweep(*overrides), space(*overrides), 100, 10)}
    assert (work["full"].trials, work["full"].confirm) == (0, 2)
    assert sum(w.trials for w in work.values()) == 7


def test_a_rank_counts_the_same_in_results_and_record():
    assert [t.id for t in ranking.finalists(TRIALS, METRIC)] == asked("best")


def test_later_rounds_are_of_the_open_arms_best_alone():
    spec = sweep(*OVERRIDES, "confirm.configurations=all")
    first = of_round(spec, {}, TRIALS, None)
    assert len(first) == 6
    later = of_round(spec, {}, TRIALS, {"surgical"})
    assert [(f.trial, f.best) for f in later] == [("0003", True)]
