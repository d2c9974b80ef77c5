"""Several sweeps beside each other: whose trial a free worker gets, and what ends a lane."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

import pytest
from ray.tune.search import Searcher
from trial_kit import SETTINGS

from raysel.engine import searcher as module
from raysel.engine.searcher import LaneSearcher
from raysel.engine.trial_source import Assignment, Lane, Phase, StopRequest, Wait
from raysel.spec.trial_config import TrialConfig

CONFIG = TrialConfig(strategy="full", parameters={}, training=SETTINGS, seed=0)


class Source:
    """A trial source over a list."""

    def __init__(self, *trials: str) -> None:
        self.left = list(trials)

    def next_trial(self) -> Assignment | None:
        return Assignment(self.left.pop(0), CONFIG) if self.left else None

    def epoch(self, *_: object) -> bool:
        return False

    def failed(self, *_: object) -> None:
        raise OSError("the disk is full")


@pytest.fixture(autouse=True)
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.ray, "put", lambda context: f"ref of {context}")


class Suite:
    """Lanes by their names, and a searcher over them with two workers that have started."""

    def __init__(self, concurrent: int = 2, **lanes: list[Any]) -> None:
        self.stop, self.opened, self.ended = StopRequest(), [], []  # type: ignore[var-annotated]
        self.stops = {name: StopRequest(self.stop) for name in lanes}
        made = (self._lane(name, phases) for name, phases in lanes.items())
        self.searcher = LaneSearcher(made, concurrent, self.stop)
        self.searcher.prepare()
        self.searcher._starting = 0
        self.number = 0

    def _lane(self, name: str, phases: list[Any]) -> Lane:
        def run() -> Generator[Any]:
            self.opened.append(name)
            for one in phases:
                if isinstance(one, Exception):
                    raise one
                yield one if isinstance(one, Wait) else phase(*one)

        events, ended = cast(Any, None), lambda: self.ended.append(name)
        return Lane(run(), events, self.stops[name], name, ended)

    def next(self) -> str | None:
        """What the next free worker gets: `lane/trial`, `idle`, or what ends the run."""
        self.number += 1
        given = self.searcher.suggest(str(self.number))
        if not isinstance(given, dict):
            return given
        if "idle_seconds" in given:
            self.searcher.on_trial_complete(str(self.number))
            return "idle"
        return str(given["folder"])

    def done(self, *trials: str) -> None:
        """These of its trials have ended."""
        for name, given in list(self.searcher.trials.items()):
            if f"{given.lane.lane.name}-{given.trial}" in trials:
                self.searcher.on_trial_complete(name)


def phase(*trials: str) -> Phase:
    last = trials[-1:] == ("last",)
    names = trials[:-1] if last else trials
    return Phase(Source(*names), cast(Any, "context"), len(names), last)


def test_while_a_search_waits_for_its_last_trial_the_next_cells_trials_begin():
    suite = Suite(a=[("0", "1"), ("c", "last")], b=[("0", "1"), ("c", "last")])
    assert [suite.next(), suite.next()] == ["a-0", "a-1"]
    assert suite.opened == ["a", "b"], "the next cell is opened meanwhile, and no more"
    suite.done("a-0")
    assert suite.next() == "b-0"
    suite.done("a-1")
    assert suite.next() == "a-c", "the first cell's confirm phase goes before the second's search"
    suite.done("b-0")
    assert suite.next() == "b-1"


def test_a_cell_ends_when_its_last_trial_has_and_the_run_when_all_have():
    suite = Suite(a=[("0", "last")], b=[("0", "last")])
    assert [suite.next(), suite.next()] == ["a-0", "b-0"]
    suite.done("a-0")
    assert suite.next() == Searcher.FINISHED
    assert suite.ended == ["a"]
    suite.searcher.end()
    assert suite.ended == ["a", "b"]


def test_no_more_cells_are_open_than_workers_and_one():
    lanes = {name: [("0",), ("c", "last")] for name in "abcdef"}
    suite = Suite(concurrent=2, **lanes)
    given = [suite.next() for _ in range(4)]
    assert given == ["a-0", "b-0", "c-0", None]
    assert suite.opened == ["a", "b", "c"]


def test_idle_workers_wait_until_a_cell_can_go_on():
    suite = Suite(a=[("0",), ("c", "last")])
    assert [suite.next(), suite.next()] == ["a-0", None]
    suite.searcher.heard_of(("here", 1))
    suite.searcher.heard_of(("here", 2))
    assert suite.next() == "idle"
    assert suite.searcher.waits
    suite.done("a-0")
    assert not suite.searcher.waits


def test_a_cell_that_waits_for_another_is_passed_over_until_it_can_go_on():
    over: list[bool] = []
    suite = Suite(a=[("s",), ("0", "last")], b=[Wait(lambda: bool(over)), ("0", "last")])
    assert [suite.next(), suite.next()] == ["a-s", "idle"]
    assert suite.searcher.waits
    over.append(True)
    assert not suite.searcher.waits
    assert suite.next() == "b-0"


def test_a_cell_that_cannot_be_opened_ends_and_the_others_go_on():
    suite = Suite(a=[ValueError("no such data")], b=[("0", "last")])
    assert suite.next() == "b-0"
    assert suite.ended == ["a"]
    assert str(suite.stops["a"].error) == "no such data"
    assert suite.stop.error is None


def test_a_cell_that_is_stopped_ends_with_its_running_trials():
    suite = Suite(a=[("0", "1", "2"), ("c", "last")], b=[("0", "last")])
    assert suite.next() == "a-0"
    suite.stops["a"].ask("5 trials failed alike")
    assert suite.next() == "b-0"
    assert suite.ended == []
    suite.done("a-0")
    assert suite.next() == Searcher.FINISHED
    assert suite.ended == ["a"]


def test_a_failure_of_a_cells_source_is_the_cells():
    suite = Suite(a=[("0", "last")], b=[("0", "last")])
    suite.next()
    suite.searcher.on_trial_complete("1", error=True)
    assert str(suite.stops["a"].error) == "the disk is full"
    assert suite.next() == "b-0"
    assert suite.ended == ["a"]


def test_a_request_to_stop_the_suite_stops_every_cell():
    suite = Suite(a=[("0", "1", "last")], b=[("0", "last")], c=[("0", "last")])
    suite.next()
    suite.stop.ask("Ctrl-C")
    assert suite.stops["a"].asked
    assert suite.stops["a"].cause == "Ctrl-C"
    assert suite.next() == Searcher.FINISHED
    suite.searcher.end()
    assert suite.ended == ["a", "b"], "a cell that was not opened has no end"


def test_cells_that_have_nothing_to_run_end_at_once():
    stop, ended = StopRequest(), []  # type: ignore[var-annotated]
    nothing = (one for one in ())
    lane = Lane(cast(Any, nothing), cast(Any, None), stop, "a", lambda: ended.append("a"))
    found = LaneSearcher(iter([lane]), 2, stop)
    assert not found.prepare()
    assert ended == ["a"]


def test_a_run_that_ends_before_the_trials_are_done_stops_the_cells_that_are_open():
    suite = Suite(a=[("0", "1", "last")], b=[("0", "last")])
    assert suite.next() == "a-0"
    suite.searcher.end()
    assert suite.stops["a"].cause == "Ray Tune ended before the trials were done"
    assert suite.ended == ["a", "b"]
