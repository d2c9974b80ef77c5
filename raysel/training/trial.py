"""One trial from its configuration to its last epoch: built, resumed from its checkpoint,
one epoch per call.

A process runs trials one after another: the model is built and the data are put on the
device once. Ray's actor (`raysel.engine.tune`) and a process without Ray
(`raysel.sweep.local_trial`) run the same lines.
"""

from __future__ import annotations

import gc
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from raysel.common.code_exits import as_exceptions
from raysel.common.disk_errors import of_the_disk
from raysel.common.object_store import Bucket
from raysel.models.build import ModelConfig, build
from raysel.models.layers import Partition
from raysel.models.weights import load_weights
from raysel.record.failure_kind import FailureKind
from raysel.spec import user_code
from raysel.spec.sweep import Diagnostic, ObjectiveSpec, TrialConfig
from raysel.tasks.data import Part
from raysel.tasks.shots import first_shots
from raysel.training import environment, failures
from raysel.training.batches import Data
from raysel.training.confusion import write_confusion
from raysel.training.image_batches import on_device
from raysel.training.loop import FineTuning, TrialData
from raysel.training.nonfinite import Diverged
from raysel.training.trial_files import TrialFiles, make_folder, sees
from raysel.training.worker_messages import (
    EnvironmentErrorMessage,
    EpochMessage,
    FailureMessage,
    WorkerMessage,
)

TEST_CURVE = "test_curve"
"""Before the metrics of `PhaseContext.test_every_epoch` (`test_curve/error`); nothing is chosen by
them."""

MACHINE = "machine.json"
"""In a trial's folder: the environments that it ran in."""


