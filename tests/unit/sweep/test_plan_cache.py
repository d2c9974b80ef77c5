"""A plan is kept for the sweep that computes what was planned, whatever it is called."""

from __future__ import annotations

import pytest

from raysel.spec.reader import parse
from raysel.sweep.plan_cache import brief, read_plan, write_plan
from raysel.sweep.results import Planned

FILE = """
name: x
task: {data: digits}
model: {name: resnet10t}
strategies: {full: }
"""
PLAN = {"seconds": {"total": 60.0, "low": 40.0, "high": 90.0}, "epochs": 12.5, "trials": 3}


@pytest.fixture
def spec(tmp_path):
    return lambda *overrides: parse(FILE, [f"storage={tmp_path}", *overrides])


def test_the_sweep_finds_its_plan_under_another_name_too(spec):
    write_plan(spec(), PLAN)
    assert read_plan(spec()) == PLAN
    assert read_plan(spec("name=y", "description=again")) == PLAN


def test_another_amount_of_work_has_no_plan(spec):
    write_plan(spec(), PLAN)
    assert read_plan(spec("search.num_trials=41")) is None
    assert read_plan(spec("resources.cpus=2")) is None


def test_a_damaged_plan_is_none(spec):
    write_plan(spec(), PLAN).write_text("{")
    assert read_plan(spec()) is None


def test_what_the_results_tell_of_a_plan():
    assert brief(PLAN) == Planned(seconds=60.0, low=40.0, high=90.0, epochs=12.5, trials=3)
    assert brief({"epochs": 1, "seconds": None}) == Planned(epochs=1)
    assert brief(None) is None
