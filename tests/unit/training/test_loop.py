"""The training loop: the same again, nothing moves that must not, the papers' identities."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
import torch
from few_kit import few
from torch import Tensor
from torch.nn import functional
from trial_kit import (
    DATA,
    batch,
    config,
    differences,
    finished,
    learnt,
    tensors,
    tiny,
    trace_rows,
    trial,
    without_seconds,
)

from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData

GUIDED = {"ema_decay": 0.9, "ema_init": "debiased"}
OPTIMIZERS = ["sgd", "adam", "adamw"]


def _on_device(run: FineTuning) -> FineTuning:
    """Let the trial go the way it goes on an accelerator: no step waits for the host."""
    run.nonfinite._on_host = False
    return run


def _watched(run: FineTuning) -> list[set[str]]:
    """The layers whose parameters change, step by step, filled as the trial runs."""
    steps: list[set[str]] = []
    apply = run.optimizer.apply

    def watching(weights: Tensor, rate: float, finite: Tensor | None = None) -> None:
        before = [p.detach().clone() for p in run.parameters]
        apply(weights, rate, finite)
        pairs = zip(run.layer_of, before, run.parameters, strict=True)
        steps.append({run.partition.names[i] for i, old, p in pairs if not torch.equal(old, p)})

    run.optimizer.apply = watching  # type: ignore[method-assign]
    return steps


def _changed(run: FineTuning, before: dict[str, Tensor]) -> set[str]:
    return {name for name, t in run.model.state_dict().items() if not torch.equal(t, before[name])}


# --- the same again -----------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["full", "bvg_ls"])
def test_the_same_configuration_gives_the_same_bit_for_bit(strategy, tmp_path):
    runs = []
    for index in range(2):
        torch.manual_seed(index)
        run = trial(config(strategy), trace=tmp_path / str(index))
        runs.append((run, [without_seconds(row) for row in finished(run)]))
    assert runs[0][1] == runs[1][1]
    assert differences(learnt(runs[0][0]), learnt(runs[1][0])) == []
    assert trace_rows(tmp_path / "0") == trace_rows(tmp_path / "1")


def test_another_seed_gives_another_order_and_another_dropout():
    ends = []
    for seed, dropout, size in ((0, 0.0, 8), (1, 0.0, 8), (0, 0.5, 40), (1, 0.5, 40)):
        run = trial(config(seed=seed, batch_size=size), tiny(dropout=dropout, norm=False))
        finished(run)
        ends.append(run.model.state_dict()["stem.0.weight"])
    assert not torch.equal(ends[0], ends[1])
    assert not torch.allclose(ends[2], ends[3], atol=1e-5)


def test_each_epoch_draws_its_own_dropout():
    """One image forty times, weights that hardly move: only the dropped features differ."""
    image, label = DATA.train.images[:1], DATA.train.labels[:1]
    data = TrialData(Batch(image.expand(40, 1, 8, 8), label.expand(40)), DATA.validation)
    chosen = config(batch_size=40, learning_rate=1e-9)
    losses = [
        row["train/loss"] for row in finished(trial(chosen, tiny(dropout=0.5, norm=False), data))
    ]
    assert min(abs(a - b) for a, b in combinations(losses, 2)) > 1e-4


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    states = [torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()]
    finished(trial(config("bvg_ls")))
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


@pytest.mark.parametrize("optimizer", few(*OPTIMIZERS))
@pytest.mark.parametrize("strategy", ["full", "surgical", "bvg_ls", "bvg_ls_threshold"])
def test_a_device_decides_as_the_host_does(strategy, optimizer, tmp_path):
    parameters = {"full": {}, "surgical": {"block": "body"}}.get(strategy, GUIDED)
    chosen = config(strategy, parameters, optimizer=optimizer, learning_rate=0.01)
    # a bias before a batch norm has a gradient of rounding alone, which Adam makes large
    host = trial(chosen, tiny(norm=False), trace=tmp_path / "host")
    device = _on_device(trial(chosen, tiny(norm=False), trace=tmp_path / "device"))
    for mine, theirs in zip(finished(host), finished(device), strict=True):
        assert without_seconds(theirs) == pytest.approx(without_seconds(mine), rel=1e-3)
    torch.testing.assert_close(tensors(device), tensors(host), rtol=1e-4, atol=1e-5)
    rows = [trace_rows(tmp_path / place) for place in ("host", "device")]
    assert [row["weight"] for row in rows[0]] == [row["weight"] for row in rows[1]]


# --- frozen layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", ["train", "eval", "frozen_eval"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_frozen_layer_stays_bit_for_bit(optimizer, batch_norm):
    settings = {"optimizer": optimizer, "weight_decay": 0.01, "batch_norm": batch_norm}
    run = trial(config("surgical", {"block": "block+head"}, **settings))
    before = tensors(run)
    finished(run)
    moved = {f"{n}.{p}" for n in ("block.0", "block.1", "head") for p in ("weight", "bias")}
    statistics = {f"1.{s}" for s in ("running_mean", "running_var", "num_batches_tracked")}
    updated = {"train": ("stem", "block"), "eval": (), "frozen_eval": ("block",)}[batch_norm]
    assert _changed(run, before) == moved | {f"{n}.{s}" for n in updated for s in statistics}


def test_linear_probing_trains_the_classifier_of_a_vit_and_nothing_else():
    """D1: its layer holds the final norm too, which stays."""
    data = TrialData(batch(24, 1, size=16), batch(16, 2, size=16))
    model = build(ModelConfig("test_vit", 4, 1, (16, 16)), seed=0)
    run = trial(config("linear_probe", optimizer="adamw", weight_decay=0.01), model, data)
    before = tensors(run)
    rows = finished(run)
    assert _changed(run, before) == {"head.weight", "head.bias"}
    head = sum(before[name].numel() for name in ("head.weight", "head.bias"))
    assert rows[0]["cost/updated_params"] == head
    assert run.updated_share == pytest.approx(head / sum(p.numel() for p in model.parameters()))


@pytest.mark.parametrize("place", ["host", "device"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_at_each_step_the_chosen_layer_moves_and_no_other(optimizer, place, tmp_path):
    settings = {"optimizer": optimizer, "weight_decay": 0.01, "learning_rate": 0.01}
    run = trial(config("bvg_ls", GUIDED, **settings), trace=tmp_path)
    steps = _watched(_on_device(run) if place == "device" else run)
    finished(run)
    assert len(steps) == 15 and all(len(moved) == 1 for moved in steps)
    chosen = [{row["layer"]} for row in trace_rows(tmp_path) if row["weight"] > 0]
    assert steps == chosen
    assert len(set.union(*steps)) > 1


def test_without_a_parameter_that_may_move_there_is_no_trial():
    layers = partition(tiny())
    with pytest.raises(ValueError, match="no parameter may move"):
        trial(config("surgical", {"block": "stem"}), torch.nn.Identity(), layers=layers)


# --- the papers' identities ---------------------------------------------------------------------


def test_every_layer_named_is_full_fine_tuning():
    full = trial(config("full"))
    named = trial(config("surgical", {"block": "stem+block+body+head"}))
    finished(full)
    finished(named)
    assert differences(tensors(named), tensors(full)) == []


@pytest.mark.parametrize("ema_init", ["paper", "debiased"])
def test_guidance_over_a_single_layer_is_full_fine_tuning(ema_init):
    model = tiny()
    one = trial(
        config("bvg_ls", {"ema_init": ema_init}), model, layers=partition(model, ("stem|b|head",))
    )
    full = trial(config("full"))
    finished(one)
    finished(full)
    assert differences(tensors(one), tensors(full)) == []


def test_a_threshold_that_every_ratio_is_above_is_full_fine_tuning():
    low = trial(config("bvg_ls_threshold", {"threshold": 1e-12}))
    full = trial(config("full"))
    finished(low)
    finished(full)
    assert differences(tensors(low), tensors(full)) == []


def test_one_step_of_linear_probing_is_the_closed_form():
    """W - eta (1/B) sum (p - y) x^T of the softmax head (section 3.2)."""
    settings = {"epochs": 1, "batch_size": 40, "momentum": 0.0, "batch_norm": "eval"}
    run = trial(config("linear_probe", learning_rate=0.7, **settings))
    model = tiny().double().eval()
    inputs = DATA.train.images.double()
    with torch.no_grad():
        hidden = torch.relu(model.block(torch.relu(model.stem(inputs)))).flatten(1)
        features = model.body(hidden)
        error = model.head(features).softmax(1) - functional.one_hot(DATA.train.labels, 4)
    run.run_epoch()
    weight = model.head.weight - 0.7 / 40 * error.T @ features
    bias = model.head.bias - 0.7 / 40 * error.sum(0)
    torch.testing.assert_close(run.model.head.weight.double(), weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(run.model.head.bias.double(), bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("examples", [40, 44])
@pytest.mark.parametrize("strategy", ["full", "bvg_ls"])
def test_accumulating_is_a_batch_so_many_times_as_large(strategy, examples):
    """Without batch norm and dropout; 44 examples end with a small batch."""
    data = TrialData(batch(examples, 1), DATA.validation)
    ends = []
    for size, gradient_accumulation_steps in ((16, 1), (8, 2)):
        chosen = config(
            strategy,
            batch_size=size,
            gradient_accumulation_steps=gradient_accumulation_steps,
            schedule="cosine",
        )
        run = trial(chosen, tiny(dropout=0.0, norm=False), data)
        rows = finished(run)
        ends.append((run.step, tensors(run), [row["train/loss"] for row in rows]))
    assert ends[0][0] == ends[1][0] == 9
    torch.testing.assert_close(ends[0][1], ends[1][1], rtol=1e-4, atol=1e-6)
    assert ends[0][2] == pytest.approx(ends[1][2], rel=1e-5)