@dataclass(frozen=True)
class PhaseContext:
    """Inputs that all trials of a phase share; sent to a node once, through the object store.

    Attributes:
        weights: the initial weights; without the classifier where each trial draws its own.
        test: the test examples, in the confirm phase only.
        keep_best: test the best epoch by validation instead of the last.
        test_every_epoch: measure the test examples after every epoch too.
        threads: of torch; a trial's result depends on it.
        gpus: what a trial has of them: 0, 1, or a share of one.
        folder: the sweep's; a trial's own files are in `trials/<id>` below it.
        bucket: the sweep's, which has the checkpoints then, in `trials/<id>` as well.
        token: what is in the driver's folder (see `trial_files`); None where no other node
            runs trials.
        classes: their names, for the confusion matrix.
        code: the user's own files; their strategies are made known before a trial begins.
    """

    model_config: ModelConfig
    partition: Partition
    weights: dict[str, np.ndarray]
    train: Part
    validation: Part
    source: Part | None
    test: Part | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    objective: ObjectiveSpec
    keep_best: bool
    trace_every: int
    threads: int
    folder: Path
    gpus: float = 0
    classes: tuple[str, ...] = ()
    code: tuple[user_code.Source, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    bucket: Bucket | None = None
    token: str | None = None
    test_every_epoch: bool = False


@dataclass(frozen=True)
class _Prepared:
    """Objects that a process reuses from trial to trial."""

    model: nn.Module
    data: TrialData
    test: Data | None


class TrialRunner:
    """Runs the epochs of one trial after another.

    Attributes:
        run: the trial under way; None before its first epoch and after a failure.
        step_limit: end a trial after so many optimizer steps, for a quick look; None: at its
            last epoch.
    """

    def __init__(self, shared: PhaseContext, step_limit: int | None = None) -> None:
        self._shared = shared
        self._prepared: _Prepared | None = None
        self.run: FineTuning | None = None
        self.step_limit = step_limit
        self._away = not sees(shared.folder, shared.token)
        self._files: TrialFiles | None = None
        torch.set_num_threads(shared.threads)
        user_code.load(shared.code)

    def begin(self, trial: str, config: TrialConfig, reported_epochs: int = 0) -> None:
        """Begin a trial; nothing is built before its first epoch.

        Args:
            reported_epochs: number of its epochs in the record. Epochs of a checkpoint beyond
                them are reported first, one a call; its last epoch always.
        """
        if self._files is not None and self._shared.test is None:
            self._files.leave()  # of confirm runs one makes the best model
        self.trial = trial
        bucket = self._shared.bucket and self._shared.bucket.below(f"trials/{trial}")
        self._files = TrialFiles(self.folder, bucket, self._away)
        self._asked = self.config = config
        self.run = None
        self._rows: list[dict[str, Any]] = []
        self._reported_epochs, self._unreported = reported_epochs, deque[dict[str, Any]]()
        self._note: str | None = None
        self._halved_at: int | None = None
        self._halves = False

    @property
    def folder(self) -> Path:
        """The trial's own."""
        return self._shared.folder / "trials" / self.trial

    def epoch(self) -> WorkerMessage:
        """Run one epoch."""
        message = self._try_epoch()
        if message is None:
            self.halve()
            message = self._try_epoch()
        assert message is not None and self._files is not None  # it is halved once
        return replace(message, files=self._files.unsent_files())

    def _try_epoch(self) -> WorkerMessage | None:
        """Run one epoch; return None after an out-of-memory error if half the batch may fit."""
        try:
            with as_exceptions():
                return self._epoch()
        except Diverged as error:
            return self._failure(FailureKind.DIVERGED, f"diverged: {error}")
        except Exception as error:
            if cause := self._environment_error(error):
                self.run = None
                return EnvironmentErrorMessage(cause)
            whole = self.config == self._asked
            if whole and failures.is_out_of_memory(error) and failures.halved(self.config):
                return None  # the error's traceback holds the tensors: it has to go first
            return self._give_up(error)

    def _environment_error(self, error: Exception) -> str | None:
        """The storage failure behind the error: no fault of the trial's, which can continue
        from its checkpoint; None where it is the trial's own."""
        folder = self._shared.folder
        if self._folder_is_gone():
            return f"{folder} is not the folder any more in which the sweep began"
        return of_the_disk(error) or failures.of_the_folder(error, folder)

    def _folder_is_gone(self) -> bool:
        """Whether the driver's folder was visible here, and no longer is."""
        return not self._away and not sees(self._shared.folder, self._shared.token)

    def _give_up(self, error: Exception) -> FailureMessage:
        """A deterministic failure: reported, not tried again."""
        with suppress(OSError):
            (self.folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            if self._files is not None:
                self._files.upload()
        return self._failure(FailureKind.ERROR, f"{type(error).__name__}: {error}")

    def halve(self) -> None:
        """Continue from the last epoch with half the batch and twice the accumulation."""
        smaller = failures.halved(self._asked)
        assert smaller is not None
        epoch = self.run.epoch if self.run else 1
        self._note, self._halved_at = failures.halving(self._asked, smaller, epoch), epoch
        self.config, self.run, self._halves = smaller, None, True
        gc.collect()  # a trial refers to itself
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _failure(self, kind: FailureKind, cause: str) -> FailureMessage:
        epoch = self.run.epoch if self.run else 0
        self.run = None
        return FailureMessage(epoch, kind, cause[:2000])

    def _epoch(self) -> EpochMessage:
        if self._folder_is_gone():
            raise FileNotFoundError(self._shared.folder)  # nothing is written beside it
        make_folder(self._shared.folder, self.trial, self._away or self._shared.token is None)
        if self.run is None:
            rows = self._start()
            # the checkpoint's epoch may not have been reported yet; before a halving it was
            if not self._halves:
                self._unreported.extend(rows)
        if self._unreported:
            return EpochMessage(**self._unreported.popleft())
        self._halves = False
        assert self.run is not None
        result = self.run.run_epoch()
        metrics = result.metrics | self._curve()
        if result.epoch == self.config.training.epochs:
            metrics |= self._test()
        message = EpochMessage(result.epoch, metrics, self._note, self._halved_at)
        self._halved_at = None
        self._rows.append(message.to_dict())
        state = {**self.run.state_dict(), "rows": self._rows}
        assert self._files is not None
        self._note = self._files.keep(state)  # reported with the next epoch
        return message

    def _start(self) -> list[dict[str, Any]]:
        """Build the trial; return the rows of its checkpoint that are to be reported."""
        shared = self._shared
        prepared = self._prepared or self._prepare()
        self._prepared = prepared
        self._load_initial_weights(prepared.model)
        assert self._files is not None
        state, damage = self._files.checkpoints.newest()
        state = self._own(state)
        if damage:
            epoch = state["epoch"] if state else 0
            continues = f"{damage}; continues from epoch {epoch}"
            self._note = f"{self._note}; {continues}" if self._note else continues
        data = self._data(prepared.data)
        environment.note(self.folder / MACHINE, data.train.labels.device)
        self.run = FineTuning(
            self.config,
            prepared.model,
            shared.partition,
            data,
            objective=shared.objective,
            keep_best=shared.keep_best,
            trace=self.folder / "trace",
            trace_every=shared.trace_every,
            diagnostics=shared.diagnostics,
            fresh_head=not set(shared.partition.head) <= set(shared.weights),
            step_limit=self.step_limit,
        )
        self._rows = []
        if state is None:
            return []
        self.run.load_state_dict(state)
        self._rows = list(state["rows"])
        *earlier, last = self._rows
        # the notes of earlier epochs were reported then
        unknown = [r for r in earlier if r["epoch"] > self._reported_epochs]
        plain = [{name: row[name] for name in ("epoch", "metrics")} for row in unknown]
        return [*plain, dict(last)]

    def _data(self, data: TrialData) -> TrialData:
        """The trial's data: of the training part no more than its shots."""
        shots = self.config.training.shots
        if shots is None:
            return data
        chosen = first_shots(data.train.labels.cpu().numpy(), shots)
        return replace(data, train=data.train.only(torch.from_numpy(chosen)))

    def _own(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """The checkpoint if it belongs to this trial, also after its batch was halved."""
        if state is None:
            return None
        if state["config"] == self._asked.model_dump(mode="json"):
            return state
        smaller = failures.halved(self._asked)
        if smaller is not None and state["config"] == smaller.model_dump(mode="json"):
            self.config = smaller  # once halved, it stays so
            return state
        return None

    def _prepare(self) -> _Prepared:
        shared = self._shared
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        parts = [
            None if part is None else on_device(part, shared.mean, shared.std, device)
            for part in (shared.train, shared.validation, shared.source, shared.test)
        ]
        train, validation, source, test = parts
        assert train is not None and validation is not None
        model = build(shared.model_config, self.config.seed)
        return _Prepared(model.to(device), TrialData(train, validation, source), test)

    def _load_initial_weights(self, model: nn.Module) -> None:
        """The initial weights; a head that they lack is drawn from the trial's seed."""
        shared = self._shared
        state = {name: torch.tensor(array) for name, array in shared.weights.items()}
        if not set(shared.partition.head) <= set(state):
            fresh = build(shared.model_config, self.config.seed)
            load_weights(fresh, state)
            state = fresh.state_dict()
        model.load_state_dict(state)

    def _curve(self) -> dict[str, float]:
        """The test metrics of this epoch, where the whole curve is asked for."""
        assert self.run is not None and self._prepared is not None
        test = self._prepared.test
        if test is None or not self._shared.test_every_epoch:
            return {}
        return self.run.evaluate(test, TEST_CURVE)

    def _test(self) -> dict[str, float]:
        """Test metrics of the chosen epoch, where this phase may read the test split."""
        assert self.run is not None and self._prepared is not None
        run, test = self.run, self._prepared.test
        if test is None:
            return {}
        chosen = run.epoch
        if self._shared.keep_best:
            run.load_best()
            chosen = run.best_epoch
        measured = run.measure(test)
        matrix = measured.confusion.tolist()
        names = self._shared.classes or tuple(map(str, range(len(matrix))))
        write_confusion(self.folder, matrix, names)
        return {
            **measured.by_name("test"),
            "confirm/epoch": float(chosen),
            "confirm/updated_share": run.updated_share,
        }
