"""One trial as Ray runs it: an epoch a step.

The actor outlives its trial: torch and timm are imported and the model is built once a
worker. A trial's own failure is an answer and not an exception, for Ray would try a
deterministic error again and again; only what befalls the worker itself (a lost node, the
out-of-memory killer) reaches Ray, which starts the trial anew, and the trial goes on from
its checkpoint.
"""

from __future__ import annotations

import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import tune
from torch import nn

from raysel import user_code
from raysel.models.build import Blueprint, build
from raysel.models.layers import Partition
from raysel.models.weights import load_weights
from raysel.spec import Diagnostic, ObjectiveSpec, TrialConfig
from raysel.sweep import troubles
from raysel.tasks.data import Examples
from raysel.training import checkpoint
from raysel.training.batches import Batch, to_device
from raysel.training.health import Diverged
from raysel.training.loop import FineTuning, TrialData


@dataclass(frozen=True)
class Shared:
    """What all trials of a phase share; it reaches a node once, through the object store.

    Attributes:
        weights: the initial weights; empty for timm's own pretrained ones.
        test: the test examples, in the confirm phase only.
        keep_best: test the best epoch by validation and not the last.
        threads: of torch; a trial's result depends on it.
        code: the user's own files; their strategies are made known before a trial begins.
    """

    blueprint: Blueprint
    partition: Partition
    weights: dict[str, np.ndarray]
    train: Examples
    validation: Examples
    source: Examples | None
    test: Examples | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    objective: ObjectiveSpec
    keep_best: bool
    trace_every: int
    threads: int
    folder: Path
    code: tuple[user_code.Source, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class _Prepared:
    """What an actor keeps from trial to trial."""

    model: nn.Module
    data: TrialData
    test: Batch | None


class TrialRunner(tune.Trainable):
    """Runs trials one after another in one process.

    The configuration is `{"trial": id, "config": TrialConfig as a dict}`; a row is
    `{"epoch", "metrics"}` with a `note` where something befell it, `{"epoch", "failure"}` where
    the trial has failed, `{"epoch", "trouble"}` where the whole sweep cannot go on.
    """

    def setup(self, config: dict[str, Any], shared: Shared) -> None:
        """Remember what is shared; nothing is built before the first step."""
        self._shared = shared
        self._prepared: _Prepared | None = None
        torch.set_num_threads(shared.threads)
        user_code.load(shared.code)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._trial = config["trial"]
        self._asked = self._config = TrialConfig.model_validate(config["config"])
        self._run: FineTuning | None = None
        self._note: str | None = None

    def step(self) -> dict[str, Any]:
        """One epoch."""
        try:
            return self._step()
        except Diverged as error:
            return self._failure(f"diverged: {error}")
        except Exception as error:
            if trouble := troubles.of_the_disk(error):
                self._run = None
                return {"epoch": 0, "trouble": trouble}
            smaller = troubles.halved(self._config) if troubles.is_out_of_memory(error) else None
            if smaller is not None and self._config == self._asked:
                return self._try_again(smaller)
            return self._give_up(error)

    def _give_up(self, error: Exception) -> dict[str, Any]:
        """A deterministic failure: told, not tried again."""
        with suppress(OSError):
            (self._folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return self._failure(f"{type(error).__name__}: {error}")

    def _try_again(self, smaller: TrialConfig) -> dict[str, Any]:
        """Once, with half the batch; the same examples make an update."""
        settings = smaller.training
        self._note = (
            f"out of memory at batch {self._asked.training.batch_size}; again with "
            f"{settings.batch_size} × {settings.accumulate}"
        )
        self._config, self._run = smaller, None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.step()

    def _failure(self, cause: str) -> dict[str, Any]:
        epoch = self._run.epoch if self._run else 0
        self._run = None
        return {"epoch": epoch, "failure": cause[:2000]}

    def _step(self) -> dict[str, Any]:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._run is None:
            told = self._start()
            if told is not None:  # a checkpoint whose epoch may not have been told yet
                return told
        assert self._run is not None
        result = self._run.run_epoch()
        row: dict[str, Any] = {"epoch": result.epoch, "metrics": result.metrics}
        if self._note:
            row["note"], self._note = self._note, None
        if result.epoch == self._config.training.epochs:
            row["metrics"] |= self._test()
        checkpoint.save(self._folder, {**self._run.state_dict(), "row": row})
        return row

    def _start(self) -> dict[str, Any] | None:
        """Build the trial; the last row of its checkpoint, if it has one."""
        shared = self._shared
        prepared = self._prepared or self._prepare()
        self._prepared = prepared
        self._fill(prepared.model)
        state, damage = checkpoint.newest(self._folder)
        state = self._own(state)
        if damage:
            epoch = state["row"]["epoch"] if state else 0
            self._note = f"{damage}; goes on from epoch {epoch}"
        self._run = FineTuning(
            self._config,
            prepared.model,
            shared.partition,
            prepared.data,
            objective=shared.objective,
            keep_best=shared.keep_best,
            trace=self._folder / "trace",
            trace_every=shared.trace_every,
            diagnostics=shared.diagnostics,
            fresh_head=not set(shared.partition.head) <= set(shared.weights),
        )
        if state is None:
            return None
        self._run.load_state_dict(state)
        return dict(state["row"])

    def _own(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """The checkpoint if it is of this trial, be it with the batch that was halved."""
        if state is None:
            return None
        for config in (self._config, troubles.halved(self._asked)):
            if config is not None and state["config"] == config.model_dump(mode="json"):
                self._config = config
                return state
        return None

    def _prepare(self) -> _Prepared:
        shared = self._shared
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        parts = [
            None if part is None else to_device(part, shared.mean, shared.std, device)
            for part in (shared.train, shared.validation, shared.source, shared.test)
        ]
        train, validation, source, test = parts
        assert train is not None and validation is not None
        model = build(shared.blueprint, self._config.seed, pretrained=not shared.weights)
        return _Prepared(model.to(device), TrialData(train, validation, source), test)

    def _fill(self, model: nn.Module) -> None:
        """The initial weights; a head that they lack is drawn from the trial's seed."""
        shared = self._shared
        state = {name: torch.tensor(array) for name, array in shared.weights.items()}
        if not set(shared.partition.head) <= set(state):
            fresh = build(shared.blueprint, self._config.seed, pretrained=not state)
            if state:
                load_weights(fresh, state)
            state = fresh.state_dict()
        model.load_state_dict(state)

    def _test(self) -> dict[str, float]:
        """Test metrics of the chosen epoch, where this phase may read the test split."""
        assert self._run is not None and self._prepared is not None
        run, test = self._run, self._prepared.test
        if test is None:
            return {}
        chosen = run.epoch
        if self._shared.keep_best:
            run.load_best()
            chosen = run.best_epoch
        return {
            **run.evaluate(test, "test"),
            "confirm/epoch": float(chosen),
            "confirm/updated_share": run.updated_share,
        }

    @property
    def _folder(self) -> Path:
        return self._shared.folder / "trials" / self._trial

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial keeps its own checkpoint, by its own id."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: `_start` finds the trial's own checkpoint."""

    def log_result(self, result: dict[str, Any]) -> None:
        """Nothing: the record is the log."""
