"""Which trial a free worker gets: Tune asks for it here, and reports its end.

The phases of a sweep follow each other; several sweeps (the cells of a suite) are lanes beside each
other, taken in order: a free worker gets the next trial of the first lane that has one.
"""

from __future__ import annotations

import raysel.engine.ray_env  # noqa: F401

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.tune.result import TRAINING_ITERATION
from ray.tune.search import Searcher

from raysel.engine.trial_source import (
    AnyAssignment,
    Lane,
    Phase,
    StopRequest,
    TrialSource,
    Wait,
)
from raysel.record.failure_kind import FailureKind
from raysel.training.source_run import SourceContext
from raysel.training.trial_worker import PhaseContext

Context = PhaseContext | SourceContext

START_SECONDS = 10.0
"""How long the first worker waits for the others to start."""

MIN_IDLE_SECONDS = 0.2
"""The shortest time between two messages of a worker that idles."""

_POLL_SECONDS = 0.05

MAX_IDLE_MESSAGES = 50
"""The most messages a second of all workers that idle."""


class DriverOnly:
    """Left out of the pickles that Tune writes and raysel never reads: a trial source holds a
    database connection, and the record is the state.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> DriverOnly:
        return self


@dataclass(frozen=True)
class ContextRef:
    """A phase's context in the object store, as a value of a trial's configuration."""

    ref: ray.ObjectRef

    def __deepcopy__(self, memo: dict[int, Any]) -> ContextRef:
        return self


class OpenLane:
    """A lane whose trials run or are to run.

    Attributes:
        phase: the current one; None before the first, and while the lane waits.
        in_progress: Ray's ids of its trials that run.
        is_over: its end was handled.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane, self.stop = lane, lane.stop
        self.phase: Phase | None = None
        self.in_progress: set[str] = set()
        self.is_over = False
        self._wait: Wait | None = None
        self._exhausted = False  # all trials of the phase have begun
        self._context: tuple[Context, ContextRef] | None = None

    def prepare(self) -> None:
        """Begin its first phase, unless it has to wait, or its end where there is none."""
        if self.phase is not None or self.is_over or self.waits:
            return
        try:
            if not self.stop.asked and not self._advance():
                self.end()
        except Exception as error:
            self.stop.fail(error)
            self.end()

    @property
    def waits(self) -> bool:
        """Whether it waits, for another lane or until its sweep is open."""
        return self._wait is not None and not self._wait.is_over()

    def next(self) -> AnyAssignment | None:
        """The lane's next trial; None where it has none for now, or has come to its end."""
        if self.is_over:
            return None
        try:
            return self._next()
        except Exception as error:  # Tune would go on without it
            self.stop.fail(error)
            if not self.in_progress:
                self.end()
            return None

    def _next(self) -> AnyAssignment | None:
        while not self.stop.asked:
            if self.phase is not None:
                assignment = self.phase.source.next_trial()
                self._exhausted = assignment is None
                if assignment is not None or self.in_progress:
                    return assignment
            if self.waits:
                return None
            if not self._advance():
                break
        if not self.in_progress:
            self.end()
        return None

    def _advance(self) -> bool:
        """Go on to the next phase; False where there is none."""
        following = next(self.lane.phases, None)
        self.phase = following if isinstance(following, Phase) else None
        self._wait = following if isinstance(following, Wait) else None
        self._exhausted = False
        return following is not None

    @property
    def may_have_a_trial(self) -> bool:
        """Whether `next` may give one, or has the lane's end to handle."""
        if self.is_over:
            return False
        if self.stop.asked:
            return not self.in_progress
        if self._wait is not None:
            return not self.waits
        return not self._exhausted or not self.in_progress

    @property
    def has_begun_all(self) -> bool:
        """Whether all of its trials have begun, of the last phase too."""
        last = self.phase is not None and self.phase.last and self._exhausted
        return self.is_over or self.stop.asked or last

    def end(self) -> None:
        """Handle its end, once."""
        if self.is_over:
            return
        self.is_over, self._context, self.phase = True, None, None
        try:
            if isinstance(self.lane.phases, Generator):
                self.lane.phases.close()
            self.lane.ended()
        except Exception as error:
            self.stop.fail(error)

    def reference(self, context: Context) -> ContextRef:
        """The context in the object store, where each is put once."""
        if self._context is None or self._context[0] is not context:
            self._context = context, ContextRef(ray.put(context))
        return self._context[1]


@dataclass(frozen=True)
class Given:
    """A trial that a worker has: its id in the record, its source, and its lane."""

    trial: str
    source: TrialSource[Any]
    lane: OpenLane


