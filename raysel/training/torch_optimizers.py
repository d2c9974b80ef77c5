"""`LayerwiseSGD` and `LayerwiseAdamW`: a layer-selection strategy in a PyTorch loop of one's own.

They are optimizers like those of `torch.optim`: `zero_grad`, `backward`, `step`; learning-rate
schedulers and `state_dict` work as usual. At each step the strategy decides with what weight
w_l >= 0 each layer l moves, and layer l moves with the learning rate lr * w_l. The updates are,
bit for bit, those of raysel's own training loop (`raysel.training.loop`) for the same gradients.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from raysel.common.errors import Problem, UserError, user_error
from raysel.models.layers import Partition
from raysel.models.norms import squared_norms
from raysel.models.partition import partition as partition_of_model
from raysel.spec.reader import explain
from raysel.spec.training import TrainingSettings, TrainingSpec
from raysel.strategies.base import Decision, Domain, Step, Strategy
from raysel.strategies.registry import checked_values, strategy_named
from raysel.training.batches import Batch, seed_of, seeded
from raysel.training.loop import _PROBE
from raysel.training.nonfinite import NonfiniteCounter
from raysel.training.optimizer import OPTIMIZERS
from raysel.training.probe import TrialProbe
from raysel.training.required_gradients import RequiredGradients

Examples = tuple[Tensor, Tensor]
"""Images [n, c, h, w] as the model takes them, and labels [n]."""

FineTune = Callable[[nn.Module, int], None]
"""Trains a model in place for some epochs, every layer of it."""

_ASKED_BEFORE_AN_EPOCH = ("prepare", "epoch_start", "active", "active_parameters")


class _StrategyOptimizer(torch.optim.Optimizer):
    """What the two share.

    Attributes:
        partition: the layers that the strategy works on.
        strategy: the strategy itself.
        decision: what it decided at the last step; None before the first one.
        steps: how many steps were taken.
    """

    def __init__(
        self,
        model: nn.Module,
        strategy: str,
        settings: TrainingSettings,
        parameters: Mapping[str, Any] | None,
        partition: Partition | str | Sequence[str],
        seed: int,
        fresh_head: bool,
    ) -> None:
        layers = _layers_of(model, partition)
        kind = strategy_named(strategy)
        values = checked_values(kind, parameters or {}, layers.names)
        if wrong := kind.problem(layers):
            raise user_error("strategy", wrong)
        self.partition = kind.refine(layers)
        self.strategy = kind(self.partition, values)
        self.decision: Decision | None = None
        self.steps = 0
        self._model, self._seed, self._fresh_head = model, seed, fresh_head
        self._momentum = settings.momentum
        self._required = RequiredGradients(model, self.strategy, seed)
        names = self._required.only(self.strategy.trainable_parameters())
        owned = dict(model.named_parameters())
        self._parameters = [owned[name] for name in names]
        layer_of = self.partition.layer_of
        self._layers = OPTIMIZERS[settings.optimizer](
            self._parameters, [layer_of[name] for name in names], settings
        )
        self._device = self._parameters[0].device
        self._layer_of = torch.tensor(self._layers.layer_of, device=self._device)
        self._nonfinite = NonfiniteCounter(self._device)
        self._prepared = False
        # a strategy that decides step by step alone is not asked before an epoch
        self._epoch_begun = not _is_asked_before_an_epoch(kind)
        super().__init__(
            [{"params": list(zip(names, self._parameters, strict=True))}],
            {"lr": settings.learning_rate},
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Only the model's parameters, in one group: the strategy sets each layer's share of lr.

        Raises:
            ValueError: there is a group already.
        """
        if self.param_groups:
            raise ValueError("one group of parameters alone: the strategy weighs lr layer by layer")
        super().add_param_group(param_group)

    @property
    def layer_weights(self) -> dict[str, float]:
        """The weight with which each layer moved at the last step; empty before the first one."""
        if self.decision is None:
            return {}
        return dict(zip(self.partition.names, self.decision.weights.tolist(), strict=True))

    @property
    def skipped_steps(self) -> int:
        """Steps that moved nothing, for a gradient was not finite."""
        return self._nonfinite.skipped

    def start_epoch(
        self,
        epoch: int,
        epochs: int,
        *,
        target: Examples | None = None,
        source: Examples | None = None,
        batch_size: int = 32,
        fine_tune: FineTune | None = None,
    ) -> None:
        """Let the strategy decide what it decides before an epoch.

        Needed by strategies that follow a schedule (`gradual_unfreeze`, `lp_ft`) or measure the
        model between epochs (`auto_rgn`, `surprise`); others do without it.

        Args:
            epoch: counts from 1.
            epochs: how many there will be.
            target: examples of the training data, for strategies that measure them.
            source: examples of what the model was pretrained on, for those that compare.
            batch_size: of the batches in which these are measured.
            fine_tune: for the strategies that measure a copy of the model after some epochs.

        Raises:
            UserError: the strategy asks for something that was not given.
        """
        if not 1 <= epoch <= epochs:
            raise user_error("start_epoch", f"epoch {epoch} of {epochs}: epochs count from 1")
        probe = _LoopProbe(self, _batch(target), _batch(source), batch_size, fine_tune)
        probe.epoch = epoch
        with self._random_numbers(epoch):
            if not self._prepared:
                self.strategy.prepare(probe)
                self._prepared = True
            self.strategy.epoch_start(epoch, epochs, probe)
        self._required.only(self.strategy.active_parameters(epoch, epochs))
        self._required.before_step(self.steps + 1)
        self._epoch_begun = True

    def _random_numbers(self, epoch: int) -> AbstractContextManager[None]:
        return seeded(seed_of(self._seed, epoch, _PROBE), self._device)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Let the strategy choose, and move what it chose.

        Args:
            closure: computes the loss and its gradients again; `step` returns its result.

        Raises:
            UserError: the strategy decides before each epoch, and `start_epoch` was not called.
            Diverged: the gradients were not finite for 10 steps in a row.
        """
        if not self._epoch_begun:
            name = self.strategy.name
            message = f"{name} decides before each epoch: call start_epoch(epoch, epochs, …) first"
            raise user_error("step", message)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self._update()
        self._required.before_step(self.steps + 1)
        return loss

    def _update(self) -> None:
        gradients = [parameter.grad for parameter in self._parameters]
        norms = squared_norms(gradients, self._device)
        finite = self._nonfinite.is_finite(norms.new_zeros(()), norms)
        self.steps += 1
        if finite is False:
            return
        flag = finite if isinstance(finite, Tensor) else None
        self._layers.advance(gradients, flag)
        step = Step(
            number=self.steps,
            parameters=self._parameters,
            gradients=gradients,
            squared_norms=norms,
            layer_of=self._layer_of,
            layer_count=len(self.partition),
            momentum_buffers=self._layers.momentum_buffers,
            momentum=self._momentum,
            finite=flag,
            seed=self._seed,
        )
        self.decision = self.strategy.decide(step)
        self._layers.apply(self.decision.weights, float(self.param_groups[0]["lr"]), flag)

    def state_dict(self) -> dict[str, Any]:
        """The state of optimizer and strategy, as tensors and plain values."""
        return super().state_dict() | {
            "layerwise": {
                "strategy": self.strategy.name,
                "layers": list(self.partition.names),
                "steps": self.steps,
                "prepared": self._prepared,
                "optimizer": self._layers.state_dict(),
                "learnt": self.strategy.state_dict(),
                "health": self._nonfinite.state_dict(),
            }
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; the model's own state is loaded apart.

        A strategy that decides before each epoch needs `start_epoch` before the next step.

        Raises:
            UserError: it is the state of another strategy, or of a model with other layers.
        """
        state = state_dict.get("layerwise") or {}
        mine = {"strategy": self.strategy.name, "layers": list(self.partition.names)}
        for key, value in mine.items():
            if state.get(key) != value:
                message = f"its {key} is {state.get(key)}, this optimizer's is {value}"
                raise user_error("load_state_dict", message)
        super().load_state_dict({key: state_dict[key] for key in ("state", "param_groups")})
        self.steps, self._prepared = state["steps"], state["prepared"]
        self._layers.load_state_dict(state["optimizer"])
        self.strategy.load_state_dict(copy.deepcopy(state["learnt"]))
        self._nonfinite.load_state_dict(state["health"])
        self._required.before_step(self.steps + 1)
        self._epoch_begun = not _is_asked_before_an_epoch(type(self.strategy))


