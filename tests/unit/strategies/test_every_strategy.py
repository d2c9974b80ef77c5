"""What holds for every strategy, whatever it decides: a contract that is checked over the registry,
on the smallest network, in two epochs of three steps.

A new strategy is tested here without an edit: it is found by its registration, and gets its
defaults (other values where a default is costly).
"""

from __future__ import annotations

import io
import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch
from every_strategy_kit import (
    BATCH,
    MODELS,
    SETTINGS,
    STEPS,
    STRATEGIES,
    Tiny,
    assert_same,
    checked,
    data,
    images,
    run_checked,
    same_bits,
    seeded_model,
    tensors,
    trial,
)
from few_kit import count, few
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from raysel.models.layers import Layer, Partition, partition
from raysel.strategies.base import Decision
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData
from raysel.training.optimizer import OPTIMIZERS

# --- over networks: the smallest one; timm's models where there is time ------------------------

NETWORKS = few(*MODELS)


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_resumed_after_an_epoch_it_ends_bit_identical(name, model):
    """Two epochs; a second trial takes up the checkpoint of the first epoch from a file."""
    make, size = MODELS[model]
    examples = data(size)
    whole = trial(name, make(), examples)
    decisions = run_checked(whole, 1)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    decisions += run_checked(whole, 1)
    assert len(decisions) == 2 * STEPS

    file.seek(0)
    second = trial(name, make(), examples)
    second.load_state_dict(torch.load(file, weights_only=True))
    second.run_epoch()

    assert_same(tensors(second.model), tensors(whole.model), "model")
    assert_same(second.state_dict(), whole.state_dict(), "state")


class Interrupted(Exception):
    """The probe broke down."""


def surroundings(model: nn.Module) -> dict[str, Any]:
    """Everything that probing must leave alone."""
    return {
        "tensors": tensors(model),
        "flags": {name: p.requires_grad for name, p in model.named_parameters()},
        "gradients": [name for name, p in model.named_parameters() if p.grad is not None],
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": {
            name: (len(module._forward_hooks), len(module._forward_pre_hooks))
            for name, module in model.named_modules()
        },
        "torch": torch.get_rng_state().clone(),
        "numpy": str(np.random.get_state()),
        "python": str(random.getstate()),
        "autograd": torch.is_grad_enabled(),
        "dtype": str(torch.get_default_dtype()),
    }


@pytest.mark.parametrize("breaks_at", [None, 1, 6], ids=["whole", "breaks_first", "breaks_later"])
@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_probing_leaves_no_trace(name, model, breaks_at):
    """Weights, buffers, flags, modes, hooks and the next random number, also when it raises."""
    make, size = MODELS[model]
    net = make()
    calls = 0

    def count(module: nn.Module, inputs: Any) -> None:  # the copies of the model share it
        nonlocal calls
        calls += 1
        if calls == breaks_at:
            raise Interrupted

    run = trial(name, net, data(size))
    net.train()
    net.register_forward_pre_hook(count)
    before = surroundings(net)
    raised = False
    try:
        run.strategy.prepare(run.probe)
        run.strategy.epoch_start(1, 2, run.probe)
    except Interrupted:
        raised = True
    assert_same(surroundings(net), before, name)
    assert raised == (breaks_at is not None and calls >= breaks_at)


# --- properties: any optimizer, any data ---------------------------------------------------------

OPTIMISERS = st.fixed_dictionaries(
    {
        "optimizer": st.sampled_from(["sgd", "adam", "adamw"]),
        "momentum": st.sampled_from([0.0, 0.5, 0.9]),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "clip_norm": st.sampled_from([None, 0.1]),
        "batch_norm": st.sampled_from(["train", "eval", "frozen_eval"]),
        "learning_rate": st.sampled_from([1e-4, 0.02, 0.5]),
    }
)

