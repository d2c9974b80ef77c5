"""A session from its inputs to its outcome, over an engine that runs the trials in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import MagicMock

import pytest
from session_kit import run, without_ray

from raysel.common.errors import OperationalError, UserError
from raysel.common.locations import sweep_url
from raysel.engine.trial_source import Phase
from raysel.record.events import Event
from raysel.record.layout import write_json
from raysel.record.read_only import read_events
from raysel.record.state import SweepState, fold, fold_sweep
from raysel.sweep import existing, session
from raysel.sweep.fold_results import fold_results
from raysel.sweep.results import SweepResults
from raysel.sweep.views import read_results


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch)


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
    assert [(row["strategy"], row["test_error"], row["runs"]) for row in view.sweep.confirmed] == [
        (row.strategy, pytest.approx(fmean(run.test_error or 0.0 for run in row.runs)), 2)
        for row in results.confirm
    ]
    assert not list(outcome.folder.trials.glob("*/checkpoint.pt"))  # nobody resumes them
    again = run(tmp_path)
    assert without_spent(again.results) == without_spent(results)
    assert again.changed == ""
    before = results.to_dict()
    before["verdict"]["winner"] = "of an older raysel"
    write_json(outcome.folder.results, before)
    assert "winner linear_probe, was of an older raysel" in run(tmp_path).changed


def without_spent(results: SweepResults) -> dict[str, Any]:
    return {key: value for key, value in results.to_dict().items() if key != "spent"}


def test_a_session_that_is_stopped_keeps_what_is_done_and_the_next_one_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole").results

    def stopped(phases: Iterator[Phase], *others: Any) -> None:
        others[-1].ask("Ctrl-C")
        next(phases).source.next_trial()

    with monkeypatch.context() as patched:
        patched.setattr(session, "run_phases", stopped)
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


def test_a_sweep_whose_model_is_cut_otherwise_today_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)

    def of_an_older_timm(events: Iterable[Event]) -> SweepState:
        state = fold_sweep(events)
        return replace(state, layers=state.layers[::-1])

    monkeypatch.setattr(existing, "fold_sweep", of_an_older_timm)
    with pytest.raises(UserError, match=r"model\.partition: the sweep began with") as caught:
        run(tmp_path)
    assert "manifest.json" in str(caught.value)


def test_a_session_that_fails_says_so_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OperationalError("ray", "does not answer")

    monkeypatch.setattr(session, "run_phases", fails)
    with pytest.raises(OperationalError, match="does not answer"):
        run(tmp_path)
    events = read_events(sweep_url(None, tmp_path / "toy" / "sweep.db", "toy"))
    sweep = fold_sweep(events)
    assert (sweep.status, fold(events)) == ("INTERRUPTED", {})
    assert sweep.cause is not None and "does not answer" in sweep.cause


def test_rounds_of_the_confirm_phase_read_the_verdict_and_the_end_sums_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums: list[Any] = []

    def counted(*given: Any) -> SweepResults:
        sums.append(given)
        return fold_results(*given)

    monkeypatch.setattr(session, "fold_results", counted)
    reporter = MagicMock()
    confirm = "{until: decided, splits: 2, max_runs: 4, smallest_effect: 0.0001}"
    results = run(tmp_path, reporter, lambda o: o, f"confirm={confirm}").results
    assert len(sums) == 1
    assert {entry.strategy: len(entry.runs) for entry in results.confirm} == {
        "full": 4,
        "linear_probe": 4,
    }
    notes = [call.args[0] for call in reporter.note.call_args_list]
    rounds = [note for note in notes if note.startswith("confirm round")]
    assert [note.split(":")[0] for note in rounds] == [
        "confirm round 1 of at most 3, 2 splits",
        "confirm round 2 of at most 3, 3 splits",
    ]
