"""Masks by what a parameter does: norms, biases, attention or MLPs alone, beside the classifier.

    norm_only        scale and shift of every norm        (Frankle et al.; Mudrakarta et al.)
    bias_only        every bias, those of norms too       (Ben Zaken et al., BitFit)
    attention_only   the weights of attention             (Touvron et al.)
    mlp_only         the weights of the MLPs between      (Touvron et al.: the comparison)

The classifier moves with them, as it is new wherever the classes are. Layers that hold nothing of
the kind rest. What belongs to attention and to an MLP goes by the class of the module
(docs/algorithms.md, D48); the norms before them belong to neither.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from raysel.models.partition_types import Partition
from raysel.spec.training import BatchNorm
from raysel.strategies.base import Cost, TrainingOverride
from raysel.strategies.registry import register
from raysel.strategies.static import StaticMask, classifier_parameters

_TOUVRON = "Touvron et al., Three things everyone should know about Vision Transformers, section 4"


class _OneKind(StaticMask):
    """The parameters of one kind move, and the classifier."""

    noun: ClassVar[str]
    """What moves, for a message."""
    batch_norm: ClassVar[BatchNorm] = "eval"
    cost = Cost(during="a forward pass and the backward pass down to the lowest of them")

    @classmethod
    @abstractmethod
    def chosen(cls, partition: Partition) -> frozenset[str]:
        """Names of the parameters of the kind."""

    @classmethod
    def problem(cls, partition: Partition) -> str | None:
        """Nothing of the kind is in the model beside the classifier."""
        if cls.chosen(partition) - classifier_parameters(partition):
            return None
        return f"the model has no {cls.noun} beside its classifier: {cls.name} is linear_probe"

    def trainable(self) -> list[int]:
        """The layers that hold a parameter of the kind, and the classifier's."""
        moving = self.trainable_parameters()
        layers = enumerate(self.partition.layers)
        return [index for index, layer in layers if moving & set(layer.parameters)]

    def trainable_parameters(self) -> frozenset[str]:
        """The parameters of the kind, and the classifier's."""
        return self.chosen(self.partition) | classifier_parameters(self.partition)


@register
class NormOnly(_OneKind):
    """Scale and shift of the norms move."""

    name = "norm_only"
    noun = "norm with parameters"
    summary = "the scale and shift of every norm move, and the classifier"
    paper = (
        "Mudrakarta et al., K for the Price of 1, section 3; Frankle et al., Training BatchNorm "
        "and Only BatchNorm, section 3"
    )
    batch_norm = "train"

    @classmethod
    def chosen(cls, partition: Partition) -> frozenset[str]:
        """The parameters of norms."""
        return partition.of_kind("norm")


@register
class BiasOnly(_OneKind):
    """The biases move."""

    name = "bias_only"
    noun = "bias"
    summary = "every bias moves, and the classifier"
    paper = "Ben Zaken, Ravfogel and Goldberg, BitFit, section 3"
    published = TrainingOverride(optimizer="adamw")

    @classmethod
    def chosen(cls, partition: Partition) -> frozenset[str]:
        """The parameters whose name ends in `bias`: `bias`, `q_bias`, …"""
        names = (name for layer in partition.layers for name in layer.parameters)
        return frozenset(name for name in names if name.endswith("bias"))


@register
class AttentionOnly(_OneKind):
    """The weights of attention move."""

    name = "attention_only"
    noun = "attention"
    summary = "the weights of attention move, and the classifier"
    paper = f"{_TOUVRON} (fine-tuning attention is all you need)"

    @classmethod
    def chosen(cls, partition: Partition) -> frozenset[str]:
        """The parameters of attention."""
        return partition.of_kind("attention")


@register
class MlpOnly(_OneKind):
    """The weights of the MLPs move."""

    name = "mlp_only"
    noun = "MLP"
    summary = "the weights of the MLPs between attention move, and the classifier"
    paper = f"{_TOUVRON}, Table 4 (FFN)"

    @classmethod
    def chosen(cls, partition: Partition) -> frozenset[str]:
        """The parameters of MLPs."""
        return partition.of_kind("mlp")