FEW = settings(
    max_examples=count(3, 12),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", STRATEGIES)
@FEW
@given(OPTIMISERS, st.integers(0, 2**16), st.booleans())
def test_weights_are_sound_and_weight_zero_moves_nothing(name, training, seed, fresh_head):
    """Finite, >= 0, [L], on the CPU or the model's device; with decay and momentum as well."""
    run = trial(name, seeded_model(Tiny), data(8, seed), fresh_head=fresh_head, **training)
    run_checked(run, 2)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_gradient_that_is_not_finite_stays_out_of_layers_at_rest(name):
    """0 * inf is NaN: whoever multiplies by the weight lets it in. Both ways of an update."""
    run = trial(name, seeded_model(Tiny), data(8))
    with checked(run) as decisions:
        run.run_epoch()
    on_device, poisons = (None, torch.tensor(True)), (float("nan"), float("inf"), -float("inf"))
    kept = ({"momentum": 0.0, "weight_decay": 0.1}, {"momentum": 0.9, "weight_decay": 0.0})
    cases = itertools.product(decisions, sorted(OPTIMIZERS), on_device, kept)
    for case, (decision, optimizer, finite, values) in enumerate(cases):
        mine = [nn.Parameter(p.detach().clone()) for p in run.parameters]
        before = [p.detach().clone() for p in mine]
        at_rest = [bool(decision.weights[layer] == 0) for layer in run.layer_of]
        gradients: list[Tensor | None] = [
            torch.full_like(p, poisons[case % 3]) if rests else torch.ones_like(p)
            for p, rests in zip(mine, at_rest, strict=True)
        ]
        update = OPTIMIZERS[optimizer](mine, run.layer_of, SETTINGS.model_copy(update=values))
        update.advance(gradients, finite)
        update.apply(decision.weights, 0.1, finite)
        for was, now, rests in zip(before, mine, at_rest, strict=True):
            assert same_bits(was, now) if rests else bool(torch.isfinite(now).all())
            assert rests or not torch.equal(was, now)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_first_step_is_that_of_full_times_the_weight(name, optimizer):
    """Under Adam as under SGD: the learning rate is weighed, not the gradient. In float64."""

    def step(strategy: str) -> tuple[dict[str, Tensor], FineTuning, list[Decision]]:
        net = seeded_model(Tiny).double()
        before = tensors(net)
        run = trial(strategy, net, one_step, optimizer=optimizer, batch_norm="eval")
        with checked(run) as decisions:
            run.run_epoch()
        moved = {n: p.detach() - before[n] for n, p in net.named_parameters()}
        return moved, run, decisions

    target, source = images(BATCH, 5, 8, shift=2.0), images(4 * BATCH, 6, 8)
    one_step = TrialData(
        Batch(target.images.double(), target.labels),
        Batch(target.images.double(), target.labels),
        Batch(source.images.double(), source.labels),
    )
    full, _, _ = step("full")
    moved, run, decisions = step(name)
    (decision,) = decisions
    active = run.strategy.active_parameters(1, run.settings.epochs)
    for parameter, difference in moved.items():
        weight = 0.0
        if parameter in active:
            weight = float(decision.weights[run.partition.layer_of[parameter]])
        torch.testing.assert_close(difference, weight * full[parameter], rtol=1e-6, atol=1e-13)


@settings(max_examples=count(20, 200), deadline=None)
@given(
    weight=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**16),
    steps=st.integers(1, 5),
    optimizer=st.sampled_from(["adam", "adamw"]),
)
def test_scaling_the_gradient_instead_would_do_nothing_under_adam(weight, seed, steps, optimizer):
    """With |g| far above eps and no decay: the step is that of weight 1, whatever the factor."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(7, generator=generator, dtype=torch.float64)
    sign = torch.randn(7, generator=generator, dtype=torch.float64).sign()
    gradients = [
        sign * (0.5 + torch.rand(7, generator=generator, dtype=torch.float64)) for _ in range(steps)
    ]

    def moved(factor: float, layer_weight: float) -> Tensor:
        parameter = nn.Parameter(start.clone())
        update = OPTIMIZERS[optimizer]([parameter], [0], SETTINGS)
        for gradient in gradients:
            update.advance([factor * gradient])
            update.apply(torch.tensor([layer_weight], dtype=torch.float64), 1e-3)
        return parameter.detach() - start

    plain = moved(1.0, 1.0)
    torch.testing.assert_close(moved(1.0, weight), weight * plain, rtol=1e-6, atol=0)
    torch.testing.assert_close(moved(weight, 1.0), plain, rtol=1e-5, atol=0)
    assert not torch.allclose(moved(weight, 1.0), weight * plain, rtol=0.05, atol=0)


# --- one layer: nothing to choose ------------------------------------------------------------

NOT_FULL_WITH_ONE_LAYER = {
    "linear_probe": "moves the classifier alone",
    "lp_ft": "moves the classifier alone at first",
    "bvg_ts": "cuts the layer into tensors",
    "bvg_ls_threshold": "rests where the ratio is low",
    "norm_only": "moves norms and the classifier alone",
    "bias_only": "moves biases and the classifier alone",
    "attention_only": "moves the classifier alone: there is no attention",
    "mlp_only": "moves the classifier alone: there is no MLP",
}


@pytest.mark.parametrize("optimizer", few(*sorted(OPTIMIZERS)))
@pytest.mark.parametrize("name", [n for n in STRATEGIES if n not in NOT_FULL_WITH_ONE_LAYER])
def test_with_one_layer_it_is_full_fine_tuning_bit_for_bit(name, optimizer):
    def ended(strategy: str) -> dict[str, Tensor]:
        net = seeded_model(Tiny)
        cut = partition(net)
        names = tuple(name for layer in cut.layers for name in layer.parameters)
        sizes = tuple(size for layer in cut.layers for size in layer.sizes)
        one = Partition((Layer("all", names, sizes),), cut.head)
        run_checked(trial(strategy, net, data(8), one, optimizer=optimizer), 2)
        return tensors(net)

    assert_same(ended(name), ended("full"), name)


# --- this file finds what it must ---------------------------------------------------------------


def test_every_strategy_of_the_package_is_here():
    assert {"full", "bvg_ls", "auto_rgn_hessian_change", "surprise_diff"} <= set(STRATEGIES)
    assert len(STRATEGIES) >= 22


def test_the_check_of_a_trial_sees_a_layer_that_moves_at_weight_zero():
    """The checks above can fail: an optimizer that ignores the weights is caught."""
    full = trial("full", seeded_model(Tiny), data(8))
    full.strategy.decide = lambda step: Decision(torch.tensor([1.0, 0, 0, 0]))  # type: ignore[method-assign]
    move = full.optimizer.apply
    full.optimizer.apply = lambda weights, rate, finite=None: move(  # type: ignore[method-assign]
        torch.ones_like(weights), rate, finite
    )
    with pytest.raises(AssertionError, match="moved at weight 0"):
        run_checked(full, 1)
