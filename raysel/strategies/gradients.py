"""Gradients of a probe's model as flat vectors, P numbers in the order of the partition.

What the gradient-based scores share: the mean cross-entropy of a sample, its gradient with
non-finite batches left out, and the length of each layer's slice of a flat vector.

Shapes: L layers, P scalars of the partition's parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from raysel.common.deferred_torch import Tensor, functional, nn, torch
from raysel.models.norms import squared_norms
from raysel.models.partition_types import Partition
from raysel.strategies.base import Batch


class Sample(NamedTuple):
    """Some examples: images [n, c, h, w] and labels [n]."""

    images: Tensor
    labels: Tensor


class MeanGradient(NamedTuple):
    """The gradient [P] of the mean loss over `batches`, those that gave a finite one."""

    vector: Tensor
    batches: list[Batch]


def ordered_parameters(model: nn.Module, partition: Partition) -> list[nn.Parameter]:
    """The parameters layer by layer, so that a layer is one slice of their concatenation."""
    named = dict(model.named_parameters())
    return [named[name] for layer in partition.layers for name in layer.parameters]


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """One vector of all tensors' numbers, without history."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def layer_norms(vector: Tensor, partition: Partition) -> Tensor:
    """The Euclidean length of each layer's slice of a flat vector; [L] float64."""
    slices = vector.split([layer.size for layer in partition.layers])
    return squared_norms(slices, vector.device).sqrt()


def batch_gradient(model: nn.Module, partition: Partition, batch: Batch) -> tuple[Tensor, Tensor]:
    """The mean loss of a batch, 0-dim, and its gradient [P]; 0 where a parameter has no part."""
    parameters = ordered_parameters(model, partition)
    with torch.enable_grad():
        loss = functional.cross_entropy(model(batch.images), batch.labels)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return loss.detach(), flat([torch.zeros_like(p) if g is None else g for p, g in pairs])


def example_gradients(model: nn.Module, partition: Partition, batch: Batch) -> Iterator[Tensor]:
    """The gradient [P] of each example of a batch, in float64; a backward pass each.

    One example at a time needs no memory for more than one, and works for every model in eval mode.
    """
    for index in range(len(batch.labels)):
        example = Sample(batch.images[index : index + 1], batch.labels[index : index + 1])
        yield batch_gradient(model, partition, example)[1].double()


def finite_gradients(
    model: nn.Module, partition: Partition, batches: Sequence[Batch]
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch with its gradient [P], without the batches whose gradient is not finite."""
    for batch in batches:
        _, gradient = batch_gradient(model, partition, batch)
        if bool(torch.isfinite(gradient).all()):
            yield batch, gradient


def mean_gradient(
    model: nn.Module, partition: Partition, batches: Sequence[Batch]
) -> MeanGradient | None:
    """The gradient of the mean loss over all examples of the finite batches; None if no
    batch is finite.
    """
    total: Tensor | None = None
    kept: list[Batch] = []
    for batch, gradient in finite_gradients(model, partition, batches):
        part = gradient * len(batch.labels)
        total = part if total is None else total.add_(part)
        kept.append(batch)
    if total is None:
        return None
    return MeanGradient(total / sum(len(batch.labels) for batch in kept), kept)


def sample_loss(
    model: nn.Module, partition: Partition, batches: Sequence[Batch]
) -> tuple[Tensor, Tensor]:
    """The mean loss over all examples, 0-dim, and its gradient [P], finite or not."""
    count = sum(len(batch.labels) for batch in batches)
    losses, gradient = [], torch.zeros((), device=batches[0].labels.device)
    for batch in batches:
        loss, part = batch_gradient(model, partition, batch)
        share = len(batch.labels) / count
        losses.append(loss * share)
        gradient = gradient + part * share
    return torch.stack(losses).sum(), gradient
