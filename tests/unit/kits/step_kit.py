"""The peak of tensor bytes of a real training step, as torch's own memory tracker counts it."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._pytree import tree_leaves

from raysel.models.build import ModelConfig, build
from raysel.models.layers import Partition, partition_of
from raysel.search.space import Space
from raysel.spec.reader import parse
from raysel.spec.trial_config import TrialConfig
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData
from raysel.training.modes import set_training_mode
from raysel.training.selection_trace import EpochTrace


def config_of(strategy: str, layers: Partition, **training: Any) -> TrialConfig:
    """A trial of a strategy as published, with these settings."""
    spec = parse(
        "name: x\ntask: {data: digits}\nmodel: {name: resnet10t}\nsearch: {baselines: false}\n"
        f"strategies: {{{strategy}: }}\n"
    )
    config = Space(spec, layers.names).first_configuration(strategy)
    return config.model_copy(update={"training": config.training.model_copy(update=training)})


def layers_of(model_config: ModelConfig) -> Partition:
    """The coarse layers of a model."""
    return partition_of(
        model_config.name, "coarse", model_config.classes, model_config.channels, model_config.head
    )


def measured_peak(model_config: ModelConfig, layers: Partition, config: TrialConfig) -> int:
    """Bytes of a trial's second step: what the strategy keeps is there since its first.

    torch's tracker cannot look at a model of which parts are frozen.
    """
    size = config.training.batch_size
    images = torch.randn(size, model_config.channels, *model_config.image_size)
    batch = Batch(images, torch.zeros(size, dtype=torch.int64))
    model = build(model_config, 0)
    trial = FineTuning(config, model, layers, TrialData(batch, batch))
    set_training_mode(model, config.training.batch_norm, size)
    _step(trial, batch)
    for parameter in trial.parameters:
        parameter.grad = None
    trial.optimizer._gradients = []
    kept = [*tree_leaves(trial.optimizer.state), *tree_leaves(trial.strategy.state_dict())]
    tracker = MemTracker()
    tracker.track_external(model, images, batch.labels)
    tracker.track_external(*(one for one in kept if isinstance(one, torch.Tensor)))
    with tracker:
        _step(trial, batch)
    peak: int = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    return peak


def _step(trial: FineTuning, batch: Batch) -> None:
    loss = trial._backward([batch])
    trial._update(loss, EpochTrace(trial.partition.names, 1, 1))
