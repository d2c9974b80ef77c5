"""A session from its inputs to its outcome, over an engine that runs the trials in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from raysel.common.errors import OperationalError
from raysel.common.locations import sweep_url
from raysel.engine.capacity import Node
from raysel.engine.tune import StopRequest, TrialSource
from raysel.models.build import build
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.record.state import fold, fold_sweep
from raysel.spec.reader import parse
from raysel.sweep import session
from raysel.sweep.inputs import SweepInputs
from raysel.sweep.outcome import Outcome
from raysel.sweep.results import SweepResults
from raysel.sweep.views import read_results
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


def in_this_process(source: TrialSource, shared: PhaseContext, *others: Any) -> None:
    """Run a phase's trials one after another; a stopped one is left after its epoch."""
    stop: StopRequest = others[-1]
    worker = TrialWorker(shared)
    while not stop.asked and (given := source.next_trial()) is not None:
        run = TrialRun(worker, given.trial, given.config, given.reported_epochs)
        ended = False
        while not ended and not stop.asked:
            message = run.epoch()
            assert isinstance(message, EpochMessage), message
            ended = source.epoch(given.trial, message)


def untrained(inputs: SweepInputs, *_: Any) -> SourceModel:
    return SourceModel(dict(build(inputs.model_config, 0).state_dict()), 0.5, 1.0)


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [Node("here", {"CPU": 2.0})]

    @contextmanager
    def connected() -> Iterator[list[Node]]:
        yield here

    for name, stand_in in {
        "connected": connected,
        "expected_nodes": lambda: here,
        "watching": lambda _: nullcontext(),
        "run_phase": in_this_process,
        "of_the_source": untrained,
        "WriterProcess": MagicMock(),
    }.items():
        monkeypatch.setattr(session, name, stand_in)
    for name in ("check_storage", "tidied"):
        monkeypatch.setattr(session.nodes, name, lambda _: None)


def run(
    tmp_path: Path, reporter: Any = None, publish: Callable[[Outcome], Outcome] = lambda o: o
) -> Outcome:
    spec = parse(FILE, [f"storage={tmp_path}"])
    folder = SweepFolder.of(str(tmp_path), spec.name)
    return session.run_session(spec, folder, reporter or MagicMock(), (), publish)


def test_a_sweep_is_searched_confirmed_and_summed_up_and_again_the_same(tmp_path: Path) -> None:
    outcome = run(tmp_path, publish=lambda o: replace(o, model=o.folder.best))
    assert outcome.complete and outcome.cause is None and not outcome.failed
    assert outcome.inputs.weights is not None
    results = outcome.results
    assert [trial.status for trial in results.trials] == ["COMPLETE"] * 3
    assert {entry.strategy: len(entry.runs) for entry in results.confirm} == {
        "full": 2,
        "linear_probe": 2,
    }
    assert results.source is not None and results.source.validation_accuracy == 0.5
    view, stored = read_results(str(tmp_path), "toy")
    assert stored.to_dict() == results.to_dict() and view.sweep.status == "COMPLETE"
    assert view.sweep.model == str(outcome.folder.best)
    assert not list(outcome.folder.trials.glob("*/checkpoint.pt"))  # nobody resumes them
    again = run(tmp_path).results
    assert without_spent(again) == without_spent(results)


def without_spent(results: SweepResults) -> dict[str, Any]:
    return {key: value for key, value in results.to_dict().items() if key != "spent"}


def test_a_session_that_is_stopped_keeps_what_is_done_and_the_next_one_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole").results

    def stopped(source: TrialSource, shared: PhaseContext, *others: Any) -> None:
        others[-1].ask("Ctrl-C")
        source.next_trial()

    with monkeypatch.context() as patched:
        patched.setattr(session, "run_phase", stopped)
        outcome = run(tmp_path / "torn")
    assert (outcome.complete, outcome.cause) == (False, "Ctrl-C")
    assert [trial.status for trial in outcome.results.trials] == ["INTERRUPTED"]
    assert outcome.results.confirm == () and outcome.resume.startswith("raysel resume toy")
    torn = run(tmp_path / "torn").results
    numbers = [
        [(trial.config, trial.value, trial.curve("val/loss")) for trial in results.trials]
        for results in (whole, torn)
    ]
    assert numbers[0] == numbers[1]


def test_a_session_that_fails_says_so_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OperationalError("ray", "does not answer")

    monkeypatch.setattr(session, "run_phase", fails)
    with pytest.raises(OperationalError, match="does not answer"):
        run(tmp_path)
    events = read_events(sweep_url(None, tmp_path / "toy" / "sweep.db", "toy"))
    sweep = fold_sweep(events)
    assert (sweep.status, fold(events)) == ("INTERRUPTED", {})
    assert sweep.cause is not None and "does not answer" in sweep.cause
