"""The memory of a training step: run once with tensors that have shapes and no data, so that a
model of any size is estimated within seconds on any machine.

Forward and backward are torch's own, on fake tensors; of the optimizer's update, which reads
numbers, the temporary tensors are added by hand.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from raysel.models.build import ModelConfig, build
from raysel.models.layers import Partition
from raysel.models.norms import squared_norms
from raysel.spec.trial_config import TrialConfig
from raysel.strategies.base import Step, Strategy
from raysel.strategies.registry import registered
from raysel.training.modes import set_training_mode
from raysel.training.optimizer import OPTIMIZERS, LayerwiseOptimizer

Device = Literal["cpu", "cuda"]

_TEMPORARY = {"cpu": {"sgd": 1, "adam": 3, "adamw": 4}, "cuda": {"sgd": 3, "adam": 5, "adamw": 6}}
"""Tensors of a parameter's size that its update holds at a time."""


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one training step.

    Attributes:
        parameters: of the model, with its buffers.
        gradients: of what the strategy may move.
        optimizer: the optimizer's state, with the weights' moving average and the starting weights
            where these are kept.
        strategy: what the strategy keeps from step to step.
        activations: what forward and backward hold beside all these at their worst, the batch
            and the gradients that are there by then among it.
        peak: the most that is held at a time.
    """

    parameters: int
    gradients: int
    optimizer: int
    strategy: int
    activations: int
    peak: int


def step_memory(
    model_config: ModelConfig, layers: Partition, config: TrialConfig, device: Device
) -> StepMemory:
    """What a step of this trial takes; nothing is computed and nothing of that size allocated.

    Args:
        layers: the sweep's layers.
        device: where the trial will run: on a GPU the update masks its gradients there.
    """
    with torch.device("meta"):
        model = build(model_config, 0, drop_path=config.training.drop_path)
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
        return _Fake(model.to_empty(device="cpu"), live, layers, config, device).step(model_config)


class _Fake:
    """A trial of fake tensors."""

    def __init__(
        self,
        model: nn.Module,
        live: LiveBytes,
        layers: Partition,
        config: TrialConfig,
        device: Device,
    ) -> None:
        self.model, self.live, self.config, self.device = model, live, config, device
        self.model_bytes = live.now
        kind = registered()[config.strategy]
        self.layers = kind.refine(layers)
        self.strategy: Strategy = kind(self.layers, config.parameters)
        allowed = self.strategy.trainable_parameters()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in allowed)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.parameters = [parameter for _, parameter in named]
        self.layer_of = [self.layers.layer_of[name] for name, _ in named]
        before = live.now
        self.optimizer: LayerwiseOptimizer = OPTIMIZERS[config.training.optimizer](
            self.parameters, self.layer_of, config.training
        )
        training = config.training
        copies = (training.weight_averaging > 0) + (training.pull_strength > 0)
        copies += bool(training.wise_ft)
        self._copies = [torch.empty_like(p) for p in self.parameters for _ in range(copies)]
        self.optimizer_bytes = live.now - before

    def step(self, model_config: ModelConfig) -> StepMemory:
        training = self.config.training
        set_training_mode(self.model, training.batch_norm, training.batch_size)
        resident = self.live.now
        self.live.peak = resident
        gradients = self._backward(model_config)
        activations = self.live.peak - resident
        size = sum(_bytes(gradient) for gradient in gradients if gradient is not None)
        strategy = self._update(gradients)
        return StepMemory(
            parameters=self.model_bytes,
            gradients=size,
            optimizer=self.optimizer_bytes,
            strategy=strategy,
            activations=activations,
            peak=max(resident + strategy + activations, self._peak_of_update(size)),
        )

    def _backward(self, model_config: ModelConfig) -> Sequence[Tensor | None]:
        """Forward and backward of one batch; what is accumulated comes after it."""
        training = self.config.training
        images = torch.empty(training.batch_size, model_config.channels, *model_config.image_size)
        labels = torch.zeros(training.batch_size, dtype=torch.int64)
        reduced = training.precision == "bfloat16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
            loss = functional.cross_entropy(self.model(images), labels)
        loss.float().backward()
        return [parameter.grad for parameter in self.parameters]

    def _update(self, gradients: Sequence[Tensor | None]) -> int:
        """The optimizer's and the strategy's part of the step; bytes that the strategy keeps."""
        self.live.peak = self.live.now
        norms = squared_norms(gradients, torch.device("cpu"))
        self.optimizer.advance(gradients)
        clipped = self.config.training.clip_norm is not None
        view = Step(
            number=1,
            parameters=self.parameters,
            gradients=list(gradients),
            squared_norms=norms,
            layer_of=torch.tensor(self.layer_of),
            layer_count=len(self.layers),
            momentum_buffers=None if clipped else self.optimizer.momentum_buffers,
            momentum=self.config.training.momentum,
            seed=self.config.seed,
        )
        before = self.live.now
        with suppress(Exception):  # it reads a number, after it has laid down what it keeps
            self.strategy.decide(view)
        return self.live.now - before

    def _peak_of_update(self, gradients: int) -> int:
        """Without activations, with what the update holds for a while."""
        training = self.config.training
        largest = max(_bytes(parameter) for parameter in self.parameters)
        temporary = _TEMPORARY[self.device][training.optimizer] * largest
        copies = gradients * ((self.device == "cuda") + (training.clip_norm is not None))
        return max(self.live.peak, self.live.now + temporary) + copies


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make within `with`, until they are freed.

    It works on tensors without data too (FakeTensorMode), and then gives what the same step
    would take.

    Attributes:
        now: bytes that are alive.
        peak: the most since the beginning, or since it was set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at what it gives."""
        result = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._see, result)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage: torch.UntypedStorage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return  # a view, or written in place
        self._sizes[key] = size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.now -= self._sizes.pop(key)
