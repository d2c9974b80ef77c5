"""Small models, a real probe and a real trial for the learning-rate-weight strategies."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from ordered_probe import OrderedProbe
from torch import Tensor, nn

from raysel.models.build import ModelConfig, build
from raysel.models.layers import Layer, Partition, partition
from raysel.spec.sweep import ObjectiveSpec, TrainingSettings
from raysel.spec.trial_config import TrialConfig
from raysel.strategies import registered
from raysel.strategies.base import Step, Strategy
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData

FAMILY = (
    "auto_rgn",
    "auto_rgn_hessian",
    "auto_rgn_change",
    "auto_rgn_hessian_change",
    "auto_snr",
)
CLASSES = 4

SETTINGS = TrainingSettings(
    epochs=3,
    batch_size=8,
    optimizer="adam",
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=0.0,
    schedule="constant",
    warmup_epochs=0.0,
    batch_norm="eval",
    precision="float32",
    clip_norm=None,
    gradient_accumulation_steps=1,
    deterministic=False,
)


class SmallNet(nn.Module):
    """Three layers (`stem`, `body`, `head`) with batch norm and dropout; 8x8 images."""

    pretrained_cfg: ClassVar = {"classifier": "head"}

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Tanh())
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Tanh(), nn.Dropout(0.3))
        self.head = nn.Linear(10, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.stem(images)))
        return logits


def small(seed: int = 0) -> SmallNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SmallNet()


def timm_model(name: str, size: int) -> nn.Module:
    return build(ModelConfig(name, CLASSES, 1, (size, size)), seed=0)


def batch(count: int, seed: int, size: int = 8) -> Batch:
    """Noise around a pattern of the class, so that there is something to learn."""
    patterns = torch.randn(CLASSES, 1, size, size, generator=torch.Generator().manual_seed(9))
    noise = torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % CLASSES
    return Batch(patterns[labels] + noise, labels)


DATA = TrialData(train=batch(40, 1), validation=batch(16, 2), source=batch(40, 3))


def probe_of(
    model: nn.Module,
    target: Batch = DATA.train,
    source: Batch | None = DATA.source,
    batch_size: int = 8,
    fresh_head: bool = False,
) -> OrderedProbe:
    return OrderedProbe(model, partition(model), target, source, batch_size, fresh_head)


def strategy(name: str, layers: Partition, **values: Any) -> Strategy:
    return registered()[name](layers, values)


def measured(name: str, probe: OrderedProbe, **values: Any) -> tuple[Tensor, Tensor]:
    """Weights and scores for the first epoch."""
    return decided(begun(strategy(name, probe.partition, **values), probe))


def begun(chosen: Strategy, probe: OrderedProbe) -> Strategy:
    chosen.prepare(probe)
    chosen.epoch_start(1, 3, probe)
    return chosen


def decided(chosen: Strategy) -> tuple[Tensor, Tensor]:
    decision = chosen.decide(a_step(len(chosen.partition)))
    assert decision.scores is not None
    return decision.weights, decision.scores


def a_step(layers: int) -> Step:
    """Learning-rate weights are known before the step, so nothing of it matters."""
    return Step(1, [], [], torch.zeros(0), torch.zeros(0, dtype=torch.int64), layers, None, 0.0)


def trial(
    name: str,
    model: nn.Module,
    parameters: dict[str, Any] | None = None,
    data: TrialData = DATA,
    **training: Any,
) -> FineTuning:
    defaults = {p.name: p.default for p in registered()[name].parameters}
    config = TrialConfig(
        strategy=name,
        parameters=defaults | (parameters or {}),
        training=TrainingSettings.model_validate(SETTINGS.model_dump() | training),
        seed=0,
    )
    return FineTuning(config, model, partition(model), data, ObjectiveSpec())


# --- a loss whose gradient can be written down -------------------------------------------------


class Linear(nn.Module):
    """Two classes, logits (z, 0), z = theta . x over several parameter vectors: at z = 0 and
    label 1 the gradient of an example's loss is x / 2, with label 0 it is -x / 2."""

    def __init__(self, *parameters: Sequence[float]) -> None:
        super().__init__()
        self.theta = nn.ParameterList([nn.Parameter(torch.tensor(p).double()) for p in parameters])

    def forward(self, inputs: Tensor) -> Tensor:
        theta = torch.cat(list(self.theta))
        z = inputs @ theta - (inputs @ theta).detach()
        return torch.stack([z, torch.zeros_like(z)], dim=1)

    def probe(self, *gradients: Sequence[Sequence[float]], **options: Any) -> OrderedProbe:
        """A probe whose batches have these gradients: batches x examples x parameters."""
        size = len(gradients[0])
        rows = 2 * torch.tensor(gradients, dtype=torch.float64).flatten(0, 1)
        data = Batch(rows, torch.ones(len(rows), dtype=torch.int64))
        layers = tuple(
            Layer(f"layer{i}", (f"theta.{i}",), (p.numel(),)) for i, p in enumerate(self.theta)
        )
        return OrderedProbe(
            self, Partition(layers, options.pop("head", ())), data, None, size, **options
        )


def state_of(model: nn.Module) -> dict[str, Any]:
    """Weights, buffers, gradients, flags and the next random number."""
    parameters = dict(model.named_parameters())
    return copy.deepcopy(
        {
            "tensors": dict(model.state_dict()),
            "gradients": {name: p.grad for name, p in parameters.items()},
            "flags": {name: p.requires_grad for name, p in parameters.items()},
            "modes": {name: module.training for name, module in model.named_modules()},
            "random": torch.get_rng_state(),
        }
    )


def same(first: Any, second: Any) -> bool:
    """Whether two nested states are bit for bit equal (NaN is NaN)."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype == second.dtype and torch.allclose(
            first, second, rtol=0, atol=0, equal_nan=first.is_floating_point()
        )
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second
