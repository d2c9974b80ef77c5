"""What holds for every strategy, whatever it decides: a contract that is checked over the registry.

A new strategy is tested here without an edit: it is found by its registration, and gets its
defaults (other values where a default is costly).
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from raysel.models import timm
from raysel.models.layers import Layer, Partition, partition
from raysel.spec import TrainingSettings, TrialConfig
from raysel.strategies import registered
from raysel.strategies.base import Decision, Step, Strategy
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData
from raysel.training.optimizer import OPTIMIZERS

CLASSES, BATCH, STEPS = 4, 4, 3

STRATEGIES = [
    name
    for name, kind in registered().items()
    if kind.__module__.startswith("raysel.strategies.")  # not what other tests register
]

INSTEAD: dict[str, Any] = {
    "batches": 2,
    "history": 2,
    "draws": 2,
    "examples": BATCH,
    "fallback": "uniform",
}
"""Parameters whose default costs many passes, or ends a trial where it finds no shift in the few
images here, whatever strategy has them."""

SETTINGS = TrainingSettings(
    epochs=2,
    batch_size=BATCH,
    optimizer="sgd",
    learning_rate=0.02,
    momentum=0.9,
    weight_decay=0.0,
    schedule="constant",
    warmup_epochs=0.0,
    batch_norm="train",
    precision="float32",
    clip_norm=None,
    accumulate=1,
    deterministic=False,
)


# --- models, data, trials -------------------------------------------------------------------


class Tiny(nn.Module):
    """Four layers with batch norm and dropout, 400 numbers; 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = {"classifier": "head"}
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.body = nn.Sequential(nn.Linear(24, 5), nn.Tanh(), nn.Dropout(0.2))
        self.head = nn.Linear(5, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.block(self.stem(images))
        logits: Tensor = self.head(self.body(hidden.flatten(1)))
        return logits


def seeded_model(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def build(name: str) -> nn.Module:
    size = {"img_size": 32} if "vit" in name else {}
    return seeded_model(lambda: timm.create_model(name, num_classes=CLASSES, in_chans=1, **size))


MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "tiny": (lambda: seeded_model(Tiny), 8),
    "test_resnet": (lambda: build("test_resnet"), 32),
    "test_vit": (lambda: build("test_vit"), 32),
    "test_convnext": (lambda: build("test_convnext"), 32),
}


def images(count: int, seed: int, size: int, shift: float = 0.0) -> Batch:
    """Noise; a shift brings stripes with it, which no normalisation takes out again."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 1, size, size, generator=generator)
    stripes = torch.arange(size) % 2
    return Batch(noise + shift * (1 + stripes), torch.arange(count) % CLASSES)


def data(size: int, seed: int = 0) -> TrialData:
    """Three steps an epoch; a source that looks different."""
    return TrialData(
        train=images(BATCH * STEPS, seed, size, shift=2.0),
        validation=images(BATCH, seed + 1, size, shift=2.0),
        source=images(2 * BATCH * STEPS, seed + 2, size),
    )


def values_of(kind: type[Strategy], layers: Partition) -> dict[str, Any]:
    """A value for every parameter: that above, the default, or something valid."""
    found: dict[str, Any] = {}
    for parameter in kind.parameters:
        value = INSTEAD.get(parameter.name, parameter.default)
        if value is None and not parameter.optional:
            choices = {"layers": layers.names[0], "bool": False, "choice": parameter.options[:1]}
            value = choices.get(parameter.kind, max(parameter.low, 1))
        assert parameter.problem(value, layers.names) is None, parameter
        found[parameter.name] = value
    return found


def trial(
    name: str,
    model: nn.Module,
    examples: TrialData,
    layers: Partition | None = None,
    fresh_head: bool = False,
    **training: Any,
) -> FineTuning:
    layers = layers or partition(model)
    config = TrialConfig(
        strategy=name,
        parameters=values_of(registered()[name], layers),
        training=TrainingSettings.model_validate(SETTINGS.model_dump() | training),
        seed=3,
    )
    return FineTuning(config, model, layers, examples, fresh_head=fresh_head)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same_bits(mine: Tensor, theirs: Tensor) -> bool:
    """NaN equals NaN here, and 0.0 is not -0.0."""
    raw = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (mine, theirs)]
    return mine.dtype == theirs.dtype and torch.equal(*raw)


# --- what a decision must be, checked at every step of a trial --------------------------------


@contextmanager
def checked(run: FineTuning) -> Iterator[list[Decision]]:
    """Every decision of the trial is looked at, and so is what its update does."""
    decisions: list[Decision] = []
    decide, apply = run.strategy.decide, run.optimizer.apply

    def checked_decide(step: Step) -> Decision:
        before = [p.detach().clone() for p in step.parameters]
        gradients = [None if g is None else g.clone() for g in step.gradients]
        decision = decide(step)
        assert all(map(same_bits, before, step.parameters)), "deciding moved a parameter"
        for kept, now in zip(gradients, step.gradients, strict=True):
            assert (kept is None and now is None) or same_bits(kept, now), "it wrote a gradient"
        assert_contract(decision, step.layer_count, step.device)
        decisions.append(decision)
        return decision

    def checked_apply(weights: Tensor, rate: float, finite: Tensor | None = None) -> None:
        before = [p.detach().clone() for p in run.parameters]
        apply(weights, rate, finite)
        for index, (was, now) in enumerate(zip(before, run.parameters, strict=True)):
            if weights[run.layer_of[index]] == 0:
                assert same_bits(was, now), f"{run.names[index]} moved at weight 0"

    run.strategy.decide = checked_decide  # type: ignore[method-assign]
    run.optimizer.apply = checked_apply  # type: ignore[method-assign]
    try:
        yield decisions
    finally:
        del run.strategy.decide, run.optimizer.apply


def assert_contract(decision: Decision, layers: int, device: torch.device) -> None:
    weights, scores = decision.weights, decision.scores
    assert weights.dtype == torch.float32
    assert weights.shape == (layers,)
    assert weights.device.type in {"cpu", device.type}
    assert bool(torch.isfinite(weights).all()), weights
    assert bool((weights >= 0).all()), weights
    assert not weights.requires_grad
    assert scores is None or scores.shape == (layers,)


def run_checked(run: FineTuning, epochs: int) -> list[Decision]:
    """Some epochs; what does not move in an epoch by the strategy's own word does not move."""
    with checked(run) as decisions:
        for _ in range(epochs):
            before = {n: p.detach().clone() for n, p in run.model.named_parameters()}
            run.run_epoch()
            may_move = run.strategy.active_parameters(run.epoch, run.settings.epochs)
            for name, parameter in run.model.named_parameters():
                assert name in may_move or same_bits(before[name], parameter), name
    return decisions


# --- over timm's models ----------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
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


def assert_same(mine: Any, theirs: Any, path: str) -> None:
    """Nested states are the same, bit for bit."""
    if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
        assert same_bits(mine, theirs), path
    elif isinstance(mine, dict) and isinstance(theirs, dict):
        assert mine.keys() == theirs.keys(), path
        for key in mine:
            assert_same(mine[key], theirs[key], f"{path}.{key}")
    elif isinstance(mine, list | tuple) and isinstance(theirs, list | tuple):
        assert len(mine) == len(theirs), path
        for index, pair in enumerate(zip(mine, theirs, strict=True)):
            assert_same(*pair, f"{path}.{index}")
    else:
        assert mine == theirs, path


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
@pytest.mark.parametrize("model", MODELS)
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
    max_examples=6,
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


@pytest.mark.parametrize("on_device", [False, True], ids=["host", "device"])
@pytest.mark.parametrize("name", STRATEGIES)
@FEW
@given(
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    momentum=st.sampled_from([0.0, 0.9]),
    decay=st.sampled_from([0.0, 0.1]),
    poison=st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    seed=st.integers(0, 2**16),
)
def test_a_gradient_that_is_not_finite_stays_out_of_layers_at_rest(
    name, on_device, optimizer, momentum, decay, poison, seed
):
    """0 * inf is NaN: whoever multiplies by the weight lets it in. Both ways of an update."""
    run = trial(name, seeded_model(Tiny), data(8, seed))
    with checked(run) as decisions:
        run.run_epoch()
    chosen = SETTINGS.model_copy(update={"momentum": momentum, "weight_decay": decay})
    finite = torch.tensor(True) if on_device else None
    for decision in decisions:
        mine = [nn.Parameter(p.detach().clone()) for p in run.parameters]
        before = [p.detach().clone() for p in mine]
        at_rest = [bool(decision.weights[layer] == 0) for layer in run.layer_of]
        gradients: list[Tensor | None] = [
            torch.full_like(p, poison) if rests else torch.ones_like(p)
            for p, rests in zip(mine, at_rest, strict=True)
        ]
        update = OPTIMIZERS[optimizer](mine, run.layer_of, chosen)
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


@settings(max_examples=60, deadline=None)
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
}


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
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
