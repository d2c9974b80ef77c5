"""Strategies written for the tests, as a user would write his own: one class, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from raysel.models.layers import Partition
from raysel.spec.sweep import FloatRange
from raysel.strategies import registry
from raysel.strategies.base import Decision, Parameter, Probe, Step, Strategy
from raysel.strategies.registry import register


@contextmanager
def registered_for_a_test(*strategies: type[Strategy]) -> Iterator[None]:
    """Known by their names inside, unknown afterwards."""
    for strategy in strategies:
        register(strategy)
    try:
        yield
    finally:
        for strategy in strategies:
            del registry._REGISTRY[strategy.name]


class Alternating(Strategy):
    """Moves one layer a step, in turns, with a weight that the search may choose."""

    name = "alternating"
    summary = "one layer after the other"
    paper = "a test"
    parameters = (
        Parameter(
            "weight",
            "float",
            0.5,
            "of the layer whose turn it is",
            low=0.0,
            high=1.0,
            search=FloatRange.model_validate({"float": (0.1, 1.0)}),
        ),
    )

    def decide(self, step: Step) -> Decision:
        weights = torch.zeros(step.layer_count)
        weights[(step.number - 1) % step.layer_count] = self.values["weight"]
        return Decision(weights, scores=torch.full((step.layer_count,), float(step.number)))


class MeasuredRates(Strategy):
    """A learning-rate weight for each layer, measured before each epoch: the norm of its mean
    gradient, relative to the largest."""

    name = "measured_rates"
    summary = "gradient norms as weights"
    paper = "a test"

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        super().__init__(partition, values)
        self.weights = torch.zeros(len(partition))
        self.history: list[Tensor] = []

    def epoch_start(self, epoch: int, epochs: int, probe: Probe) -> None:
        torch.rand(7)  # a measurement may draw random numbers
        with probe.model() as scratch:
            for part in probe.batches("target", 2):
                functional.cross_entropy(scratch(part.images), part.labels).backward()
            gradients = {n: p.grad for n, p in scratch.named_parameters() if p.grad is not None}
        norms = [
            torch.stack([gradients[n].square().sum() for n in layer.parameters]).sum().sqrt()
            for layer in self.partition.layers
        ]
        self.weights = torch.stack(norms) / max(norms)
        self.history.append(self.weights.clone())

    def decide(self, step: Step) -> Decision:
        return Decision(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weights = state["weights"]


class Wrecker(Strategy):
    """Moves everything, and if asked to looks at the model in the rudest way."""

    name = "wrecker"
    summary = "overwrites what it measures"
    paper = "a test"
    parameters = (
        Parameter("measures", "bool", True, "whether it looks at all"),
        Parameter(
            "raises", "choice", "never", "where", options=("never", "prepare", "epoch_start")
        ),
    )

    def prepare(self, probe: Probe) -> None:
        self._wreck(probe, "prepare")

    def epoch_start(self, epoch: int, epochs: int, probe: Probe) -> None:
        self._wreck(probe, "epoch_start")

    def _wreck(self, probe: Probe, where: str) -> None:
        if not self.values["measures"]:
            return
        torch.manual_seed(1)
        with probe.model() as scratch:
            scratch.train()
            for part in (*probe.batches("target"), *probe.batches("source", 1)):
                functional.cross_entropy(scratch(part.images), part.labels).backward()
            for tensor in scratch.state_dict().values():
                tensor.zero_()
            for parameter in scratch.parameters():
                parameter.requires_grad_(False)
            if self.values["raises"] == where:
                raise ZeroDivisionError

    def decide(self, step: Step) -> Decision:
        return Decision(torch.ones(step.layer_count))
