"""One trial from its configuration to its last epoch: built, resumed from its checkpoint,
one epoch per call.

Ray's actor (`raysel.engine.tune`) and a process without Ray (`raysel.sweep.local_trial`) run the
same lines.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from raysel.common.code_exits import as_exceptions
from raysel.common.disk_errors import of_the_disk
from raysel.record.failure_kind import FailureKind
from raysel.spec.trial_config import TrialConfig
from raysel.tasks.groups import Groups
from raysel.training import environment, failures
from raysel.training.answers import write_answers
from raysel.training.compiled import of_the_compiler
from raysel.training.confusion import write_confusion
from raysel.training.forgetting import measure_forgetting
from raysel.training.loop import FineTuning
from raysel.training.nonfinite import Diverged
from raysel.training.peak_memory import peak_bytes, reset_peak
from raysel.training.trial_files import make_folder
from raysel.training.trial_worker import TrialWorker
from raysel.training.worker_messages import (
    EnvironmentErrorMessage,
    EpochMessage,
    FailureMessage,
    WorkerMessage,
)

TEST_CURVE = "test_curve"
"""Before the metrics of `PhaseContext.test_every_epoch` (`test_curve/error`); nothing is chosen by
them."""

GROUP_ERROR = "test/group_error/"
"""Before the name of a group: its test error."""

PEAK_MEMORY = "cost/peak_memory_bytes"
"""The most bytes of tensors that a confirm run held (`peak_memory`)."""

MACHINE = "machine.json"
"""In a trial's folder: the environments that it ran in."""


CHECKPOINT_SECONDS = 10.0
"""The shortest time between two checkpoints of a trial, whose last epoch always has one: of a trial
with epochs of less than a second they were a fifth of the time."""


