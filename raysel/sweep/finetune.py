"""`raysel finetune`: run only the first trial that a sweep would give a strategy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from raysel.common.locations import working_folder
from raysel.common.paths import FINE_TUNED
from raysel.models.adapters import merge_adapters
from raysel.record.layout import write_json
from raysel.spec import user_code
from raysel.spec.sweep import Spec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep import local_trial
from raysel.tasks.data import Task
from raysel.tasks.data_summary import DataSummary
from raysel.training import checkpoint
from raysel.training.worker_messages import FailureMessage

TRIAL = "0000"


@dataclass(frozen=True)
class FineTuned:
    """Result of a local trial.

    Attributes:
        folder: with its trace, and a `result.json`.
        rows: the metrics of each epoch, and `epoch` itself.
        failure: why it failed; None if it did not.
        best_epoch: by the sweep's objective; 0 where there is none.
        model: None after a failure.
        model_epoch: the epoch whose weights the model has, best or last as `confirm.epoch` has
            it; 0 after a failure.
        layers: in forward order.
        model_name: timm's, of the arm's model.
    """

    folder: Path
    config: TrialConfig
    label: str
    rows: tuple[dict[str, Any], ...]
    failure: str | None
    best_epoch: int
    model: nn.Module | None
    model_epoch: int
    task: Task
    layers: tuple[str, ...]
    model_name: str


def finetune(
    spec: Spec,
    strategy: str | None,
    step_limit: int | None,
    notify: local_trial.Notify,
    show: Callable[[dict[str, Any], int], None],
    opened: Callable[[DataSummary], None] | None = None,
) -> FineTuned:
    """Run the strategy's published setting on the sweep's task.

    Args:
        spec: a sweep that `raysel.search.validate` accepts.
        strategy: None takes the file's first one.
        step_limit: end after so many optimizer steps.
        notify: called with a line for each long step before the first epoch.
        show: called with each epoch's row and the number of epochs.
        opened: called with what was read, before pictures are decoded.

    Raises:
        UserError: the sweep has no such strategy.
        OperationalError: the disk is full, say.
    """
    spec, arm = local_trial.part_of(spec, strategy)
    inputs = local_trial.prepare_inputs(
        spec, user_code.read(spec.listed_code, Path()), notify, opened
    )
    first = local_trial.published(inputs.space, arm)
    folder = working_folder(spec.storage) / f"{spec.name}{FINE_TUNED}" / first.config.arm
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier call left
    keep_best = spec.confirm.epoch == "best"
    shared = replace(inputs.shared(folder), keep_best=keep_best)
    rows: list[dict[str, Any]] = []
    failure, best, model = None, 0, None
    for message, steps in local_trial.run(shared, TRIAL, first.config, step_limit):
        if isinstance(message, FailureMessage) or steps.tuning is None:
            failure = message.cause if isinstance(message, FailureMessage) else None
            model = None
            break
        rows.append({"epoch": message.epoch, **message.metrics})
        show(rows[-1], first.config.training.epochs)
        best, model = steps.tuning.validated.best_epoch, steps.tuning.model
    model_epoch = 0
    if model is not None:
        assert steps.tuning is not None
        steps.tuning.validated.load()
        merge_adapters(model)
        model_epoch = best if keep_best else steps.tuning.epoch
    checkpoint.InFolder(folder / "trials" / TRIAL).remove()
    label = first.config.label(first.searched)
    result = {"config": first.config.model_dump(mode="json"), "epochs": rows, "failure": failure}
    write_json(folder / "result.json", result | {"best_epoch": best, "model_epoch": model_epoch})
    return FineTuned(
        folder=folder,
        config=first.config,
        label=label,
        rows=tuple(rows),
        failure=failure,
        best_epoch=best,
        model=model,
        model_epoch=model_epoch,
        task=inputs.task,
        layers=inputs.layers.names,
        model_name=spec.model_name,
    )
