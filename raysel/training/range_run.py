"""A range test as a worker of the sweep runs it: in one step, before the search."""

from __future__ import annotations

import gc

import torch

from raysel.common.code_exits import as_exceptions
from raysel.common.disk_errors import of_the_disk
from raysel.record.failure_kind import FailureKind
from raysel.record.state import RANGE_SUGGESTED, TESTED_STEPS
from raysel.spec.trial_config import TrialConfig
from raysel.training.loop import FineTuning, TrialData
from raysel.training.range_test import RangeTest, range_test
from raysel.training.trial_worker import TrialWorker
from raysel.training.worker_messages import (
    EnvironmentErrorMessage,
    EpochMessage,
    FailureMessage,
    WorkerMessage,
)


def range_test_of(worker: TrialWorker, config: TrialConfig, steps: int) -> RangeTest:
    """Test a trial's learning rates, from its weights and on its order of the training part.

    Args:
        steps: at most.
    """
    settings = config.training.model_copy(update={"compile": False})  # for so few steps
    config = config.model_copy(update={"training": settings})
    worker.take(config)
    data = worker.data(config)
    one = data.validation.only(torch.arange(1))  # nothing is chosen by it
    tuning = FineTuning(
        config,
        worker.model(config),
        worker.shared.partition,
        TrialData(data.train, one, data.source),
        fresh_head=worker.has_fresh_head,
    )
    return range_test(tuning, steps)


class RangeRun:
    """Runs one range test.

    Args:
        config: the trial whose learning rates are tested.
        steps: at most.
    """

    def __init__(self, worker: TrialWorker, config: TrialConfig, steps: int) -> None:
        self._worker, self._config, self._steps = worker, config, steps

    def epoch(self) -> WorkerMessage:
        """The whole test, as an epoch whose metrics are what it found."""
        try:
            with as_exceptions():
                found = range_test_of(self._worker, self._config, self._steps)
        except Exception as error:
            if cause := of_the_disk(error):
                return EnvironmentErrorMessage(cause)
            words = f"{type(error).__name__}: {error}"
            return FailureMessage(0, FailureKind.ERROR, words[:2000])
        finally:
            gc.collect()  # a trial refers to itself
        metrics = {TESTED_STEPS: float(len(found.rates))}
        if found.suggested is not None:
            metrics[RANGE_SUGGESTED] = found.suggested
        return EpochMessage(1, metrics)
