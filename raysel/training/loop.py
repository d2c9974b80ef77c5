"""The training loop of one trial: for each epoch, for each batch, forward, backward, weights,
step, record.

A trial is a function of its configuration, the data and the initial weights: the order of
the data and every random number are drawn from (seed, epoch), so that a trial resumed at
any epoch ends bit-identical to one that never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raysel.common import fused
from raysel.models.layers import Partition
from raysel.models.norms import squared_norms
from raysel.spec.objective import SOURCE_ERROR, ObjectiveSpec
from raysel.spec.sweep import Diagnostic
from raysel.spec.trial_config import TrialConfig
from raysel.strategies.base import Step
from raysel.strategies.registry import strategy_named
from raysel.tasks.groups import Groups
from raysel.training.batches import Batch, Data, batches_per_epoch, epoch_batches, seed_of, seeded
from raysel.training.compiled import forward_of
from raysel.training.diagnostics import Diagnostics
from raysel.training.features import FeatureBatch, FeatureCache, TrialFeatures
from raysel.training.metrics import Measured, MetricAccumulator
from raysel.training.modes import (
    computing,
    memory_format,
    set_training_mode,
)
from raysel.training.nonfinite import Diverged, NonfiniteCounter, mean_finite
from raysel.training.optimizer import OPTIMIZERS
from raysel.training.probe import TrialProbe
from raysel.training.pull import Pull
from raysel.training.recipe import Recipe
from raysel.training.required_gradients import RequiredGradients
from raysel.training.schedule import learning_rate
from raysel.training.selection_trace import EpochTrace, by_layer
from raysel.training.validated import ValidatedWeights

_DROPOUT, _PROBE, _MIXED = 1, 2, 4  # purposes of the random numbers of an epoch; the probe has 3
_EVALUATED = 256  # examples at a time


@dataclass(frozen=True)
class TrialData:
    """A trial's data, never the test split; groups and source_validation are for validation."""

    train: Data
    validation: Data
    source: Data | None = None
    groups: Groups | None = None
    source_validation: Data | None = None


@dataclass(frozen=True)
class EpochResult:
    """Result of one epoch: its number from 1, and metrics by the names of the record."""

    epoch: int
    metrics: dict[str, float]


