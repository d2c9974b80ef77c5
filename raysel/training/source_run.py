"""The training of a source model on a worker that runs trials too: a message a second.

It runs in a thread, so that the worker tells how far it is while it trains.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from raysel.common.code_exits import CodeExit, as_exceptions
from raysel.models.build import ModelConfig
from raysel.spec import user_code
from raysel.tasks.data import Task
from raysel.training.source_model import SourceModel, SourceTraining, source_model

REPORT_SECONDS = 1.0
"""Seconds between two messages."""


@dataclass(frozen=True)
class SourceContext:
    """What the trainings of a sweep's source models share; sent to a node once.

    Attributes:
        task: with its source part, and without the test part.
        trainings: how each source model is trained, by its number.
        cache: the folder of source models.
        code: the user's own files, by which alone the model may be known.
        gpus: what a trial has of them.
    """

    task: Task
    model_config: ModelConfig
    trainings: tuple[SourceTraining, ...]
    cache: Path
    code: tuple[user_code.Source, ...] = ()
    gpus: float = 0


@dataclass(frozen=True)
class SourceProgressMessage:
    """Optimizer steps done, and all of them; 0 before the first."""

    done: int
    total: int


@dataclass(frozen=True)
class SourceModelMessage:
    """The source model is trained."""

    model: SourceModel


@dataclass(frozen=True)
class SourceErrorMessage:
    """The training failed: a result and not an exception, because it would fail again."""

    error: Exception


SourceMessage = SourceProgressMessage | SourceModelMessage | SourceErrorMessage


class SourceRun:
    """Trains one source model; begins with the first call of `epoch`.

    Args:
        index: its number.
    """

    def __init__(self, context: SourceContext, index: int) -> None:
        self._context, self._training = context, context.trainings[index]
        self._steps = (0, 0)
        self._end: SourceModelMessage | SourceErrorMessage | None = None
        self._thread: threading.Thread | None = None

    def epoch(self) -> SourceMessage:
        """The model once it is trained, else how far it is."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, daemon=True)
            self._thread.start()
        self._thread.join(REPORT_SECONDS)
        return self._end or SourceProgressMessage(*self._steps)

    def _train(self) -> None:
        context = self._context
        inputs = (context.task, context.model_config, self._training, context.cache)
        try:
            with as_exceptions():
                user_code.load(context.code)
                self._end = SourceModelMessage(source_model(*inputs, self._progress))
        except BaseException as error:  # in a thread nobody else would hear of it
            known = error if isinstance(error, Exception) else CodeExit(repr(error))
            self._end = SourceErrorMessage(known)

    def _progress(self, done: int, total: int) -> None:
        self._steps = done, total
