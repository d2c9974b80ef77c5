"""A suite over an engine that runs the trials in this process: no Ray, no MLflow, seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import session_kit
from ray.tune.search import Searcher

from raysel.engine import searcher as searching
from raysel.engine.capacity import Node
from raysel.engine.searcher import LaneSearcher
from raysel.engine.trial_source import Lane, StopRequest
from raysel.spec.reader import SweepFile
from raysel.spec.suite import read_suite
from raysel.spec.trial_config import TrialConfig
from raysel.sweep import start_suite, suite_session
from raysel.sweep.outcome import Outcome
from raysel.training.trial import TrialRun
from raysel.training.trial_worker import TrialWorker

FILE = session_kit.FILE.replace("name: toy", "name: suite") + "axes: {training.shots: [1, 2]}\n"


def in_this_process(
    lanes: Iterator[Lane], resources: Any, concurrent: int, storage: Any, stop: StopRequest
) -> None:
    """Run the lanes' trials one after another, as the searcher gives them."""
    searcher = LaneSearcher(lanes, 1, stop)
    number, there = 0, searcher.prepare()
    while there:
        number += 1
        given = searcher.suggest(str(number))
        if given == Searcher.FINISHED:
            break
        if given is None or "idle_seconds" in given:  # a cell is being opened
            searcher.on_trial_complete(str(number))
            time.sleep(0.01)
            continue
        own = searcher.trials[str(number)]
        run = TrialRun(
            TrialWorker(given["context"].ref),
            given["trial"],
            TrialConfig.model_validate(given["config"]),
            given["reported_epochs"],
        )
        ended = False
        while not ended and not own.lane.stop.asked:
            try:
                ended = own.source.epoch(own.trial, run.epoch())
            except Exception as error:
                own.lane.stop.fail(error)
        searcher.on_trial_complete(str(number))
    searcher.end()
    if stop.error:
        raise stop.error


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites of this process start neither Ray nor an exporter's process."""
    session_kit.without_ray(monkeypatch)

    @contextmanager
    def connected() -> Iterator[list[Node]]:
        yield [Node("here", {"CPU": 2.0})]

    monkeypatch.setattr(suite_session, "connected", connected)
    monkeypatch.setattr(suite_session, "watching", lambda _: nullcontext())
    monkeypatch.setattr(suite_session, "run_lanes", in_this_process)
    monkeypatch.setattr(searching.ray, "put", lambda context: context)


def write_page(storage: str, name: str) -> Path:
    """In the place of the suite's page."""
    return Path(storage) / name / "report" / "index.html"


def run(
    storage: Path,
    reporter: Any = None,
    publish: Callable[[Outcome], Outcome] = lambda outcome: outcome,
    *overrides: str,
    text: str = FILE,
    again: bool = False,
) -> start_suite.SuiteOutcome:
    """`raysel run SUITE`."""
    file = SweepFile("suite.yaml", text, (f"storage={os.fspath(storage)}", *overrides))
    read = read_suite(file)
    specs = [cell.spec for cell in read.cells]
    shown = reporter or MagicMock()
    return start_suite.start_suite(read, specs, shown, publish, write_page, again)


def resume(
    storage: Path,
    *overrides: str,
    publish: Callable[[Outcome], Outcome] = lambda outcome: outcome,
) -> start_suite.SuiteOutcome:
    """`raysel resume SUITE`."""
    return start_suite.resume_suite(
        str(storage), "suite", MagicMock(), publish, write_page, overrides
    )