class FineTuning:
    """One trial.

    Args:
        config: its configuration.
        model: the model with its initial weights, on the device of the data.
        partition: its layers.
        data: target training and validation examples, source examples if there are any.
        objective: what makes an epoch the best.
        keep_best: remember the weights of the best epoch.
        trace: folder of the selection trace; None writes none.
        trace_every: record every n-th step.
        diagnostics: what to measure of every layer.
        fresh_head: whether the model's head was newly initialised.
        step_limit: take no more optimizer steps than this, for a quick look.
        features: where the frozen layers' output is kept; None computes it in every epoch.
    """

    def __init__(
        self,
        config: TrialConfig,
        model: nn.Module,
        partition: Partition,
        data: TrialData,
        objective: ObjectiveSpec | None = None,
        keep_best: bool = False,
        trace: Path | None = None,
        trace_every: int = 1,
        diagnostics: Sequence[Diagnostic] = (),
        fresh_head: bool = False,
        step_limit: int | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        self.step_limit, self.model, self.data = step_limit, model, data
        self.config, self.settings = config, config.training
        self.objective = objective or ObjectiveSpec()
        self.trace_folder, self.trace_every = trace, trace_every
        strategy_type = strategy_named(config.strategy)
        self.layers, self.partition = partition, strategy_type.refine(partition)
        self.strategy = strategy_type(self.partition, config.parameters)
        self._required = RequiredGradients(model, self.strategy, config.seed)
        self.names = self._required.only(self.strategy.trainable_parameters())
        parameters = dict(model.named_parameters())
        layer_of = self.partition.layer_of
        self.layer_of = [layer_of[name] for name in self.names]
        self.parameters = [parameters[name] for name in self.names]
        self.device = self.parameters[0].device
        self.memory_format = memory_format(model, self.device, self.settings.precision)
        if self.memory_format == torch.channels_last:
            model.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.optimizer = OPTIMIZERS[self.settings.optimizer](
            self.parameters, self.layer_of, self.settings
        )
        self.layer_index = torch.tensor(self.layer_of, device=self.device)
        self.layer_sizes = torch.zeros(len(self.partition))
        self.layer_sizes.index_add_(
            0,
            torch.tensor(self.layer_of),
            torch.tensor([float(p.numel()) for p in self.parameters]),
        )
        batches = batches_per_epoch(len(data.train), self.settings.batch_size)
        self.steps_per_epoch = -(-batches // self.settings.gradient_accumulation_steps)
        self.nonfinite = NonfiniteCounter(self.device)
        self.diagnostics = Diagnostics(
            diagnostics, self.partition.names, self.parameters, self.layer_of
        )
        self.probe = TrialProbe(
            model,
            self.partition,
            data.train,
            data.source,
            self.settings.batch_size,
            fresh_head,
            self._fine_tune_fully,
            config.seed,
        )
        self._recipe = Recipe(self.settings, data.train, self.probe.model)
        self._forward = forward_of(model, self.settings, _EVALUATED)
        self._feature_cache = None if self.settings.mixes else features
        self._features: TrialFeatures | None = None
        self.epoch, self.step = 0, 0
        self.after_step: Callable[[int], None] = lambda step: None
        self.rate: Callable[[int], float] = lambda step: learning_rate(
            self.settings, step, self.steps_per_epoch
        )
        self.last_loss = torch.zeros((), device=self.device)
        self.moved = [False] * len(self.partition)
        settings, fresh = self.settings, self.layers.head if fresh_head else ()
        self._pull = Pull(self.parameters, self.names, settings.pull_strength, fresh)
        averaging, alphas = settings.weight_averaging, settings.wise_ft
        self.validated = ValidatedWeights(model, self.names, averaging, keep_best, alphas, fresh)
        balanced = self.settings.sampling == "balanced"
        self._balanced_by = data.train.labels.cpu() if balanced else None

    def run_epoch(self) -> EpochResult:
        """Train one epoch, validate, write the trace.

        Raises:
            Diverged: the loss was not finite for too many steps in a row, or is not finite on
                the validation examples.
        """
        with computing(self.settings):
            return self._run_epoch()

    def _run_epoch(self) -> EpochResult:
        started = time.perf_counter()
        self.epoch += 1
        self.probe.epoch = self.epoch
        trace = EpochTrace(self.partition.names, self.epoch, self.trace_every)
        losses: list[Tensor] = []
        if self._feature_cache is not None and self._features is None:
            self._features = self._trial_features(self._feature_cache)
        with self._random_numbers(_PROBE):
            if self.epoch == 1:
                self.strategy.prepare(self.probe)
            self.strategy.epoch_start(self.epoch, self.settings.epochs, self.probe)
        self._required.only(self.strategy.active_parameters(self.epoch, self.settings.epochs))
        drawn = seed_of(self.config.seed, self.epoch, _MIXED)
        with self._random_numbers(_DROPOUT), self._recipe.random_numbers(drawn):
            set_training_mode(self.model, self.settings.batch_norm, self.settings.batch_size)
            for batches in self._steps():
                self.last_loss = self._backward(batches)
                losses.append(self.last_loss)
                self._update(self.last_loss, trace)
                self.validated.after_step(self.step)
                self.after_step(self.step)
        self.nonfinite.check()
        trace.drop_nonfinite()
        trace.check_weights()
        metrics = {"train/loss": mean_finite(losses)}
        metrics |= self.validated.validate(self.epoch, self._validation, self.objective.metric)
        metrics |= self._account(trace)
        if self._features is not None:
            metrics |= self._features.metrics()
        metrics["cost/seconds"] = time.perf_counter() - started
        return EpochResult(self.epoch, metrics)

    def _validation(self) -> dict[str, float]:
        metrics = self.evaluate(self.data.validation, "val", self.data.groups)
        if not math.isfinite(metrics["val/loss"]):  # the error of such a model is chance
            raise Diverged("the validation loss is not finite")
        if self.data.source_validation is not None:
            metrics[SOURCE_ERROR] = self.measure(self.data.source_validation).error
        return metrics

    def _fine_tune_fully(self, model: nn.Module, epochs: int) -> None:
        """Train another model in place as this trial trains, every layer of it."""
        settings = self.settings.model_copy(update={"compile": False})  # for few epochs
        changed = {"strategy": "full", "parameters": {}, "training": settings}
        config = self.config.model_copy(update=changed)
        trial = FineTuning(config, model, self.partition, self.data, self.objective)
        for _ in range(epochs):
            trial.run_epoch()

    def _steps(self) -> Iterator[list[Batch]]:
        """The batches of each optimizer step of this epoch."""
        size, seed = self.settings.batch_size, self.config.seed
        train = self._with_features(self.data.train)
        batches = epoch_batches(train, size, seed, self.epoch, self._balanced_by)
        while group := list(islice(batches, self.settings.gradient_accumulation_steps)):
            yield group
            if self.step == self.step_limit:
                return

    def _backward(self, batches: list[Batch]) -> Tensor:
        """The gradients that the next step needs, of the mean loss over its batches; the loss,
        0-dim."""
        self._required.before_step(self.step + 1)
        for parameter in self.parameters:
            parameter.grad = None
        count = sum(len(batch) for batch in batches)
        total = torch.zeros((), device=self.device)
        for batch in batches:
            mixed, targets = self._recipe.mixed(batch)
            with self._autocast():
                loss = self._recipe.loss(self._logits(mixed), targets)
            share = loss.float() * (len(batch) / count)
            share.backward()
            total += share.detach()
        return total

    def _logits(self, batch: Batch) -> Tensor:
        if isinstance(batch, FeatureBatch) and self._features is not None:
            return self._features.logits(batch)
        return self._forward(self._laid_out(batch.images))

    def _laid_out(self, images: Tensor) -> Tensor:
        if self.memory_format == torch.channels_last:
            return images.contiguous(memory_format=self.memory_format)
        return images

    def _trial_features(self, cache: FeatureCache) -> TrialFeatures:
        """What the layers that never move give; called while all that may ever move requires a
        gradient."""
        image = tuple(self.data.train.part(slice(0, 1)).images.shape[1:])
        with self._random_numbers(_PROBE):
            set_training_mode(self.model, self.settings.batch_norm, self.settings.batch_size)
            return TrialFeatures(
                cache, self.model, self.settings, self._autocast, image, self._laid_out
            )

    def _with_features(self, data: Data) -> Data:
        return data if self._features is None else self._features.of(data)

    @torch.no_grad()
    def _update(self, loss: Tensor, trace: EpochTrace) -> None:
        """One optimizer step, unless the host knows that it is not finite."""
        gradients = [parameter.grad for parameter in self.parameters]
        norms = squared_norms(gradients, self.device)
        finite = self.nonfinite.is_finite(loss, norms)
        self.step += 1
        if finite is False:
            return
        flag = finite if isinstance(finite, Tensor) else None
        self.optimizer.advance(self._pull.added(self._clipped(gradients, norms)), flag)
        view = self._view(gradients, norms, flag)
        decision = self.strategy.decide(view)
        self.diagnostics.step(view)
        rate = self.rate(self.step - 1)
        self.optimizer.apply(decision.weights, rate, flag)
        trace.add(self.step, decision, flag)

    def _view(self, gradients: list[Tensor | None], norms: Tensor, flag: Tensor | None) -> Step:
        changed = self.settings.clip_norm is not None or self.settings.pull_strength > 0
        return Step(
            number=self.step,
            parameters=self.parameters,
            gradients=gradients,
            squared_norms=norms,
            layer_of=self.layer_index,
            layer_count=len(self.partition),
            momentum_buffers=None if changed else self.optimizer.momentum_buffers,
            momentum=self.settings.momentum,
            finite=flag,
            seed=self.config.seed,
        )

    def _clipped(self, gradients: list[Tensor | None], norms: Tensor) -> list[Tensor | None]:
        """The gradients scaled to the largest allowed norm, as new tensors: strategies see
        the unclipped ones (docs/algorithms.md, D41).
        """
        if self.settings.clip_norm is None:
            return gradients
        scale = (self.settings.clip_norm / (norms.sum().sqrt() + 1e-6)).clamp(max=1.0).float()
        clipped = iter(fused.scaled([g for g in gradients if g is not None], scale))
        return [None if g is None else next(clipped) for g in gradients]

    def evaluate(self, data: Data, prefix: str, groups: Groups | None = None) -> dict[str, float]:
        """The metrics of `measure` by name: `<prefix>/error` and the like."""
        return self.measure(data, groups=groups).by_name(prefix)

    @torch.inference_mode()
    def measure(self, data: Data, answers: bool = False, groups: Groups | None = None) -> Measured:
        """Error, loss, confusion matrix over all examples, in eval mode.

        Args:
            answers: also what the model says of each example.
            groups: of the examples, whose errors are then measured separately.
        """
        was_training = {module: module.training for module in self.model.modules()}
        self.model.eval()
        tally = MetricAccumulator(self.device, answers, groups)
        with computing(self.settings):  # of a confirm run: the test comes after its epochs
            for batch in self._with_features(data).split(_EVALUATED):
                with self._autocast():
                    logits = self._logits(batch).float()
                tally.add(logits, batch.labels)
        for module, training in was_training.items():
            module.training = training
        return tally.measured()

    def _account(self, trace: EpochTrace) -> dict[str, float]:
        """The trace's summary, its cost in parameters, and its file."""
        self.moved = [was or now for was, now in zip(self.moved, trace.moved(), strict=True)]
        if self.trace_folder is not None:
            trace.write(self.trace_folder)
        metrics = trace.summary()
        if metrics and self.partition != self.layers:
            metrics = by_layer(metrics, self.partition, self.layers)
        metrics["cost/updated_params"] = trace.mean_moved(self.layer_sizes)
        metrics["train/skipped_steps"] = float(self.nonfinite.skipped)
        return metrics | self._required.metrics() | self.diagnostics.end_epoch()

    @property
    def updated_share(self) -> float:
        """The share of the model's parameters that moved at least once."""
        moved = sum(float(s) for s, m in zip(self.layer_sizes, self.moved, strict=True) if m)
        return moved / self.partition.size

    @property
    def is_over(self) -> bool:
        """Whether the trial has had its last epoch."""
        return self.settings.is_last(self.epoch, self.validated.best_epoch)

    def state_dict(self) -> dict[str, Any]:
        """The complete state of the trial."""
        return {
            "config": self.config.model_dump(mode="json"),
            "epoch": self.epoch,
            "step": self.step,
            "optimizer": self.optimizer.state_dict(),
            "strategy": self.strategy.state_dict(),
            "health": self.nonfinite.state_dict(),
            "diagnostics": self.diagnostics.state_dict(),
            "moved": self.moved,
            **self.validated.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.epoch, self.step = state["epoch"], state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.strategy.load_state_dict(state["strategy"])
        self.nonfinite.load_state_dict(state["health"])
        self.diagnostics.load_state_dict(state["diagnostics"])
        self.moved = list(state["moved"])
        self.validated.load_state_dict(state)

    def _random_numbers(self, purpose: int) -> AbstractContextManager[None]:
        return seeded(seed_of(self.config.seed, self.epoch, purpose), self.device)

    def _autocast(self) -> torch.autocast:
        reduced = self.settings.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=reduced)
