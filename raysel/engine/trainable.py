"""One trial as Ray runs it: an epoch a step.

The actor outlives its trial: torch and timm are imported and the model is built once a
worker. A trial's own failure is a result and not an exception, because Ray would retry a
deterministic error again and again; only failures of the worker itself (a lost node, the
out-of-memory killer) reach Ray, which restarts the trial, and the trial continues from
its checkpoint.
"""

from __future__ import annotations

import raysel.engine.ray_env  # noqa: F401

from typing import Any

from ray import tune

from raysel.spec.sweep import TrialConfig
from raysel.training.gpu_share import keep_to_share
from raysel.training.trial import PhaseContext, TrialRunner

MESSAGE = "message"
"""The key of a worker's message in Tune's result."""


class TrialTrainable(tune.Trainable):
    """Runs trials one after another in one process.

    The configuration is `{"trial": id, "config": TrialConfig as a dict, "reported_epochs": number
    of epochs in the record}`; a result is `{MESSAGE: a worker's message}`.
    """

    def setup(self, config: dict[str, Any], shared: PhaseContext) -> None:
        """Remember what is shared; nothing is built before the first step."""
        keep_to_share(shared.gpus)
        self._steps = TrialRunner(shared)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        asked = TrialConfig.model_validate(config["config"])
        self._steps.begin(config["trial"], asked, config["reported_epochs"])

    def step(self) -> dict[str, Any]:
        """One epoch."""
        return {MESSAGE: self._steps.epoch()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial keeps its own checkpoint, by its own id."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: `TrialRunner` finds the trial's own checkpoint."""

    def log_result(self, result: dict[str, Any]) -> None:
        """Nothing: the record is the log."""
