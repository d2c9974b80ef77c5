"""A sweep of two models whose trials run in this process: trials, confirm runs, results, the best
model, and what goes on from its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from session_kit import run, without_ray

from raysel.common.errors import UserError
from raysel.export.best_model import save_best
from raysel.report.page import write_report
from raysel.spec.reader import parse
from raysel.sweep.finetune import finetune
from raysel.sweep.reproduce import IDENTICAL, reproduce
from raysel.sweep.results import SweepResults
from raysel.sweep.views import SweepView, read_sweep

SMALL, LARGE = "test_efficientnet", "test_resnet"
MODELS = (
    f"model.name={{categorical: [{LARGE}, {SMALL}]}}",
    "search.num_trials=7",
    "pruner.kind=none",
    "verdict.contrasts=[full-test_resnet - full-test_efficientnet]",
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of a sweep that has ended, and its outcome; the best model is made."""
    folder = tmp_path_factory.mktemp("models")
    patch = pytest.MonkeyPatch()
    without_ray(patch)

    def publish(outcome: Any) -> Any:
        save_best(outcome)
        return outcome

    outcome = run(folder, None, publish, *MODELS)
    patch.undo()
    return folder, outcome


def view(swept: tuple[Path, Any]) -> SweepView:
    return read_sweep(str(swept[0]), "toy")


def test_each_model_has_its_arms_trials_and_runs(swept):
    results: SweepResults = swept[1].results
    assert swept[1].complete
    assert {row.strategy for row in results.confirm} == {
        f"{arm}-{model}" for arm in ("full", "linear_probe") for model in (SMALL, LARGE)
    }
    assert results.models == {arm: arm.partition("-")[2] for arm in results.models}
    for trial in results.trials:
        assert trial.config["model"] == results.models[trial.strategy]
        moved = {key for row in trial.epochs for key in row if key.startswith("select/")}
        own = results.layers_of(trial.strategy)
        assert moved - {"select/transient_share"} == {f"select/{name}" for name in own}
    assert results.layers_by_model[SMALL] != results.layers_by_model[LARGE]
    assert set(results.layers) == {n for own in results.layers_by_model.values() for n in own}
    assert results.source_by_model.keys() == {SMALL, LARGE} and results.source is None


def test_the_cheaper_model_has_more_trials_and_that_is_equal_effort(swept):
    results: SweepResults = swept[1].results
    effort = {one.strategy: one for one in results.effort}
    cheap = min(effort.values(), key=lambda one: one.cost)
    assert cheap.cost == 1 and sum(one.trials for one in effort.values()) == 7
    dear = next(one for one in effort.values() if one.cost > 1)
    assert cheap.trials >= dear.trials
    assert results.verdict.contrasts[0].outcome != "unequal_effort"


def test_models_are_compared_on_the_same_test_examples(swept):
    (contrast,) = swept[1].results.verdict.contrasts
    assert (contrast.ours, contrast.theirs) == (f"full-{LARGE}", f"full-{SMALL}")
    assert contrast.examples == 20 and contrast.units == 2


def test_full_fine_tuning_stands_for_the_model_that_is_best_so(swept):
    results: SweepResults = swept[1].results
    best = {
        arm: min(t.value for t in results.trials if t.strategy == arm) for arm in results.models
    }
    full = [arm for arm in results.models if arm.startswith("full-")]
    assert results.verdict.baseline in full
    assert best[results.verdict.baseline] == min(best[arm] for arm in full)


def test_the_best_model_is_the_winners(swept):
    folder, outcome = swept
    winner = outcome.results.verdict.winner
    written = json.loads((folder / "toy" / "best" / "config.json").read_text())
    assert written["architecture"] == outcome.results.models[winner]


@pytest.mark.parametrize("model", [SMALL, LARGE])
def test_a_trial_of_either_model_comes_again_bit_for_bit(swept, monkeypatch, model):
    from raysel.sweep import local_trial

    def untrained(inputs: Any, _: Any) -> Any:
        from session_kit import SourceModel, build

        weights = dict(build(inputs.model_config, 0).state_dict())
        return SourceModel(weights, 0.5, 1.0)

    monkeypatch.setattr(local_trial, "_source_model", untrained)
    record = view(swept)
    for phase in ("search", "confirm"):
        trial = next(t for t in record.phase(phase) if t.config["model"] == model)
        again = reproduce(record, trial, lambda _: None, lambda done, of: None)
        assert again.outcome == IDENTICAL, again.first


def test_the_record_knows_the_layers_of_each_trial(swept):
    record = view(swept)
    for trial in record.trials:
        layers = swept[1].results.layers_of(trial.strategy)
        assert record.sweep.layers_of(trial) == layers


def test_a_sweep_that_has_ended_goes_on_to_the_same_results(swept, monkeypatch):
    without_ray(monkeypatch)
    again = run(swept[0], MagicMock(), lambda outcome: outcome, *MODELS)
    assert again.results.trials == swept[1].results.trials
    assert again.results.confirm == swept[1].results.confirm


@pytest.mark.slow
def test_more_trials_keep_those_that_there_are(swept, tmp_path, monkeypatch):
    without_ray(monkeypatch)
    first = run(tmp_path, MagicMock(), lambda outcome: outcome, *MODELS)
    more = run(tmp_path, MagicMock(), lambda o: o, *MODELS, "search.num_trials=9")
    seven = [(t.strategy, t.searched) for t in first.results.trials]
    assert [(t.strategy, t.searched) for t in more.results.trials][:7] == seven
    assert len(more.results.trials) == 9


@pytest.mark.slow
def test_the_report_is_written(swept):
    folder, outcome = swept
    page = write_report(outcome.results, folder / "toy").read_text()
    assert f"full-{LARGE}" in page and f"source model {SMALL}" in page


def test_an_arm_is_fine_tuned_with_its_model(tmp_path, monkeypatch):
    from session_kit import FILE, SourceModel, build

    from raysel.sweep import local_trial

    asked = []

    def untrained(inputs: Any, _: Any) -> Any:
        asked.append(inputs.model_config.name)
        return SourceModel(dict(build(inputs.model_config, 0).state_dict()), 0.5, 1.0)

    monkeypatch.setattr(local_trial, "_source_model", untrained)
    spec = parse(FILE, [f"storage={tmp_path}", *MODELS])
    tuned = finetune(spec, f"full-{SMALL}", 2, lambda _: None, lambda row, of: None)
    assert tuned.model_name == SMALL and asked == [SMALL]
    with pytest.raises(UserError, match="did you mean"):
        finetune(spec, "full-test_resnets", 2, lambda _: None, lambda row, of: None)