class TrialRun:
    """Runs the epochs of one trial; nothing is built before the first one.

    Args:
        trial: its id.
        asked: its configuration.
        reported_epochs: number of its epochs in the record. Epochs of a checkpoint beyond
            them are reported first, one a call; its last epoch always.

    Attributes:
        config: its configuration, with half the batch once that was too large.
        tuning: the fine-tuning under way; None before the first epoch and after a failure.
    """

    def __init__(
        self, worker: TrialWorker, trial: str, asked: TrialConfig, reported_epochs: int = 0
    ) -> None:
        worker.take(asked)
        self.trial, self.config = trial, asked
        self.tuning: FineTuning | None = None
        self._worker, self._shared, self._asked = worker, worker.shared, asked
        self._files = worker.files_of(trial)
        self.folder = self._files.folder
        self._rows: list[dict[str, Any]] = []
        self._reported_epochs, self._unreported = reported_epochs, deque[dict[str, Any]]()
        self._note: str | None = None
        self._halved_at: int | None = None
        self._halves = False
        self._checkpoint_epoch, self._checkpoint_at = 0, time.monotonic()

    def epoch(self) -> WorkerMessage:
        """Run one epoch."""
        message = self._try_epoch()
        if message is None:
            self.halve()
            message = self._try_epoch()
        assert message is not None  # it is halved once
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
                self.tuning = None
                return EnvironmentErrorMessage(cause)
            whole = self.config == self._asked
            if whole and failures.is_out_of_memory(error) and failures.halved(self.config):
                return None  # the error's traceback holds the tensors: it has to go first
            return self._give_up(error)

    def _environment_error(self, error: Exception) -> str | None:
        """The failure of the storage, or the missing compiler, behind the error: no fault of the
        trial's, which can continue from its checkpoint; None where it is the trial's own."""
        folder = self._shared.folder
        if self._worker.lost_sight:
            return f"{folder} is not the folder any more in which the sweep began"
        of_a_file = of_the_disk(error) or failures.of_the_folder(error, folder)
        return of_a_file or of_the_compiler(error)

    def _give_up(self, error: Exception) -> FailureMessage:
        """A deterministic failure: reported, not tried again."""
        with suppress(OSError):
            (self.folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            self._files.upload()
        return self._failure(FailureKind.ERROR, f"{type(error).__name__}: {error}")

    def halve(self) -> None:
        """Continue from the last epoch with half the batch and twice the accumulation."""
        smaller = failures.halved(self._asked)
        assert smaller is not None
        epoch = self.tuning.epoch if self.tuning else 1
        done = len(self._rows)
        self._drop_tuning()
        self._halves = True
        if self._checkpoint_epoch < done:
            self._repeat_until(done)
        self._note, self._halved_at = failures.halving(self._asked, smaller, epoch), epoch
        self.config = smaller

    def _drop_tuning(self) -> None:
        self.tuning = None
        gc.collect()  # a trial refers to itself
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _repeat_until(self, epoch: int) -> None:
        """Run the epochs since the last checkpoint again, with the whole batch as they ran before,
        and checkpoint the last of them."""
        self.tuning = tuning = self._start()
        while tuning.epoch < epoch:
            self._rows.append(EpochMessage(*self._trained(tuning)).to_dict())
        self.checkpoint()
        del tuning
        self._drop_tuning()

    def _failure(self, kind: FailureKind, cause: str) -> FailureMessage:
        epoch = self.tuning.epoch if self.tuning else 0
        self.tuning = None
        return FailureMessage(epoch, kind, cause[:2000])

    def _epoch(self) -> EpochMessage:
        if self._worker.lost_sight:
            raise FileNotFoundError(self._shared.folder)  # nothing is written beside it
        whole = self._worker.away or self._shared.token is None
        make_folder(self._shared.folder, self.trial, whole)
        tuning = self.tuning or self._start()
        self.tuning = tuning
        if self._unreported:
            return EpochMessage(**self._unreported.popleft())
        self._halves = False
        epoch, metrics = self._trained(tuning)
        is_last = tuning.is_over
        if is_last:
            metrics |= self._test(tuning)
        self._take_notes(tuning)
        message = EpochMessage(epoch, metrics, self._note, self._halved_at)
        self._note = self._halved_at = None
        self._rows.append(message.to_dict())
        halved = message.halved_at_epoch is not None  # once it is, it stays so
        if is_last or halved or time.monotonic() - self._checkpoint_at >= CHECKPOINT_SECONDS:
            self._note = self.checkpoint()  # reported with the next epoch
        return message

    def _take_notes(self, tuning: FineTuning) -> None:
        """Add what the strategy's measurement said, and why stored features are not used, where
        this was found in the epoch."""
        features = self._worker.features
        found = [] if features is None else features.take_notes()
        notes = [self._note, *tuning.strategy.take_notes(), *found]
        self._note = "; ".join(note for note in notes if note) or None

    def _trained(self, tuning: FineTuning) -> tuple[int, dict[str, float]]:
        """An epoch's number and metrics."""
        result = tuning.run_epoch()
        return result.epoch, result.metrics | self._curve(tuning)

    def checkpoint(self) -> str | None:
        """Write a checkpoint of the last epoch; see `TrialFiles.keep`."""
        tuning = self.tuning
        assert tuning is not None
        said = self._files.keep({**tuning.state_dict(), "rows": self._rows})
        self._checkpoint_epoch, self._checkpoint_at = tuning.epoch, time.monotonic()
        return said

    def _start(self) -> FineTuning:
        """Build the trial, and continue from its checkpoint where it has one."""
        worker, shared = self._worker, self._shared
        reset_peak()
        model = worker.model(self._asked)
        state, damage = self._files.checkpoints.newest()
        state = self._own(state)
        if damage:
            epoch = state["epoch"] if state else 0
            continues = f"{damage}; continues from epoch {epoch}"
            self._note = f"{self._note}; {continues}" if self._note else continues
        data = worker.data(self.config)
        environment.note(self.folder / MACHINE, data.train.labels.device)
        tuning = FineTuning(
            self.config,
            model,
            shared.partition,
            data,
            objective=shared.objective,
            keep_best=shared.keep_best,
            trace=self.folder / "trace",
            trace_every=shared.trace_every,
            diagnostics=shared.diagnostics,
            fresh_head=worker.has_fresh_head,
            step_limit=worker.step_limit,
            features=worker.features,
        )
        self._rows = []
        if state is not None:
            tuning.load_state_dict(state)
            self._checkpoint_epoch = tuning.epoch
            self._rows = list(state["rows"])
            # the checkpoint's epoch may not have been reported yet; before a halving it was
            if not self._halves:
                self._unreported.extend(self._to_report())
        return tuning

    def _to_report(self) -> list[dict[str, Any]]:
        """The rows of the checkpoint that the record may lack."""
        *earlier, last = self._rows
        # the notes of earlier epochs were reported then
        unknown = [row for row in earlier if row["epoch"] > self._reported_epochs]
        plain = [{name: row[name] for name in ("epoch", "metrics")} for row in unknown]
        return [*plain, dict(last)]

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

    @property
    def _test_groups(self) -> Groups | None:
        part = self._shared.test
        return None if part is None else part.groups

    def _curve(self, tuning: FineTuning) -> dict[str, float]:
        """The test metrics of this epoch, where the whole curve is asked for."""
        test = self._worker.test
        if test is None or not self._shared.test_every_epoch:
            return {}
        with tuning.validated.in_place():
            return tuning.evaluate(test, TEST_CURVE, self._test_groups)

    def _test(self, tuning: FineTuning) -> dict[str, float]:
        """Test metrics of the chosen epoch, where this phase may read the test split."""
        test = self._worker.test
        if test is None:
            return {}
        memory = peak_bytes(self._shared.model_config, self._shared.partition, self.config)
        tuning.validated.load()
        chosen = tuning.validated.best_epoch if self._shared.keep_best else tuning.epoch
        measured = tuning.measure(test, answers=True, groups=self._test_groups)
        assert measured.answers is not None
        write_answers(self.folder, measured.answers)
        matrix = measured.confusion.tolist()
        # once a split is enough: the runs of full fine-tuning measure where all of them began
        begins_with_a_head = self.config.strategy == "full" and not self._worker.has_fresh_head
        names = self._shared.classes or tuple(map(str, range(len(matrix))))
        write_confusion(self.folder, matrix, names)
        return {
            **measured.by_name("test"),
            **{f"{GROUP_ERROR}{name}": e for name, e in measured.group_errors.items()},
            "confirm/epoch": float(chosen),
            "confirm/updated_share": tuning.updated_share,
            **measure_forgetting(
                tuning,
                lambda: self._worker.model(self._asked),
                self._shared.partition,
                self._worker.source_validation,
                test if begins_with_a_head else None,
            ),
            **({} if memory is None else {PEAK_MEMORY: float(memory)}),
        }
