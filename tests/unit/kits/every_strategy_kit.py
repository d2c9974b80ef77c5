"""Small trials for any strategy, and what every decision and every update must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from raysel.models import timm
from raysel.models.layers import Partition, partition
from raysel.spec.sweep import TrainingSettings
from raysel.spec.trial_config import TrialConfig
from raysel.strategies import registered
from raysel.strategies.base import Decision, Step, Strategy
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData

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
    "sampled": 1,
    "every": 2,
}
"""Parameters whose default costs many passes, or ends a trial where it finds no shift in the few
images here, or too long for so few steps, whatever strategy has them."""

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
    gradient_accumulation_steps=1,
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
