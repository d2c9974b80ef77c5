"""Sessions of sweeps with arms: nothing to search, several configurations, a source model that is
too weak. The trials run in this process."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock

import pytest
from session_kit import run, without_ray

from raysel.common.errors import OperationalError
from raysel.sweep.results import SweepResults

ARMS = "strategies={one: {strategy: suffix, layers: 1}, two: {strategy: suffix, layers: 2}}"


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch)


def results(tmp_path: Path, *overrides: str, reporter: object = None) -> SweepResults:
    found = run(tmp_path, reporter, lambda outcome: outcome, *overrides)
    assert found.complete
    return found.results


def test_a_sweep_in_which_nothing_is_searched_goes_straight_to_the_confirm_phase(tmp_path):
    reporter = MagicMock()
    found = results(tmp_path, ARMS, "training.learning_rate=0.01", reporter=reporter)
    assert found.trials == ()
    assert {row.strategy: len(row.runs) for row in found.confirm} == {
        **{"one": 2, "two": 2, "full": 2, "linear_probe": 2}
    }
    assert [call.args[0] for call in reporter.phase.call_args_list] == ["confirm"]
    notes = [call.args[0] for call in reporter.note.call_args_list]
    assert any(note.startswith("one, two, full, linear_probe: one configuration") for note in notes)
    assert found.verdict.chosen_by == "confirm"
    again = results(tmp_path, ARMS, "training.learning_rate=0.01")
    assert again.confirm == found.confirm


@pytest.mark.slow
def test_it_has_trials_where_the_file_wants_them(tmp_path):
    wanted = ("training.learning_rate=0.01", "search.run_single_configurations=true")
    found = results(tmp_path, *wanted)
    assert {trial.strategy for trial in found.trials} == {"full", "linear_probe"}
    assert found.verdict.chosen_by == "search"


@pytest.mark.slow
def test_every_configuration_is_confirmed_and_the_next_attempt_makes_no_other_run(tmp_path):
    rates = "training.learning_rate={categorical: [0.01, 0.1]}"
    asked = (rates, "search.num_trials=4", "confirm.configurations=all", "pruner.kind=none")
    found = results(tmp_path, *asked)
    assert len(found.trials) == 4
    assert [row.strategy for row in found.other_configurations] and len(found.confirm) == 2
    assert len(found.other_configurations) == 2
    before = {run.id for run in found.confirm_runs}
    assert len(before) == 8
    again = results(tmp_path, *asked)
    assert {run.id for run in again.confirm_runs} == before


@pytest.mark.slow
def test_a_source_model_below_the_gate_ends_the_sweep_before_any_trial(tmp_path):
    with pytest.raises(OperationalError, match=r"source\.gate: the source model has 50\.0 %"):
        run(tmp_path, None, lambda outcome: outcome, "source.gate=0.75")
    assert not list((tmp_path / "toy" / "trials").iterdir())
    assert results(tmp_path, "source.gate=0.5").trials
