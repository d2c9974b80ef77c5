"""The plan of a suite: sums over its cells, with one start and one end."""

from __future__ import annotations

import pytest
from test_plan_estimate import ALONE, FIXED, QUICK, SLOW

from raysel.service.plan.estimate import Plan, disk, duration
from raysel.service.plan.estimate_suite import SuitePlan


def plan(*strategies, source: float = 0.0, **changes) -> Plan:
    found = duration(strategies, source, ALONE)
    facts = {"trial_bytes": None, "device": "cpu", "why": "", "failures": {}} | changes
    return Plan(
        name="cell",
        costs=ALONE,
        strategies=strategies,
        source=source,
        duration=facts.pop("duration", found),
        disk=disk(strategies, ALONE, 0),
        **facts,
    )


def test_a_suite_is_the_sum_of_its_cells_with_one_start():
    cells = {"a": plan(SLOW, source=100.0), "b": plan(QUICK)}
    suite = SuitePlan("suite", cells)
    # SLOW: 132 - 12 = 120 s of search, 120 of confirm; QUICK a tenth
    assert suite.duration is not None
    assert suite.duration.total == pytest.approx(FIXED + 100 + 240 + 24)
    assert suite.trials == 8
    assert suite.runs == 4
    assert suite.epochs == pytest.approx(2 * (12 + 12))
    assert suite.hours == pytest.approx((100 + 240 + 24) * 2 / 3600)  # two CPUs a trial
    assert suite.disk == sum(one.disk.total for one in cells.values())


def test_the_budget_ends_the_suite():
    suite = SuitePlan("suite", {"a": plan(SLOW), "b": plan(SLOW)}, budget=300.0)
    assert suite.duration is not None
    assert suite.duration.total == 300.0


def test_a_cell_that_was_not_measured_leaves_the_suite_without_a_time():
    cells = {"a": plan(SLOW), "b": plan(SLOW, duration=None, why="no GPU")}
    suite = SuitePlan("suite", cells)
    assert suite.duration is None
    assert suite.as_json()["seconds"] is None


def test_a_note_of_several_cells_is_shown_once():
    cells = {"a": plan(SLOW, notes=("x", "y")), "b": plan(SLOW, notes=("x", "z"))}
    assert SuitePlan("suite", cells).notes == ["x", "y", "z"]
