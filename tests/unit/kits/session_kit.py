"""A session over an engine that runs the trials in this process: no Ray, no MLflow, seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from raysel.engine.capacity import Node
from raysel.engine.trial_source import Phase, StopRequest
from raysel.models.build import build
from raysel.record.layout import SweepFolder
from raysel.spec.reader import parse
from raysel.sweep import session
from raysel.sweep.initial_weights import SourceModels
from raysel.sweep.outcome import Outcome
from raysel.training.source_model import SourceModel
from raysel.training.trial import TrialRun
from raysel.training.trial_worker import PhaseContext, TrialWorker
from raysel.training.worker_messages import EpochMessage

FILE = """
name: toy
task: {data: digits, source: 32, split: {train: 24, validation: 20, test: 20, seed: 0}}
model: {name: test_resnet, weights: source}
strategies: {full: , linear_probe: }
training: {epochs: 2, batch_size: 12}
search: {num_trials: 3}
confirm: {seeds: 2}
"""


def in_this_process(phases: Iterator[Phase], *others: Any) -> None:
    """Run the phases' trials one after another; a stopped one is left after its epoch."""
    stop: StopRequest = others[-1]
    for phase in phases:
        assert isinstance(phase.context, PhaseContext)
        worker, source = TrialWorker(phase.context), phase.source
        while not stop.asked and (given := source.next_trial()) is not None:
            run = TrialRun(worker, given.trial, given.config, given.reported_epochs)
            ended = False
            while not ended and not stop.asked:
                message = run.epoch()
                assert isinstance(message, EpochMessage), message
                ended = source.epoch(given.trial, message)
        if stop.asked:
            return


def untrained(source: SourceModels, _: int) -> SourceModel:
    return SourceModel(dict(build(source._context.model_config, 0).state_dict()), 0.5, 1.0)


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of this process start neither Ray nor the exporter's process."""
    here = [Node("here", {"CPU": 2.0})]

    @contextmanager
    def connected() -> Iterator[list[Node]]:
        yield here

    for name, stand_in in {
        "connected": connected,
        "expected_nodes": lambda: here,
        "watching": lambda _: nullcontext(),
        "run_phases": in_this_process,
        "WriterProcess": MagicMock(),
    }.items():
        monkeypatch.setattr(session, name, stand_in)
    monkeypatch.setattr(SourceModels, "_cached", untrained)
    for name in ("check_storage", "tidied"):
        monkeypatch.setattr(session.nodes, name, lambda _: None)


def run(
    tmp_path: Path,
    reporter: Any = None,
    publish: Callable[[Outcome], Outcome] = lambda o: o,
    *overrides: str,
) -> Outcome:
    spec = parse(FILE, [f"storage={tmp_path}", *overrides])
    folder = SweepFolder.of(str(tmp_path), spec.name)
    return session.run_session(spec, folder, reporter or MagicMock(), (), publish)
