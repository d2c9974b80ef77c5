"""`search.first: range_test`: a range test of each arm sets where its search begins.

The tests are a phase of their own before the search, one a worker. What each found is in the
record, so that a resumed sweep does not test again and begins where it began.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from raysel.engine.trial_source import Phase, RangeAssignment
from raysel.record.event_log import EventLog
from raysel.record.events import Kind
from raysel.record.failure_kind import FailureKind, failed_end
from raysel.record.state import (
    COMPLETE,
    ENDED,
    RANGE,
    RANGE_SUGGESTED,
    TESTED_STEPS,
    TrialState,
    fold,
)
from raysel.search.space import Space
from raysel.spec.sweep import RANGE_STEPS, RANGE_TEST, Spec
from raysel.sweep.progress_reporter import ProgressReporter
from raysel.training.trial_worker import PhaseContext
from raysel.training.worker_messages import EpochMessage


def range_phase(
    spec: Spec,
    space: Space,
    event_log: EventLog,
    reporter: ProgressReporter,
    shared: PhaseContext,
    next_size: int,
) -> Iterator[Phase]:
    """The phase of the tests that have not ended, where the sweep asks for them.

    Args:
        space: with the first points that it has without tests.
        next_size: how many trials come after them.
    """
    if spec.search.first != RANGE_TEST:
        return
    tests = RangeController(space, _trials(event_log), event_log)
    if tests.left:
        reporter.phase(RANGE, tests.size, tests.ended)
        yield Phase(tests, shared, tests.left, next_size=next_size)
    reporter.note(first_points(space, suggested_rates(_trials(event_log))))


class RangeController:
    """Assigns the tests that have not ended; see `raysel.engine.trial_source.TrialSource`.

    Args:
        trials: all that the record has.
    """

    def __init__(self, space: Space, trials: Iterable[TrialState], event_log: EventLog) -> None:
        self._space, self._event_log = space, event_log
        self._numbers = {arm: number for number, arm in enumerate(space.searched_rates)}
        self.ended = [t for t in trials if t.phase == RANGE and t.status in ENDED]
        done = {trial.id for trial in self.ended}
        self._waiting = deque(arm for arm in self._numbers if _name(arm) not in done)
        self._live: set[str] = set()

    @property
    def left(self) -> int:
        """How many tests have not begun."""
        return len(self._waiting)

    @property
    def size(self) -> int:
        """How many tests there are."""
        return len(self._numbers)

    def next_trial(self) -> RangeAssignment | None:
        """The next test, of an arm's first configuration."""
        if not self._waiting:
            return None
        arm = self._waiting.popleft()
        name, config = _name(arm), self._space.first_configuration(arm)
        self._live.add(name)
        self._event_log.started(name, self._numbers[arm], RANGE, config, {})
        return RangeAssignment(name, config, RANGE_STEPS)

    def epoch(self, trial: str, message: EpochMessage) -> bool:
        """Record what a test found, which is its end."""
        end = {"status": COMPLETE, "cause": None, "value": None, "metrics": message.metrics}
        self._end(trial, end)
        return True

    def failed(self, trial: str, kind: FailureKind, cause: str) -> None:
        """Record a failure: the arm begins as it would without a test."""
        self._end(trial, failed_end(kind, cause))

    def _end(self, trial: str, end: Mapping[str, object]) -> None:
        if trial in self._live:  # else its worker was lost at the end
            self._live.remove(trial)
            self._event_log.write(trial, Kind.ENDED, 0, dict(end))


def suggested_rates(trials: Iterable[TrialState]) -> dict[str, float]:
    """Arm -> the learning rate that its test suggests, to two digits; no key where none does."""
    found = {t.strategy: t.end_metrics.get(RANGE_SUGGESTED) for t in trials if t.phase == RANGE}
    return {arm: float(f"{rate:.2g}") for arm, rate in found.items() if rate is not None}


def range_steps(trials: Iterable[TrialState]) -> dict[str, int]:
    """Arm -> the optimizer steps of its test."""
    ended = (t for t in trials if t.phase == RANGE)
    return {t.strategy: int(t.end_metrics.get(TESTED_STEPS) or 0) for t in ended}


def begun_space(spec: Spec, space: Space, trials: Iterable[TrialState]) -> Space:
    """The space whose first points are the suggested rates, where the sweep asks for them."""
    if spec.search.first != RANGE_TEST:
        return space
    return space.beginning_at(suggested_rates(trials))


def first_points(space: Space, suggested: Mapping[str, float]) -> str:
    """Where the tests let each arm begin, in a line."""
    tested = space.beginning_at(suggested).searched_rates
    words = (
        f"{arm} {value.published:g}" + ("" if arm in suggested else " (nothing is suggested)")
        for arm, value in tested.items()
    )
    return f"range tests: the first learning rates are {', '.join(words)}"


def _trials(event_log: EventLog) -> list[TrialState]:
    return list(fold(stored.event for stored in event_log.record.events()).values())


def _name(arm: str) -> str:
    return f"{RANGE}-{arm}"