class LaneSearcher(DriverOnly, Searcher):
    """Takes the next trial from the first lane that has one; a lane's next phase begins when the
    trials of the one before have ended.

    A worker that has no trial until then idles: Tune would end it, and its process would have to
    start and import torch anew. Workers also idle at first, until all have started: a trial that
    waits for a worker to start is given to the first one that is free, and Tune ends the other.

    Attributes:
        trials: Ray's id -> what that one has.
        lost: Ray's id -> how its worker was lost.
        workers: those that have sent a message.
    """

    def __init__(self, lanes: Iterator[Lane], concurrent: int, stop: StopRequest) -> None:
        super().__init__(metric=TRAINING_ITERATION, mode="max")  # of Tune's own, in every result
        self._lanes, self._concurrent, self._stop = lanes, concurrent, stop
        self._more = True  # lanes that are not open yet
        self._open: list[OpenLane] = []
        self._idle: set[str] = set()
        self._starting = 0  # how many workers are to start before the first trial
        self._first_message = math.inf
        self.trials: dict[str, Given] = {}
        self.lost: dict[str, str] = {}
        self.workers: set[tuple[str, int]] = set()

    def heard_of(self, worker: tuple[str, int]) -> None:
        """A worker has sent a message."""
        self.workers.add(worker)
        self._first_message = min(self._first_message, time.monotonic())

    @property
    def waits(self) -> bool:
        """Whether idle workers are to wait: for others to start, or for running trials to end."""
        if self._stop.asked:
            return False
        more = self._may_open or any(lane.may_have_a_trial for lane in self._open)
        return self._are_starting or not (more or self._has_begun_all)

    @property
    def _may_open(self) -> bool:
        """Whether another lane may be opened: there are one more open ones than workers at most,
        for each holds its data and its record."""
        return self._more and len(self._open) <= self._concurrent

    @property
    def _has_begun_all(self) -> bool:
        return not self._more and all(lane.has_begun_all for lane in self._open)

    @property
    def _are_starting(self) -> bool:
        """Whether a worker is to start yet before the first trial begins."""
        late = time.monotonic() - self._first_message > START_SECONDS
        return len(self.workers) < self._starting and not late

    def prepare(self) -> bool:
        """Open lanes until one has a phase; False where none has, and nothing is to be run."""
        while not self._stop.asked and self._open_next():
            lane = self._open[-1]
            lane.prepare()
            while lane.waits and not self._stop.asked:
                time.sleep(_POLL_SECONDS)
                lane.prepare()
            if lane.phase is not None:
                size = min(self._concurrent, lane.phase.size)
                self._starting = size if size > 1 else 0
                return True
        return False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """What Tune's trial of that id is to do; None: nothing for now."""
        while not self._stop.asked:
            if self._are_starting:
                return self._idling(trial_id, self._starting)
            for lane in self._open:
                if (assignment := lane.next()) is not None:
                    self._open_ahead(lane)
                    return self._assigned(trial_id, lane, assignment)
            self._open = [lane for lane in self._open if not lane.is_over]
            if self._may_open and self._open_next():
                continue
            if self._has_begun_all:
                break
            return self._idling(trial_id, self._workers_to_keep)
        return Searcher.FINISHED

    def _open_ahead(self, current: OpenLane) -> None:
        """Let the lane after this one be opened while its trials run."""
        if current is self._open[-1] and self._may_open and self._open_next():
            self._open[-1].prepare()

    def _open_next(self) -> bool:
        """Open a lane more; False where there is none."""
        try:
            lane = next(self._lanes, None)
        except Exception as error:  # Tune would go on without it
            self._stop.fail(error)
            return False
        self._more = lane is not None
        if lane is not None:
            self._open.append(OpenLane(lane))
        return lane is not None

    @property
    def _workers_to_keep(self) -> int:
        """As many as there are, and as many as the next phase has trials; all where lanes wait for
        each other."""
        phases = [lane.phase for lane in self._open if lane.phase is not None]
        following = max((phase.next_size for phase in phases), default=0)
        if self._more or len(self._open) > 1:
            following = self._concurrent
        return max(len(self.workers), min(self._concurrent, following))

    def _assigned(self, trial_id: str, lane: OpenLane, assignment: AnyAssignment) -> dict[str, Any]:
        assert lane.phase is not None
        self.trials[trial_id] = Given(assignment.trial, lane.phase.source, lane)
        lane.in_progress.add(trial_id)
        folder = "-".join(filter(None, (lane.lane.name, assignment.trial)))
        context = lane.reference(lane.phase.context)
        return {**assignment.to_dict(), "folder": folder, "context": context}

    def _idling(self, trial_id: str, workers: int) -> dict[str, Any] | None:
        """None where more than so many workers would be kept."""
        running = sum(len(lane.in_progress) for lane in self._open)
        if running + len(self._idle) >= workers:
            return None
        self._idle.add(trial_id)
        seconds = max(MIN_IDLE_SECONDS, self._concurrent / MAX_IDLE_MESSAGES)
        name = f"idle-{trial_id}"
        return {"trial": name, "folder": name, "idle_seconds": seconds}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The source knows of every end but this one: more than `MAX_WORKER_FAILURES` workers were
        lost without a new epoch."""
        self._idle.discard(trial_id)
        given = self.trials.get(trial_id)
        if given is None:
            return
        given.lane.in_progress.discard(trial_id)
        if not error:
            return
        words = self.lost.get(trial_id, "no reason was given")
        try:
            given.source.failed(given.trial, FailureKind.WORKER_LOST, f"worker lost: {words}")
        except Exception as failure:
            given.lane.stop.fail(failure)

    def end(self) -> None:
        """The run has ended, and with it the lanes that are open."""
        for lane in self._open:
            if not lane.stop.asked and (lane.in_progress or not lane.has_begun_all):
                lane.stop.ask("Ray Tune ended before the trials were done")
            lane.end()

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""
