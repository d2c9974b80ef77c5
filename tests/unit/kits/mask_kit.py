"""Six layers that train in a blink, and what to compare of two trials."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from raysel.models.layers import Partition, partition
from raysel.spec.sweep import TrainingSettings
from raysel.spec.trial_config import TrialConfig
from raysel.strategies import registered
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData

LAYERS = ("stem", "a", "b", "c", "d", "head")
WIDTH, CLASSES = 6, 3

SETTINGS = TrainingSettings(
    epochs=3,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.05,
    momentum=0.9,
    weight_decay=0.01,
    schedule="constant",
    warmup_epochs=0.0,
    batch_norm="train",
    precision="float32",
    clip_norm=None,
    gradient_accumulation_steps=1,
    deterministic=False,
)


class Net(nn.Module):
    """Six layers; `a` has a batch norm, and the head's layer a final norm, as a ViT's has."""

    pretrained_cfg: ClassVar = {"classifier": "head.fc"}

    def __init__(self) -> None:
        super().__init__()

        def stage(*more: nn.Module) -> nn.Sequential:
            return nn.Sequential(nn.Linear(WIDTH, WIDTH), *more, nn.Tanh())

        self.stem = nn.Sequential(nn.Flatten(), stage())
        self.a = stage(nn.BatchNorm1d(WIDTH))
        self.b, self.c, self.d = stage(), stage(), stage(nn.Dropout(0.2))
        self.head = nn.Sequential()
        self.head.add_module("norm", nn.LayerNorm(WIDTH))
        self.head.add_module("fc", nn.Linear(WIDTH, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        for layer in self.children():
            images = layer(images)
        return images


def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


def _batch(count: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    return Batch(torch.randn(count, 1, 1, WIDTH, generator=generator), labels)


DATA = TrialData(train=_batch(16, 1), validation=_batch(6, 2))  # two steps an epoch


def whole(layers: Partition) -> Partition:
    """The model as one layer: L = 1."""
    names = tuple(name for layer in layers.layers for name in layer.parameters)
    sizes = tuple(size for layer in layers.layers for size in layer.sizes)
    return Partition((type(layers.layers[0])("all", names, sizes),), layers.head)


def trial(
    strategy: str,
    parameters: dict[str, Any] | None = None,
    *,
    one_layer: bool = False,
    fresh_head: bool = False,
    seed: int = 0,
    **training: Any,
) -> FineTuning:
    defaults = {p.name: p.default for p in registered()[strategy].parameters}
    chosen = TrialConfig(
        strategy=strategy,
        parameters=defaults | (parameters or {}),
        training=TrainingSettings.model_validate(SETTINGS.model_dump() | training),
        seed=seed,
    )
    model = net()
    layers = whole(partition(model)) if one_layer else partition(model)
    return FineTuning(chosen, model, layers, DATA, fresh_head=fresh_head)


def finished(run: FineTuning) -> FineTuning:
    for _ in range(run.config.training.epochs - run.epoch):
        run.run_epoch()
    return run


def parameters(run: FineTuning) -> dict[str, Tensor]:
    """A copy of the model's parameters."""
    return {name: p.detach().clone() for name, p in run.model.named_parameters()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that are not bit for bit the same."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def moved_layers(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The layers of which a parameter moved."""
    return {name.split(".")[0] for name in moved(before, after)}


def optimizer_state(run: FineTuning) -> dict[str, Tensor]:
    """`<slot> <parameter>` -> the optimizer's state of a tensor."""
    return {
        f"{slot} {name}": tensor
        for slot, tensors in run.optimizer.state.items()
        for name, tensor in zip(run.names, tensors, strict=True)
    }


def assert_same(mine: FineTuning, theirs: FineTuning) -> None:
    """Parameters and optimizer state are bit for bit the same."""
    for left, right in (
        (parameters(mine), parameters(theirs)),
        (optimizer_state(mine), optimizer_state(theirs)),
    ):
        assert left.keys() == right.keys()
        assert moved(left, right) == set()


def assert_resumable(strategy: str, values: dict[str, Any], **options: Any) -> None:
    """One trial that never stops, and for each epoch one that stops there: the same end."""
    straight = trial(strategy, values, **options)
    states = []
    for _ in range(straight.config.training.epochs):
        straight.run_epoch()
        states.append(_copied(straight.state_dict()))
    for epoch, state in enumerate(states[:-1], start=1):
        torch.manual_seed(epoch)  # a new process has another random state
        resumed = trial(strategy, values, **options)
        resumed.load_state_dict(state)
        assert resumed.epoch == epoch
        assert_same(finished(resumed), straight)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
