"""The arithmetic of a plan, with round numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raysel.service.plan.estimate import (
    BEGIN_SECONDS,
    END_SECONDS,
    RECORD_BYTES,
    REPORT_SECONDS,
    Costs,
    Plan,
    StrategyPlan,
    disk,
    duration,
    worker_hours,
)
from raysel.service.plan.timing import Timing
from raysel.service.plan.workload import StrategyWorkload

EPOCH = 10.0 - REPORT_SECONDS  # with what it takes to tell of it, 10 s
TIMING = Timing(epoch=EPOCH, start=0.0, example=0.0, checkpoint=1_000, trace=10, memory=None)
SLOW = StrategyPlan(StrategyWorkload("full", 4, 6, 5, 2), TIMING, None)
QUICK = StrategyPlan(
    StrategyWorkload("linear_probe", 4, 6, 5, 2), replace(TIMING, epoch=1.0 - REPORT_SECONDS), None
)
ALONE = Costs(concurrent=1, cpus=2, gpus=0, kept=0.5)
FIXED = BEGIN_SECONDS + END_SECONDS


def test_one_trial_at_a_time_takes_the_sum_of_all():
    found = duration([SLOW, QUICK], 100.0, ALONE)
    assert found is not None
    # of 4 x 6 epochs a strategy the pruner keeps half; the confirm phase runs 2 x 6
    assert found.search == pytest.approx(12 * 10 + 12 * 1)
    assert found.confirm == pytest.approx(12 * 10 + 12 * 1)
    assert found.total == pytest.approx(FIXED + 100 + 132 + 132)


def test_the_bounds_are_those_of_a_sampler_that_goes_one_way():
    found = duration([SLOW, QUICK], 0.0, ALONE)
    assert found is not None
    # each strategy once; the other six trials all quick and pruned, or all slow and whole
    assert found.low == pytest.approx(FIXED + 132 + 0.5 * (60 + 7 * 6))
    assert found.high == pytest.approx(FIXED + 132 + 7 * 60 + 6)
    assert found.low < found.total < found.high


def test_the_bounds_are_those_of_sets_that_stop_at_once_or_never():
    growing = replace(SLOW, workload=StrategyWorkload("surgical", 6, 6, 5, 2, fewest=5))
    found = duration([growing, QUICK], 0.0, replace(ALONE, kept=1.0))
    assert found is not None
    # 5 or 6 trials of a minute, and 4 of 6 s whatever becomes of the set
    assert found.low == pytest.approx(FIXED + 132 + 5 * 60 + 4 * 6)
    assert found.high == found.total == pytest.approx(FIXED + 132 + 6 * 60 + 4 * 6)


def test_trials_side_by_side_share_the_time_and_wait_for_the_last():
    found = duration([SLOW], 0.0, replace(ALONE, concurrent=2, start=5.0))
    assert found is not None
    half_of_the_longest = 60 / 2 * (1 - 1 / 2)
    assert found.search == pytest.approx(5 + 12 * 10 / 2 + half_of_the_longest)


def test_more_places_than_runs_are_of_no_use():
    found = duration([SLOW], 0.0, replace(ALONE, concurrent=64))
    assert found is not None
    assert found.confirm == pytest.approx(120 / 2 + 60 / 2 * (1 - 1 / 2))


def test_the_test_part_is_read_once_a_confirm_run():
    plan = replace(SLOW, timing=replace(TIMING, example=0.1))
    found = duration([plan], 0.0, replace(ALONE, tests=100))
    assert found is not None
    assert found.confirm == pytest.approx(120 + 2 * 10)


def test_a_time_budget_ends_it():
    found = duration([SLOW], 0.0, replace(ALONE, budget=50.0))
    assert found is not None
    assert (found.total, found.high) == (50.0, 50.0)


def test_without_a_measurement_no_time_is_reported():
    assert duration([SLOW, replace(QUICK, timing=None)], 0.0, ALONE) is None


def test_hours_count_workers_and_not_the_wall():
    hours = worker_hours([SLOW], 36.0, replace(ALONE, concurrent=8))
    assert hours == pytest.approx((36 + 120 + 120) / 3600)


def test_checkpoints_of_all_confirm_runs_lie_there_together():
    found = disk([SLOW, QUICK], replace(ALONE, concurrent=3), model=500)
    assert found.checkpoints == 4 * 1_000  # more than those of 3 live trials
    assert found.traces == (12 + 12) * 10 * 2
    assert found.record == (12 + 12) * 2 * RECORD_BYTES
    assert found.models == 2 * 500


@pytest.mark.parametrize(("gpus", "price", "cost"), [(0.5, 4.0, 0.5 * 4), (0, 4.0, None)])
def test_the_cost_is_that_of_the_gpu_hours(gpus, price, cost):
    costs = replace(ALONE, gpus=gpus, price=price)
    one_hour = replace(SLOW, workload=StrategyWorkload("full", 40, 6, 5, 40))
    plan = Plan(
        name="x",
        costs=costs,
        strategies=(one_hour,),
        source=0.0,
        duration=duration([one_hour], 0.0, costs),
        disk=disk([one_hour], costs, 0),
        trial_bytes=None,
        device="a GPU",
        why="",
        failures={},
    )
    assert plan.hours is not None
    assert plan.epochs == 40 * 6 / 2 + 40 * 6
    assert plan.steps == 5 * plan.epochs
    assert plan.hours == pytest.approx((gpus or 2) * 10 * plan.epochs / 3600)
    assert plan.cost == (None if cost is None else pytest.approx(4.0 * plan.hours))
