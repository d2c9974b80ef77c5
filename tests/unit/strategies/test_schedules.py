"""Timetables: which layers move in which epoch, and that the others have not begun."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from mask_kit import (
    LAYERS,
    assert_resumable,
    assert_same,
    finished,
    moved,
    moved_layers,
    optimizer_state,
    parameters,
    trial,
)

from raysel.strategies import registered
from raysel.strategies.schedules import discriminative_rates, unfrozen_count

OPTIMIZERS = ("sgd", "adam", "adamw")
DIRECTIONS = ("last_to_first", "first_to_last")
HEAD = {"head.fc.weight", "head.fc.bias"}

# --- the timetable -------------------------------------------------------------------------------


def _table(epochs: int, layers: int, epochs_per_stage: int = 0) -> list[int]:
    return [
        unfrozen_count(epoch, epochs, layers, epochs_per_stage) for epoch in range(1, epochs + 1)
    ]


@given(some.integers(1, 60), some.integers(1, 40))
def test_the_last_epoch_trains_every_layer(epochs, layers):
    table = _table(epochs, layers)
    assert table[-1] == layers
    assert table == sorted(table) and table[0] >= 1


def test_a_stage_takes_the_epochs_that_are_asked_for():
    assert _table(7, 3, epochs_per_stage=2) == [1, 1, 2, 2, 3, 3, 3]
    assert _table(3, 3, epochs_per_stage=1) == [1, 2, 3]


def test_each_layer_learns_2_6_times_slower_than_the_next():
    assert discriminative_rates(4, 2.6).tolist() == pytest.approx(
        [1 / 2.6**3, 1 / 2.6**2, 1 / 2.6, 1]
    )
    assert discriminative_rates(3, 1.0).tolist() == [1, 1, 1]


# --- gradual unfreezing --------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_after_stage_s_exactly_s_layers_have_moved_and_begun(direction, optimizer):
    run = trial(
        "gradual_unfreeze",
        {"direction": direction},
        epochs=12,
        optimizer=optimizer,
        weight_decay=0.1,
    )
    order = LAYERS if direction == "first_to_last" else LAYERS[::-1]
    start = parameters(run)
    for epoch in range(1, 13):
        before = parameters(run)
        run.run_epoch()
        unfrozen = set(order[: (epoch + 1) // 2])
        assert moved_layers(start, parameters(run)) == unfrozen
        assert moved_layers(before, parameters(run)) == unfrozen
        begun = {
            name.split(" ")[1].split(".")[0]
            for name, tensor in optimizer_state(run).items()
            if bool((tensor != 0).any())
        }
        assert begun == unfrozen


def test_a_layer_starts_with_empty_state_and_keeps_it_from_then_on():
    run = finished(trial("gradual_unfreeze", epochs=6, optimizer="adam"))
    state = optimizer_state(run)  # two steps an epoch; `stem` moves in the last one alone
    steps = {layer: _steps_of(state, layer) for layer in LAYERS}
    assert steps == {"stem": 2, "a": 4, "b": 6, "c": 8, "d": 10, "head": 12}


def _steps_of(state: dict[str, torch.Tensor], layer: str) -> int:
    (count,) = {int(t) for name, t in state.items() if name.startswith(f"steps {layer}.")}
    return count


def test_no_backward_pass_reaches_a_layer_at_rest():
    run = trial("gradual_unfreeze", epochs=6)
    run.run_epoch()
    stem = run.model.get_submodule("stem")(torch.zeros(1, 6))
    assert not stem.requires_grad
    assert run.model.get_parameter("stem.1.0.weight").grad is None


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_fresh_classifier_moves_from_the_first_stage(direction):
    """D30; the classifier alone, not the norm that shares its layer (D1)."""
    values = {"direction": direction}
    run = trial("gradual_unfreeze", values, epochs=6, fresh_head=True)
    start = parameters(run)
    run.run_epoch()
    first = moved(start, parameters(run))
    if direction == "last_to_first":
        assert first == HEAD | {"head.norm.weight", "head.norm.bias"}
    else:
        assert first == HEAD | {"stem.1.0.weight", "stem.1.0.bias"}
        assert run.strategy.active(1, 6) == [0, 5]
    finished(run)
    assert moved(start, parameters(run)) == set(start)


def test_a_kept_head_waits_when_the_first_layers_go_first():
    run = trial("gradual_unfreeze", {"direction": "first_to_last"}, epochs=6)
    start = parameters(run)
    run.run_epoch()
    assert moved_layers(start, parameters(run)) == {"stem"}


def test_the_decay_scales_the_step_of_each_layer():
    """One epoch of one step: everything moves at once, each layer by its own rate."""
    options = {"epochs": 1, "batch_size": 16, "weight_decay": 0.0}
    runs = [trial("gradual_unfreeze", {"decay": decay}, **options) for decay in (1.0, 2.6)]
    start = parameters(runs[0])
    plain, decayed = (parameters(finished(run)) for run in runs)
    for depth, layer in enumerate(reversed(LAYERS)):
        for name in (n for n in start if n.startswith(f"{layer}.")):
            expected = (plain[name] - start[name]) / 2.6**depth
            torch.testing.assert_close(decayed[name] - start[name], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_with_one_layer_or_one_epoch_it_is_full(direction, optimizer):
    values = {"direction": direction}
    for options in ({"one_layer": True}, {"epochs": 1}):
        run = finished(trial("gradual_unfreeze", values, optimizer=optimizer, **options))
        assert_same(run, finished(trial("full", optimizer=optimizer, **options)))


def test_batch_norm_of_a_layer_at_rest_rests_in_frozen_eval():
    run = trial("gradual_unfreeze", epochs=6, batch_norm="frozen_eval")
    drifts = []
    for _ in range(6):
        before = run.model.get_buffer("a.1.running_mean").clone()
        run.run_epoch()
        drifts.append(not torch.equal(before, run.model.get_buffer("a.1.running_mean")))
    assert drifts == [False, False, False, False, True, True]  # `a` is the fifth from the last


@pytest.mark.parametrize(
    ("direction", "fresh_head", "optimizer"),
    [
        ("last_to_first", False, "sgd"),
        ("last_to_first", True, "adamw"),
        ("first_to_last", False, "adam"),
        ("first_to_last", True, "adam"),
    ],
)
def test_gradual_unfreezing_resumes(direction, fresh_head, optimizer):
    """Three epochs of two layers more each."""
    values = {"direction": direction, "decay": 2.6}
    options = {"optimizer": optimizer, "fresh_head": fresh_head, "batch_norm": "frozen_eval"}
    assert_resumable("gradual_unfreeze", values, **options)


# --- probe, then tune ----------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_a_probe_it_is_full(optimizer):
    run = finished(trial("lp_ft", {"probe_epochs": 0}, optimizer=optimizer))
    assert_same(run, finished(trial("full", optimizer=optimizer)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("batch_norm", "probe_epochs"), [("train", 5), ("frozen_eval", 3)])
def test_with_nothing_but_a_probe_it_is_linear_probe(batch_norm, probe_epochs, optimizer):
    training = {"epochs": 3, "optimizer": optimizer, "batch_norm": batch_norm}
    run = finished(trial("lp_ft", {"probe_epochs": probe_epochs}, **training))
    probe = finished(trial("linear_probe", **training))
    assert moved(parameters(run), parameters(probe)) == set()
    state = optimizer_state(run)
    assert moved(optimizer_state(probe), state) == set()
    rest = {name: t for name, t in state.items() if name not in optimizer_state(probe)}
    assert rest and not any(bool((tensor != 0).any()) for tensor in rest.values())
    buffers = (dict(r.model.named_buffers()) for r in (run, probe))
    assert moved(*buffers) == set()


def test_the_classifier_alone_moves_and_then_everything():
    run = trial("lp_ft", {"probe_epochs": 2}, epochs=3)
    tensors = []
    for _ in range(3):
        before = parameters(run)
        run.run_epoch()
        tensors.append(moved(before, parameters(run)))
    assert tensors == [HEAD, HEAD, set(before)]


def test_the_probe_has_its_own_rate():
    """With a ratio of 4 it is the linear probe at four times the rate (4 is exact in binary)."""
    run = trial("lp_ft", {"probe_epochs": 3, "probe_rate": 4.0}, learning_rate=0.0125)
    assert moved(parameters(finished(run)), parameters(finished(trial("linear_probe")))) == set()


def test_the_probes_rate_ends_with_the_probe():
    run = trial("lp_ft", {"probe_epochs": 1, "probe_rate": 100.0}, epochs=2)
    run.strategy.epoch_start(2, 2, run.probe)
    assert run.strategy.rates(1, 2).tolist() == [100] * 6
    assert run.strategy.rates(2, 2).tolist() == [1] * 6


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_probe_then_tune_resumes(optimizer):
    values = {"probe_epochs": 1, "probe_rate": 3.0}
    assert_resumable("lp_ft", values, optimizer=optimizer)


def test_what_is_declared():
    gradual, lp_ft = registered()["gradual_unfreeze"], registered()["lp_ft"]
    assert (gradual.batch_norm, lp_ft.batch_norm) == ("frozen_eval", "frozen_eval")
    defaults = {p.name: p.default for p in (*gradual.parameters, *lp_ft.parameters)}
    assert defaults == {
        "direction": "last_to_first",
        "epochs_per_stage": None,
        "decay": 1.0,
        "probe_epochs": 2,
        "probe_rate": 1.0,
    }
