"""What fine-tuning did to the model beside its test error: how far each layer is from where it
began, what became of the error on the source's validation examples, and what the test error was
before.

Measured once, after a confirm run, with the weights that were tested. Nothing is chosen by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from raysel.models.layers import Partition
from raysel.models.norms import squared_norms
from raysel.training.batches import Data
from raysel.training.loop import FineTuning

BEFORE, AFTER = "confirm/source_error_before", "confirm/source_error"
"""Error on the source's validation examples, 0..1: of the initial weights, of the tuned ones."""

UNTOUCHED = "test/untouched_error"
"""Test error of the initial weights, 0..1."""

DISTANCE = "confirm/distance/"
"""Before a layer's name: ||theta_l - theta_l(0)|| / ||theta_l(0)||, over all its parameters."""


def measure_forgetting(
    tuning: FineTuning,
    initial: Callable[[], nn.Module],
    layers: Partition,
    source: Data | None,
    test: Data | None = None,
) -> dict[str, float]:
    """`BEFORE`, `AFTER`, `UNTOUCHED`, and `DISTANCE` of each layer.

    Args:
        tuning: a run that has ended; its model has the tuned weights, before and after.
        initial: puts the run's initial weights into the same model.
        layers: those of the model, also where the strategy works tensor by tensor.
        source: source validation examples, where the source has the same classes and head.
        test: test examples, where the error of the initial weights on them is asked for.

    Returns:
        No errors without source examples; no distance of a layer that was 0 at the start.
    """
    model = tuning.model
    metrics = {AFTER: tuning.measure(source).error} if source is not None else {}
    tuned = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    try:
        start = dict(initial().named_parameters())
        metrics |= {f"{DISTANCE}{n}": d for n, d in _distances(tuned, start, layers).items()}
        if source is not None:
            metrics[BEFORE] = tuning.measure(source).error
        if test is not None:
            metrics[UNTOUCHED] = tuning.measure(test).error
    finally:
        model.load_state_dict(tuned)
    return metrics


@torch.no_grad()
def _distances(
    tuned: Mapping[str, Tensor], start: Mapping[str, Tensor], layers: Partition
) -> dict[str, float]:
    """The relative distance of each layer, where it is finite."""
    found = {}
    for layer in layers.layers:
        began = [start[name] for name in layer.parameters]
        gone = [tuned[name] - start[name] for name in layer.parameters]
        size, change = (float(squared_norms(t, t[0].device).sum()) for t in (began, gone))
        if size and math.isfinite(change / size):
            found[layer.name] = math.sqrt(change / size)
    return found
