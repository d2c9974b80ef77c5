"""A trial over adapters as a worker has it: where it begins, goes on, and what it takes."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_kit import CONFIG, layers_of
from shared_kit import examples, shared
from step_kit import config_of
from trial_kit import config, differences, without_seconds

from raysel.models.build import ModelConfig, build
from raysel.sweep.layer_criteria import CRITERIA, criteria_of
from raysel.training import source_model, trial
from raysel.training.features import READ, SECONDS
from raysel.training.step_memory import step_memory
from raysel.training.trial import TrialRun
from raysel.training.trial_worker import PhaseContext, TrialWorker

SMALL = replace(CONFIG, image_size=(16, 16))
START = {name: tensor.numpy() for name, tensor in build(SMALL.plain, 6).state_dict().items()}
CHOSEN: dict[str, Any] = {"epochs": 3, "batch_size": 10, "learning_rate": 0.1}


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def context(folder: Path, **changes: Any) -> PhaseContext:
    part = layers_of(SMALL)
    given = {"model_config": SMALL, "partition": part, "weights": START, "threads": 1}
    return shared(folder, **(given | changes))


def rows(run: TrialRun, count: int) -> list[dict[str, float]]:
    found = [run.epoch() for _ in range(count)]
    return [without_seconds(message.metrics) for message in found]  # type: ignore[union-attr]


def timeless(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in (READ, SECONDS)}


@pytest.mark.parametrize("fresh", [False, True], ids=["a head that is given", "a fresh head"])
def test_it_begins_with_the_given_weights_whatever_the_last_trial_made_of_them(tmp_path, fresh):
    head = ("head.weight", "head.bias")
    given = {name: array for name, array in START.items() if not (fresh and name in head)}
    worker = TrialWorker(context(tmp_path, weights=given))
    assert worker.has_fresh_head is fresh
    first = {n: t.clone() for n, t in worker.model(config(seed=2)).state_dict().items()}
    for name, array in given.items():
        owner, _, last = name.rpartition(".")
        found = first.get(name, first.get(f"{owner}.base_layer.{last}"))
        assert found is not None and torch.equal(found, torch.tensor(array)), name
    with torch.no_grad():
        for parameter in worker.model(config(seed=3)).parameters():
            parameter.add_(1.0)
    assert differences(dict(worker.model(config(seed=2)).state_dict()), first) == []


def test_a_trial_whose_process_is_gone_goes_on_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "CHECKPOINT_SECONDS", 0.0)
    chosen = config("bvg_ls", seed=1, **CHOSEN)
    whole = TrialRun(TrialWorker(context(tmp_path / "a")), "0000", chosen, 0)
    wanted = rows(whole, 3)
    rows(TrialRun(TrialWorker(context(tmp_path / "b")), "0000", chosen, 0), 1)
    again = TrialRun(TrialWorker(context(tmp_path / "b")), "0000", chosen, 1)
    assert rows(again, 3)[1:] == wanted[1:]  # the last one is reported again
    assert whole.tuning is not None and again.tuning is not None
    mine, theirs = (run.tuning.model.state_dict() for run in (again, whole))
    assert differences(dict(mine), dict(theirs)) == []


def test_frozen_layers_below_the_adapters_that_move_are_computed_once(tmp_path):
    """The same trial with stored output as without, for whatever adapters were drawn."""
    for seed in (1, 2):
        chosen = config("linear_probe", seed=seed, **CHOSEN)
        plain = TrialRun(TrialWorker(context(tmp_path / "a")), f"000{seed}", chosen, 0)
        stored = TrialWorker(context(tmp_path / "a", features=tmp_path / "features"))
        found = rows(TrialRun(stored, f"100{seed}", chosen, 0), 3)
        assert [row.get(READ) for row in found] == [60.0] * 3  # 40 to train, 20 to validate
        for mine, theirs in zip(found, rows(plain, 3), strict=True):
            assert timeless(mine) == pytest.approx(timeless(theirs), rel=1e-4)


def test_the_weights_average_is_of_adapters_and_classifier(tmp_path):
    chosen = config("full", seed=1, weight_averaging=0.9, **CHOSEN)
    run = TrialRun(TrialWorker(context(tmp_path, keep_best=True)), "0000", chosen, 0)
    rows(run, 3)
    assert run.tuning is not None
    run.tuning.validated.load()
    state = run.tuning.model.state_dict()
    for name, array in START.items():
        owner, _, last = name.rpartition(".")
        kept = state.get(f"{owner}.base_layer.{last}", state.get(name))
        assert owner == "head" or torch.equal(kept, torch.tensor(array)), name


@pytest.mark.slow
def test_after_its_end_the_model_can_be_tested(tmp_path):
    given = {"test": examples(12, 300), "source_validation": examples(8, 50)}
    chosen = config("full", seed=1, **CHOSEN)
    run = TrialRun(TrialWorker(context(tmp_path, **given)), "0000", chosen, 0)
    last = rows(run, 3)[-1]
    assert {"test/error", "confirm/source_error", "confirm/distance/blocks.0"} <= set(last)
    assert "confirm/distance/stem" not in last


@pytest.mark.slow
def test_every_criterion_measures_its_layers(tmp_path):
    worker = TrialWorker(context(tmp_path, source=examples(20, 500)))
    found = criteria_of(worker, config("full", seed=1, **CHOSEN))
    assert set(CRITERIA) == set(found)
    layers = len(worker.shared.partition)
    for name, scores in found.items():
        assert len(scores) == layers and not any(map(math.isinf, scores)), name
        assert sum(not math.isnan(score) for score in scores) >= layers - 1, (name, scores)
    assert min(found["gradient_norm"]) > 0


@pytest.mark.slow
def test_the_memory_of_a_step_has_gradients_of_what_moves_alone():
    large = ModelConfig("test_vit", 10, 3, (160, 160), adapter=CONFIG.adapter)
    found, plain = (
        step_memory(one, layers, config_of("full", layers, batch_size=8), "cpu")
        for one, layers in ((large, layers_of(large)), (large.plain, layers_of(large.plain)))
    )
    moving = layers_of(large).size
    adapters = moving - sum(s for layer in layers_of(large).layers[-1:] for s in layer.sizes)
    assert found.gradients == found.optimizer == 4 * moving
    assert found.parameters == plain.parameters + 4 * adapters
    assert found.peak < plain.peak


def test_a_source_model_has_none_and_is_found_where_it_was_kept():
    facts = source_model._facts_of(CONFIG)
    assert facts == source_model._facts_of(CONFIG.plain)
    assert set(facts) == set(asdict(CONFIG)) - {"adapter"}