class LayerwiseSGD(_StrategyOptimizer):
    """SGD with Nesterov momentum whose layers move as a strategy decides.

    Args:
        model: on its device; parameters that the strategy never moves are frozen.
        strategy: its name, as `raysel strategies` lists them.
        lr: the learning rate of a layer of weight 1; schedulers change it as usual.
        momentum: of every layer, moved or not.
        weight_decay: L2 decay, which goes into the gradient.
        parameters: the strategy's own, by name; the paper's values for what is not given.
        partition: the layers; `coarse`, `fine`, `delimiter`, name patterns, or a `Partition`.
        seed: for strategies that draw.
        fresh_head: whether the classifier has new random weights.

    Raises:
        UserError: a name is unknown or a value is not accepted.
    """

    def __init__(
        self,
        model: nn.Module,
        strategy: str = "bvg_ls",
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        parameters: Mapping[str, Any] | None = None,
        partition: Partition | str | Sequence[str] = "coarse",
        seed: int = 0,
        fresh_head: bool = False,
    ) -> None:
        given = {"learning_rate": lr, "momentum": momentum, "weight_decay": weight_decay}
        settings = _settings({"optimizer": "sgd", **given})
        super().__init__(model, strategy, settings, parameters, partition, seed, fresh_head)


class LayerwiseAdamW(_StrategyOptimizer):
    """AdamW (betas 0.9 and 0.999, eps 1e-8) whose layers move as a strategy decides.

    Args:
        weight_decay: decoupled; it falls on a layer only when it moves.

    The other arguments and errors are those of `LayerwiseSGD`.
    """

    def __init__(
        self,
        model: nn.Module,
        strategy: str = "bvg_ls",
        *,
        lr: float,
        weight_decay: float = 0.01,
        parameters: Mapping[str, Any] | None = None,
        partition: Partition | str | Sequence[str] = "coarse",
        seed: int = 0,
        fresh_head: bool = False,
    ) -> None:
        given = {"learning_rate": lr, "weight_decay": weight_decay}
        settings = _settings({"optimizer": "adamw", **given})
        super().__init__(model, strategy, settings, parameters, partition, seed, fresh_head)


