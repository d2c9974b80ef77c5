"""The calibration, in this process and on digits; on a Ray in `tests/integration/test_plan.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raysel.models.build import build
from raysel.search.space import Space
from raysel.service.plan import timing
from raysel.service.plan.estimate_sweep import configurations
from raysel.service.plan.timing import Sample, measure
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.sweep.inputs import read_inputs
from raysel.training.trial_worker import PhaseContext

FILE = """
name: x
task: {data: digits, split: {train: 60, validation: 40, test: 40}}
model: {name: test_resnet}
strategies: {full: , surgical: {block: search}}
training: {epochs: 3, batch_size: 20}
"""


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> tuple[Spec, Space, PhaseContext]:
    spec = parse(FILE)
    inputs = read_inputs(spec, ())
    arrays = {n: t.numpy() for n, t in build(inputs.model_config, 0).state_dict().items()}
    shared = replace(inputs, weights=arrays).shared(tmp_path_factory.mktemp("sweep"))
    return spec, inputs.space, shared


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A calibration of a second or so."""
    monkeypatch.setattr(timing, "SECONDS", 1.0)


def test_an_epoch_is_measured_and_nothing_is_left_in_the_sweeps_folder(context):
    spec, space, shared = context
    (config,) = configurations(spec, space, "full")
    measured = measure(shared, [Sample("full", config, 60, 40)], None)
    (found,) = measured.timings
    assert found is not None and measured.failures == {}
    assert 0 < found.epoch < 30
    assert found.checkpoint > 4 * 300_000  # weights and momentum of the model
    assert found.trace > 0
    assert found.memory is None or measured.device != "cpu"
    assert list(shared.folder.iterdir()) == []


def test_ten_times_the_data_take_about_ten_times_as_long(context):
    spec, space, shared = context
    (config,) = configurations(spec, space, "full")
    samples = [Sample("full", config, count, 40) for count in (60, 600)]
    small, large = measure(shared, samples, None).timings
    assert small is not None and large is not None
    assert large.epoch > 3 * small.epoch
    assert large.trace == pytest.approx(10 * small.trace, rel=0.2)


def test_shots_take_no_example_from_those_that_are_counted(context, monkeypatch):
    spec, space, shared = context
    (config,) = configurations(spec, space, "full")
    few = config.model_copy(update={"training": config.training.model_copy(update={"shots": 1})})
    seen: list[tuple[int, int]] = []
    epochs = timing._epochs

    def watch(worker, trial, config, seconds, counts):
        run = epochs(worker, trial, config, seconds, counts)
        seen.append((len(worker.data(config).train), counts[0]))
        return run

    monkeypatch.setattr(timing, "_epochs", watch)
    measure(shared, [Sample("full", few, 60, 40)], None)
    assert seen and all(trained == counted for trained, counted in seen)


def test_a_batch_that_would_take_too_long_is_measured_with_fewer_examples(context, monkeypatch):
    spec, space, shared = context
    monkeypatch.setattr(timing, "SECONDS", 1e-3)
    (config,) = configurations(spec, space, "full")
    seen: list[int] = []
    run = timing.TrialRun

    def watch(worker, trial, config):
        seen.append(config.training.batch_size)
        return run(worker, trial, config)

    monkeypatch.setattr(timing, "TrialRun", watch)
    (found,) = measure(shared, [Sample("full", config, 60, 40)], None).timings
    assert found is not None and found.epoch > 0
    assert seen[-1] == 2 < config.training.batch_size


def test_a_trial_that_fails_is_reported_and_the_others_are_measured(context):
    spec, space, shared = context
    (config,) = configurations(spec, space, "full")
    endless = config.training.model_copy(update={"learning_rate": 1e30})
    broken = config.model_copy(update={"training": endless})
    samples = [Sample("broken", broken, 60, 40), Sample("full", config, 60, 40)]
    measured = measure(shared, samples, None)
    assert measured.timings[0] is None
    assert measured.timings[1] is not None
    assert "not finite" in measured.failures["broken"]


def test_the_source_models_training_is_measured_on_its_own_data(context):
    spec, space, shared = context
    (config,) = configurations(spec, space, "full")
    other = replace(shared, train=shared.validation)
    sample = Sample("source", config, 40, 40, on_source=True)
    (found,) = measure(shared, [sample], other).timings
    assert found is not None


def test_searched_layers_are_measured_at_both_ends_of_the_model(context):
    spec, space, _ = context
    blocks = [c.parameters["block"] for c in configurations(spec, space, "surgical")]
    options = next(v for v in space.searched["surgical"] if v.name == "block").distribution.options
    assert blocks == [options[0], options[-1]]
