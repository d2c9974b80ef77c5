"""The best model of a sweep, made at its end from the winner's best confirm run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raysel.common.errors import OperationalError
from raysel.common.user_files import MIB, read_regular
from raysel.export.card_sections import sections
from raysel.export.check import FILE as EXPECTED_OUTPUTS
from raysel.export.check import expected_outputs, load_expected_outputs
from raysel.export.kept_model import examine
from raysel.export.timm_layout import CONFIG, model_origin, write_model
from raysel.models.adapters import merge_adapters
from raysel.models.build import build
from raysel.sweep.local_trial import Notify
from raysel.sweep.outcome import Outcome
from raysel.sweep.ranking import best_run
from raysel.sweep.reproduce import Reproduction, compared, run_again
from raysel.sweep.views import SweepView, read_sweep
from raysel.training.worker_messages import EpochMessage, FailureMessage


def save_best(outcome: Outcome) -> Path | None:
    """Write the best model of a finished sweep into its folder.

    A sweep that is summed up again keeps the model that it has. Where that is damaged, or the
    sweep was extended and the winner is now one whose weights went with an earlier end, its run is
    made again.

    Returns:
        `<sweep>/best`; None if the sweep has no confirmed winner, or its weights are gone.
    """
    winner = outcome.results.winner
    if winner is None:
        return None
    run = best_run(winner.runs, outcome.results.objective.metric)
    target = outcome.folder.best
    state = outcome.checkpoint(run.id)
    of_run = {"sweep": outcome.results.sweep_id, "run": run.id}
    inputs = outcome.inputs.of_arm(winner.strategy)
    if state is None or inputs.weights is None:
        if origin_of(target) == of_run and _is_whole(target):
            return target
        model = _again(outcome, run.id) if outcome.complete else None
    else:
        began = (inputs.weights, *inputs.more_weights)
        arrays = began[state["config"].get("source_seed", 0)]
        initial = {name: torch.tensor(array) for name, array in arrays.items()}
        model = build(inputs.model_config, run.seed, weights=initial)
        model.load_state_dict(state["best"][2] or state["model"], strict=False)
        merge_adapters(model)
    if model is None:
        return None
    outputs = expected_outputs(model, inputs.task)
    of_the_sweep = sections(outcome.results, winner, run, outcome.folder.trial(run.id))
    config, task = inputs.model_config, inputs.task
    where = model_origin(outcome.results.sweep_id, run.id, config.adapter)
    write_model(model, config.name, task, where, target, of_the_sweep)
    outputs.save(target)
    return target


def _is_whole(folder: Path) -> bool:
    """Whether a kept model and what it answered, where that was kept, can both be used."""
    if (folder / EXPECTED_OUTPUTS).exists():
        try:
            load_expected_outputs(folder)
        except OperationalError:
            return False
    return examine(folder).problem is None


def origin_of(folder: Path) -> Any:
    """Of which `sweep` and `run` the model in a folder is; None where there is none."""
    try:
        origin = json.loads(read_regular(folder / CONFIG, MIB))["raysel"]
        return {key: origin[key] for key in ("sweep", "run")}
    except Exception:  # none, or damaged
        return None


def _again(outcome: Outcome, name: str) -> nn.Module | None:
    view = read_sweep(str(outcome.folder.root), outcome.folder.name)
    model, again = trained_again(view, name, lambda _: None)
    return model if again.succeeded else None


def trained_again(
    view: SweepView, name: str, notify: Notify
) -> tuple[nn.Module | None, Reproduction]:
    """A confirm run once more, for its weights: those of its chosen epoch, as it was tested."""
    trial = view.trial(name)
    messages: list[EpochMessage | FailureMessage] = []
    model: nn.Module | None = None
    with tempfile.TemporaryDirectory(prefix="raysel-again-") as scratch:
        for message, steps in run_again(view, trial, notify, Path(scratch)):
            messages.append(message)
            model = steps.tuning.model if steps.tuning else None
    if model is not None:
        merge_adapters(model)
    return model, compared(view, trial, messages)