class _LoopProbe(TrialProbe):
    """A probe over what the caller has given; what is missing is one clear error."""

    def __init__(
        self,
        optimizer: _StrategyOptimizer,
        target: Batch | None,
        source: Batch | None,
        batch_size: int,
        fine_tune: FineTune | None,
    ) -> None:
        model, layers, fresh = optimizer._model, optimizer.partition, optimizer._fresh_head
        seed = optimizer._seed
        super().__init__(model, layers, target, source, batch_size, fresh, fine_tune, seed)
        self._name = optimizer.strategy.name

    def batches(self, domain: Domain, count: int | None = None) -> Sequence[Batch]:
        """The first `count` batches of the domain.

        Raises:
            UserError: no examples of it were given.
        """
        if self._examples[domain] is None:
            self._refuse(f"measures {domain} examples", f"{domain}=(images, labels)")
        return super().batches(domain, count)

    @contextmanager
    def fine_tuned(self, epochs: int) -> Iterator[nn.Module]:
        """A copy that `fine_tune` has trained.

        Raises:
            UserError: no `fine_tune` was given.
        """
        if epochs and self._fine_tune is None:
            self._refuse("measures a fine-tuned copy", "fine_tune=function(model, epochs)")
        with super().fine_tuned(epochs) as scratch:
            yield scratch

    def _refuse(self, does: str, argument: str) -> None:
        raise user_error("start_epoch", f"{self._name} {does}: give start_epoch(…, {argument})")


def _layers_of(model: nn.Module, given: Partition | str | Sequence[str]) -> Partition:
    """The model's layers.

    Raises:
        UserError: it cannot be cut so, or the partition is of another model.
    """
    layers = given if isinstance(given, Partition) else partition_of_model(model, given)
    known, owned = set(layers.layer_of), {name for name, _ in model.named_parameters()}
    if missing := sorted(owned - known):
        why = f'the model\'s parameter "{missing[0]}" is in none of its layers'
    elif unknown := sorted(known - owned):
        why = f'the model has no parameter "{unknown[0]}"'
    else:
        return layers
    raise user_error("partition", f"is of another model: {why}; raysel.partition makes this one's")


def _settings(given: Mapping[str, Any]) -> TrainingSettings:
    try:
        defaults = TrainingSpec().model_dump(include=set(TrainingSettings.model_fields))
        return TrainingSettings.model_validate(defaults | dict(given))
    except ValidationError as error:
        names = {"learning_rate": "lr"}
        problems = [(str(detail["loc"][0]), explain(detail)) for detail in error.errors()]
        raise UserError(*(Problem(names.get(k, k), words) for k, words in problems)) from None


def _batch(given: Examples | None) -> Batch | None:
    return None if given is None else Batch(*given)


def _is_asked_before_an_epoch(kind: type[Strategy]) -> bool:
    """Whether a strategy does more than decide at each step."""
    return any(getattr(kind, n) is not getattr(Strategy, n) for n in _ASKED_BEFORE_AN_EPOCH)
