"""After a confirm run: the source's error before and after, the distance of each layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from shared_kit import examples, shared
from trial_kit import config

from raysel.spec.objective import ObjectiveSpec
from raysel.training import peak_memory
from raysel.training.forgetting import AFTER, BEFORE, DISTANCE, UNTOUCHED
from raysel.training.trial import PEAK_MEMORY, TrialRun
from raysel.training.trial_worker import PhaseContext, TrialWorker


@pytest.fixture
def context(tmp_path) -> PhaseContext:
    return replace(shared(tmp_path, test=examples(20, 60)), source_validation=examples(24, 7))


def ended(context: PhaseContext, strategy: str = "full", **training) -> tuple[TrialRun, dict]:
    chosen = config(strategy, epochs=1, batch_size=8, learning_rate=0.05, **training)
    run = TrialRun(TrialWorker(context), "t", chosen)
    return run, run.epoch().metrics


def test_the_source_error_before_is_that_of_the_initial_weights(context):
    run, metrics = ended(context)
    tuned = {name: tensor.clone() for name, tensor in run.tuning.model.state_dict().items()}
    source = run._worker.source_validation
    assert metrics[AFTER] == run.tuning.measure(source).error
    model = run._worker.model(run.config)
    assert any(not torch.equal(tuned[name], tensor) for name, tensor in model.state_dict().items())
    assert metrics[BEFORE] == run.tuning.measure(source).error


def test_the_untouched_test_error_is_that_of_the_initial_weights_by_full_fine_tuning(context):
    """Every test example is of the class that the initial weights give always, the tuned never."""
    test = replace(context.test, labels=np.full_like(context.test.labels, 2))
    context = replace(context, test=test)
    run, metrics = ended(context)
    assert metrics["test/error"] == run.tuning.measure(run._worker.test).error
    run._worker.model(run.config)
    assert metrics[UNTOUCHED] == run.tuning.measure(run._worker.test).error
    assert (metrics[UNTOUCHED], metrics["test/error"]) == (0.0, 1.0)
    assert UNTOUCHED not in ended(context, "linear_probe")[1]


def test_a_model_whose_classifier_is_fresh_has_no_untouched_error(context):
    head = context.partition.head
    body = {name: array for name, array in context.weights.items() if name not in head}
    assert UNTOUCHED not in ended(replace(context, weights=body))[1]


def test_the_tuned_weights_stay_and_nothing_else_changes(context):
    """The run with the measurement ends as one without."""
    run, metrics = ended(context)
    other, plain = ended(replace(context, source_validation=None, folder=context.folder / "b"))
    states = (run.tuning.model.state_dict(), other.tuning.model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert metrics["test/loss"] == plain["test/loss"]
    assert not {BEFORE, AFTER} & set(plain)


def test_the_distance_of_a_layer_is_relative_to_where_it_began(context):
    run, metrics = ended(context)
    state = run.tuning.model.state_dict()
    for layer in context.partition.layers:
        start = np.concatenate([context.weights[name].ravel() for name in layer.parameters])
        end = np.concatenate([state[name].numpy().ravel() for name in layer.parameters])
        expected = np.linalg.norm(end - start) / np.linalg.norm(start)
        assert metrics[DISTANCE + layer.name] == pytest.approx(expected, rel=1e-4)
        assert expected > 0


def test_a_frozen_layer_did_not_go_anywhere(context):
    _, metrics = ended(context, "linear_probe")
    gone = {n.removeprefix(DISTANCE): v for n, v in metrics.items() if n.startswith(DISTANCE)}
    assert set(gone) == set(context.partition.names)
    assert [name for name, distance in gone.items() if distance] == ["head"]


def test_a_layer_that_began_at_zero_has_no_relative_distance(context):
    head = context.partition.layers[-1]
    zeros = {name: np.zeros_like(context.weights[name]) for name in head.parameters}
    _, metrics = ended(replace(context, weights={**context.weights, **zeros}))
    assert DISTANCE + head.name not in metrics
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_trial_of_the_search_measures_none_of_it(context):
    _, metrics = ended(replace(context, test=None))
    assert not {BEFORE, AFTER, PEAK_MEMORY} & set(metrics)
    assert not any(name.startswith(DISTANCE) for name in metrics)


@pytest.mark.skipif(torch.cuda.is_available(), reason="measured on a GPU")
def test_the_peak_memory_is_that_of_a_step_and_less_where_layers_are_frozen(context):
    weights = sum(array.nbytes for array in context.weights.values())
    full, head = (ended(context, name)[1][PEAK_MEMORY] for name in ("full", "linear_probe"))
    assert weights < head < full
    before = peak_memory._of_a_step.cache_info().misses
    chosen = config("full", epochs=1, batch_size=8, learning_rate=0.05)
    seeded = chosen.model_copy(update={"seed": 7})
    again = TrialRun(TrialWorker(context), "u", seeded).epoch().metrics
    assert again[PEAK_MEMORY] == full
    assert peak_memory._of_a_step.cache_info().misses == before  # worked out once


def test_the_memory_of_a_model_that_needs_real_tensors_is_unknown(context, monkeypatch):
    def refuses(*_):
        raise RuntimeError("it reads numbers")

    peak_memory._of_a_step.cache_clear()
    monkeypatch.setattr(peak_memory, "step_memory", refuses)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert PEAK_MEMORY not in ended(context)[1]


def test_where_it_is_an_objective_the_source_error_is_measured_after_every_epoch(context):
    """In the search too, which has no test part, and with the same weights as the rest."""
    asked = replace(context, test=None, objective=ObjectiveSpec(secondary=("val/source_error",)))
    run, metrics = ended(asked)
    source = run._worker.source_validation
    assert metrics["val/source_error"] == run.tuning.measure(source).error
    # of another strategy, which takes up no checkpoint
    assert "val/source_error" not in ended(replace(context, test=None), "linear_probe")[1]
