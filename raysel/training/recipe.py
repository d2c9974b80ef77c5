"""The loss of a training step: label smoothing, class weights, and mixup and cutmix of its batch.

Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019) are timm's own `Mixup`, with its defaults:
one draw a batch, and either of the two with equal probability where both are given. Label smoothing
(Szegedy et al., 2016) is torch's. Balanced class weights are scikit-learn's, n / (C n_c), over the
examples that a trial trains on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raysel.spec.sweep import TrainingSettings
from raysel.training.batches import Batch, Data


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """n / (C n_c) of each of C classes, 0 of one without examples; [C] float32."""
    counts = torch.bincount(labels, minlength=classes).float()
    weights = len(labels) / (classes * counts)
    return torch.where(counts > 0, weights, 0.0)


class Recipe:
    """The batches and the loss of one trial.

    Args:
        settings: of the trial.
        train: the examples that it trains on.
        model: gives a copy of its model, which is asked for the number of classes where that is
            needed.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        train: Data,
        model: Callable[[], AbstractContextManager[nn.Module]],
    ) -> None:
        self._smoothing = settings.label_smoothing
        self._weights: Tensor | None = None
        self._mixup = None
        if not settings.mixes and settings.class_weights == "none":
            return
        with model() as copy, torch.inference_mode():
            classes = copy(train.part(slice(0, 1)).images).shape[1]
        if settings.class_weights == "balanced":
            self._weights = balanced_weights(train.labels, classes)
        if settings.mixes:
            from raysel.models import timm  # noqa: PLC0415  (slow, and seldom needed)

            self._mixup = timm.data.Mixup(
                mixup_alpha=settings.mixup,
                cutmix_alpha=settings.cutmix,
                label_smoothing=settings.label_smoothing,
                num_classes=classes,
            )

    def mixed(self, batch: Batch) -> tuple[Batch, Tensor]:
        """A batch and what its images are to be: labels [n], or shares of classes [n, C].

        timm pairs the first image with the last and so on, for which there must be an even number:
        the last of an odd one stays as it is.
        """
        if self._mixup is None:
            return batch, batch.labels
        images, labels = batch.images, batch.labels
        even = len(labels) - len(labels) % 2
        if not even:
            return batch, self._smoothed(labels)
        mixed, targets = self._mixup(images[:even].clone(), labels[:even])
        if even < len(labels):
            mixed = torch.cat([mixed, images[even:]])
            targets = torch.cat([targets, self._smoothed(labels[even:])])
        return Batch(mixed, labels), targets

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy, 0-dim; targets as `mixed` gives them."""
        smoothing = self._smoothing if targets.ndim == 1 else 0.0  # shares are smooth already
        return functional.cross_entropy(
            logits, targets, weight=self._weights, label_smoothing=smoothing
        )

    def _smoothed(self, labels: Tensor) -> Tensor:
        """[n, C] as timm's `Mixup` has those of an unmixed example."""
        assert self._mixup is not None
        classes = self._mixup.num_classes
        one_hot = functional.one_hot(labels, classes).to(torch.float32)
        return one_hot * (1.0 - self._smoothing) + self._smoothing / classes

    @contextmanager
    def random_numbers(self, seed: int) -> Iterator[None]:
        """NumPy's numbers, from which timm draws, from `seed` inside; as before afterwards."""
        if self._mixup is None:
            yield
            return
        before = np.random.get_state()
        np.random.seed(seed & 0xFFFFFFFF)
        try:
            yield
        finally:
            np.random.set_state(before)
