"""What the tests of measured strategies share: probes over tiny networks, whole trials, and a
check that measuring leaves no trace."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from ordered_probe import OrderedProbe
from torch import Tensor, nn

from raysel.models.build import ModelConfig, build
from raysel.models.layers import Partition, partition
from raysel.spec.sweep import TrainingSettings
from raysel.spec.trial_config import TrialConfig
from raysel.strategies import Strategy, registered
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData

CLASSES = 3


def examples(count: int, *shape: int, shift: float = 0.0, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *shape, generator=generator) + shift
    return Batch(images, torch.randint(CLASSES, (count,), generator=generator))


def probe_of(
    model: nn.Module,
    source: Batch,
    target: Batch,
    fresh_head: bool = False,
    fine_tune: Callable[[nn.Module, int], None] | None = None,
    batch_size: int = 64,
    head: tuple[str, ...] = (),
) -> OrderedProbe:
    cut = Partition(partition(model).layers, head)
    return OrderedProbe(model, cut, target, source, batch_size, fresh_head, fine_tune)


def measured(name: str, probe: OrderedProbe, **values: Any) -> Strategy:
    """The strategy after its one measurement."""
    strategy = registered()[name](probe.partition, values)
    strategy.prepare(probe)
    strategy.epoch_start(1, 1, probe)
    return strategy


def scores(strategy: Strategy) -> Tensor:
    given = strategy.decide(None).scores  # type: ignore[arg-type]
    assert given is not None
    return given


def weights(strategy: Strategy) -> Tensor:
    return strategy.decide(None).weights  # type: ignore[arg-type]


def fingerprint(model: nn.Module) -> str:
    """Of every tensor, every flag, and the random state."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    for module in model.modules():
        digest.update(str((module.training, len(module._forward_hooks))).encode())
    flags = [(p.requires_grad, p.grad is None) for p in model.parameters()]
    digest.update(str(flags).encode() + torch.get_rng_state().numpy().tobytes())
    return digest.hexdigest()


SETTINGS = TrainingSettings(
    epochs=2,
    batch_size=16,
    optimizer="adam",
    learning_rate=1e-3,
    momentum=0.9,
    weight_decay=1e-4,
    schedule="constant",
    warmup_epochs=0.0,
    batch_norm="eval",
    precision="float32",
    clip_norm=None,
    gradient_accumulation_steps=1,
    deterministic=False,
)


def trial(
    strategy: str, model: str, size: int, seed: int = 0, fresh_head: bool = False, **values: Any
) -> FineTuning:
    """A trial of timm's small test models on noise whose mean differs in source and target."""
    net = build(ModelConfig(model, CLASSES, 3, (size, size)), seed=0)
    data = TrialData(
        examples(32, 3, size, size, shift=1.5, seed=1),
        examples(16, 3, size, size, shift=1.5, seed=2),
        examples(32, 3, size, size, seed=3),
    )
    parameters = {p.name: p.default for p in registered()[strategy].parameters} | values
    config = TrialConfig(strategy=strategy, parameters=parameters, training=SETTINGS, seed=seed)
    return FineTuning(config, net, partition(net), data, fresh_head=fresh_head)
