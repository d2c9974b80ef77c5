"""`search.first: range_test`: where a search begins, and that a resumed one does not test again."""

from __future__ import annotations

import pytest
from controller_kit import FILE, LAYERS, Attempt, run

from raysel.engine.trial_source import RangeAssignment
from raysel.record.event_log import EventLog
from raysel.record.events import Record, sqlite_url
from raysel.record.failure_kind import FailureKind
from raysel.record.state import RANGE_SUGGESTED, TESTED_STEPS, fold
from raysel.search.space import Space
from raysel.search.validate import check
from raysel.spec.reader import parse
from raysel.spec.sweep import RANGE_STEPS, Spec
from raysel.sweep.range_search import (
    RangeController,
    begun_space,
    first_points,
    range_steps,
    suggested_rates,
)
from raysel.sweep.search_controller import SearchController
from raysel.training.worker_messages import EpochMessage

TESTED = "search.first=range_test"


def spec(*overrides: str) -> Spec:
    return parse(FILE, (TESTED, *overrides))


class Driver:
    """One life of the driver over the folder's record."""

    def __init__(self, folder, chosen: Spec, attempt: int = 1) -> None:
        self.spec, self.record = chosen, Record(sqlite_url(folder / "sweep.db"))
        self.log = EventLog(self.record, attempt)
        self.space = Space(chosen, LAYERS)
        self.tests = RangeController(self.space, self.trials, self.log)

    @property
    def trials(self):
        return list(fold(stored.event for stored in self.record.events()).values())

    def test(self, suggested: float | None) -> RangeAssignment | None:
        assignment = self.tests.next_trial()
        if assignment is not None:
            found = {TESTED_STEPS: 37.0} | (
                {} if suggested is None else {RANGE_SUGGESTED: suggested}
            )
            assert self.tests.epoch(assignment.trial, EpochMessage(1, found))
        return assignment

    def search(self) -> Attempt:
        space = begun_space(self.spec, self.space, self.trials)
        return Attempt(self.spec, self.record, SearchController(self.spec, space, self.log), [])


def test_each_arms_first_trial_has_its_suggested_rate_within_the_range(tmp_path):
    driver = Driver(tmp_path, spec())
    arms = list(driver.space.searched_rates)
    assert arms == ["surgical", "bvg_ls", "full", "linear_probe"]
    asked = [driver.test(rate) for rate in (0.01234, 3e-6, None, 0.02)]
    assert [(one.trial, one.steps) for one in asked] == [(f"range-{a}", RANGE_STEPS) for a in arms]
    assert driver.tests.next_trial() is None
    began = run(driver.search())[:4]
    rates = {one.config.arm: one.config.training.learning_rate for one in began}
    assert rates == {"surgical": 0.012, "bvg_ls": 1e-4, "full": 0.01, "linear_probe": 0.02}


def test_all_else_of_the_search_is_as_without_a_test(tmp_path):
    driver = Driver(tmp_path, spec())
    while driver.test(0.01) is not None:
        pass
    assert begun_space(parse(FILE), driver.space, driver.trials) is driver.space
    blocks = [t.searched.get("block") for t in driver.search().states.values()]
    assert blocks == [None] * 4  # the tests themselves search nothing
    first = driver.search().controller.next_trial()
    assert first is not None and first.config.parameters == {"block": "stem"}


def test_a_resumed_sweep_repeats_no_test_that_has_ended(tmp_path):
    driver = Driver(tmp_path, spec())
    driver.test(0.01)
    assert driver.tests.next_trial().trial == "range-bvg_ls"  # the driver dies while it runs
    again = Driver(tmp_path, driver.spec, 2)
    assert (again.tests.left, again.tests.size, len(again.tests.ended)) == (3, 4, 1)
    assert again.test(0.02).trial == "range-bvg_ls"
    assert again.test(None).trial == "range-full"
    assert suggested_rates(again.trials) == {"surgical": 0.01, "bvg_ls": 0.02}
    assert range_steps(again.trials) == {"surgical": 37, "bvg_ls": 37, "full": 37}


def test_an_arm_whose_test_failed_begins_as_published(tmp_path):
    driver = Driver(tmp_path, spec())
    assignment = driver.tests.next_trial()
    driver.tests.failed(assignment.trial, FailureKind.ERROR, "broken")
    driver.tests.failed(assignment.trial, FailureKind.WORKER_LOST, "reported again")
    assert Driver(tmp_path, driver.spec, 2).tests.left == 3
    assert suggested_rates(driver.trials) == {}
    tested = begun_space(driver.spec, driver.space, driver.trials)
    assert tested.searched_rates == driver.space.searched_rates
    assert first_points(driver.space, {"full": 1.0}) == (
        "range tests: the first learning rates are surgical 0.001 (nothing is suggested), bvg_ls"
        " 0.01 (nothing is suggested), full 0.1, linear_probe 0.01 (nothing is suggested)"
    )


def test_a_file_without_it_is_written_as_before():
    assert "first" not in parse(FILE).model_dump(mode="json")["search"]
    assert spec().model_dump(mode="json")["search"]["first"] == "range_test"
    assert parse(spec().to_yaml()) == spec()


@pytest.mark.parametrize(
    ("overrides", "reported"),
    [
        ((), None),
        (
            ("training.learning_rate=0.01",),
            "search.first: range_test sets the first learning rate, and no arm searches one in a"
            " range; leave it out",
        ),
        (
            ("training.learning_rate={float: [1e-4, 1e-1], log: true, first: 0.01}",),
            "search.first: surgical has a first learning rate in the file, 0.01; leave one of the"
            " two out",
        ),
        (
            (
                *("search.sampler=grid", "search.allocation=adaptive", "search.num_trials=200"),
                "training.learning_rate={float: [0.1, 0.3], step: 0.1}",
                "strategies.bvg_ls.ema_decay=0.5",
            ),
            "search.first: grid tries what it tries wherever it begins; leave it out, or take tpe,"
            " random or qmc",
        ),
    ],
)
def test_what_it_cannot_be_is_one_line(overrides, reported):
    found = [str(problem) for problem in check(spec(*overrides))]
    assert found == ([] if reported is None else [reported])
