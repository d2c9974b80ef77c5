"""The best model of a sweep, made at its end from the winner's best confirm run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from raysel.export.check import answers
from raysel.export.layout import write_model
from raysel.models.build import build
from raysel.sweep.session import Outcome
from raysel.training import checkpoint


def best_run(results: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The winner's confirm run with the lowest validation error; None without a winner.

    Ties go to the lower validation loss, then to the earlier seed.
    """
    winner = results["verdict"]["winner"]
    entry = next((e for e in results["confirm"] if e["strategy"] == winner), None)
    if entry is None:
        return None
    best: Mapping[str, Any] = min(entry["runs"], key=lambda r: (r["val/error"], r["val/loss"]))
    return best


def save_best(outcome: Outcome) -> Path | None:
    """Write the best model of a finished sweep into its folder.

    Returns:
        `<sweep>/best`; None if the sweep has no confirmed winner or its weights are gone
        (a sweep that is summed up again keeps the model that it has).
    """
    run = best_run(outcome.results)
    if run is None:
        return None
    target = outcome.folder.best
    try:
        state = checkpoint.load(outcome.folder.trial(run["id"]))
    except checkpoint.DamagedCheckpoint:
        state = None
    if state is None:
        return target if target.is_dir() else None
    model = build(outcome.blueprint, run["seed"], pretrained=not outcome.weights)
    initial = {name: torch.tensor(array) for name, array in outcome.weights.items()}
    model.load_state_dict(initial, strict=False)
    model.load_state_dict(state["best"][2] or state["model"], strict=False)
    origin = {"sweep": outcome.results["sweep_id"], "run": run["id"]}
    answered = answers(model, outcome.task)
    write_model(model, outcome.blueprint.name, outcome.task, origin, target)
    answered.save(target)
    return target
