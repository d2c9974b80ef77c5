"""Seconds of an epoch: a few steps of each strategy, run as the sweep runs them.

The trials of the calibration are real ones (`TrialRun`, with checkpoint and trace) on the first
examples of each part, on Ray workers with a trial's resources, as many at a time as the sweep
would run here: two trials on two cores are slower than one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from raysel.spec import user_code
from raysel.spec.trial_config import TrialConfig
from raysel.tasks.data import Examples, Part
from raysel.training.gpu_share import keep_to_share
from raysel.training.trial import TrialRun
from raysel.training.trial_worker import PhaseContext, TrialWorker
from raysel.training.worker_messages import EpochMessage

SECONDS = 60.0
"""How long the calibration of a sweep may take, about: shared by all that is measured."""

_FIRST_BATCH = 8
_FEWEST_BATCHES, _MOST_EXAMPLES = 2, 512


@dataclass(frozen=True)
class Sample:
    """One thing to measure.

    Attributes:
        name: the strategy's; several samples of one name are averaged.
        examples: that an epoch runs over in the sweep, be it by the shots of each class.
        validation: the same of the validation part.
        on_source: train on the source part, as the source model is.
    """

    name: str
    config: TrialConfig
    examples: int
    validation: int
    on_source: bool = False


@dataclass(frozen=True)
class Timing:
    """Measurements of a sample, scaled to the sweep's data; seconds and bytes.

    Attributes:
        epoch: of training, validation and trace.
        start: before its first epoch: weights filled in, the strategy prepared.
        example: of validating one example.
        checkpoint: bytes of its checkpoint.
        trace: bytes of its selection trace, an epoch.
        memory: the most that torch held on a GPU; None on a CPU, or with a smaller batch.
    """

    epoch: float
    start: float
    example: float
    checkpoint: int
    trace: int
    memory: int | None


@dataclass(frozen=True)
class Measured:
    """What one worker measured.

    Attributes:
        began: when it ran its first line, seconds since 1970.
        device: on what.
        timings: for each sample one, in order; None where it failed.
        failures: why, by the sample's name.
    """

    began: float
    device: str
    timings: tuple[Timing | None, ...]
    failures: Mapping[str, str]


def measure(
    shared: PhaseContext,
    samples: Sequence[Sample],
    source: PhaseContext | None,
    seconds: float | None = None,
) -> Measured:
    """Run the samples one after another, in this process.

    Args:
        shared: what the sweep's trials share.
        source: the same for the source model's training, where it has to be trained.
        seconds: that it may take, about; `SECONDS`, if nothing is given.
    """
    began = time.time()
    user_code.load(shared.code)
    keep_to_share(shared.gpus)
    cuda = torch.cuda.is_available()
    timings: list[Timing | None] = []
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        calibrator = _Calibrator(Path(folder), (seconds or SECONDS) / max(len(samples), 1))
        for sample in samples:
            context = source if sample.on_source else shared
            assert context is not None
            timing = calibrator.timing(context, sample)
            timings.append(timing if isinstance(timing, Timing) else None)
            if isinstance(timing, str):
                failures[sample.name] = timing
    device = torch.cuda.get_device_name() if cuda else "cpu"
    return Measured(began, device, tuple(timings), failures)


class _Calibrator:
    """Measures within a folder of its own.

    Args:
        seconds: that a sample may take, about.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds
        self._count = 0
        self._workers: dict[tuple[int, int], TrialWorker] = {}  # by context and examples
        self._step: dict[int, float] = {}  # seconds of one example in a step, by context

    def timing(self, context: PhaseContext, sample: Sample) -> Timing | str:
        """The timing of a sample; a reason if it fails."""
        training = sample.config.training
        whole, size = (
            training.batch_size * training.gradient_accumulation_steps,
            training.batch_size,
        )
        if id(context) not in self._step:
            small = min(_FIRST_BATCH, size)
            first = self._run(context, sample, small, 1, _FEWEST_BATCHES)  # also warms up
            if isinstance(first, str):
                return first
            self._step[id(context)] = first.train / first.examples
        a_step = self._step[id(context)] * whole
        affordable = self._seconds / 3 / max(a_step, 1e-9)  # three epochs are run
        if affordable < _FEWEST_BATCHES:
            size = max(2, int(size * affordable / _FEWEST_BATCHES))
        steps = max(_FEWEST_BATCHES, min(int(affordable), -(-sample.examples // whole)))
        run = self._run(context, sample, size, training.gradient_accumulation_steps, steps)
        return run if isinstance(run, str) else run.scaled(sample, size)

    def _run(
        self,
        context: PhaseContext,
        sample: Sample,
        size: int,
        gradient_accumulation_steps: int,
        steps: int,
    ) -> _Run | str:
        examples = min(
            max(steps, _FEWEST_BATCHES) * size * gradient_accumulation_steps, sample.examples
        )
        train = _first(context.train, examples)
        validation = _first(context.validation, min(len(context.validation), _MOST_EXAMPLES))
        self._count += 1
        # the examples are chosen here: shots would leave fewer of them than are counted
        changed = {
            "batch_size": size,
            "gradient_accumulation_steps": gradient_accumulation_steps,
            "epochs": 1_000,
            "shots": None,
            "compile": False,  # each of these short runs would be compiled
        }
        training = sample.config.training.model_copy(update=changed)
        config = sample.config.model_copy(update={"training": training})
        worker = self._workers.get((id(context), examples))
        if worker is None:
            shared = replace(
                context, train=train, validation=validation, test=None, folder=self._folder
            )
            worker = self._workers[id(context), examples] = _warm(shared, config)
        counts = len(train), len(validation)
        return _epochs(worker, f"{self._count}", config, self._seconds, counts)


@dataclass(frozen=True)
class _Run:
    """Some epochs over the first examples; seconds, bytes."""

    start: float
    train: float
    validate: float
    rest: float
    examples: int
    validated: int
    checkpoint: int
    trace: int
    memory: int | None

    def scaled(self, sample: Sample, size: int) -> Timing:
        """To all examples of the sweep's parts."""
        more = sample.examples / self.examples
        example = self.validate / self.validated
        return Timing(
            epoch=self.train * more + example * sample.validation + self.rest,
            start=self.start * more,
            example=example,
            checkpoint=self.checkpoint,
            trace=int(self.trace * more),
            memory=self.memory if size == sample.config.training.batch_size else None,
        )


def _warm(shared: PhaseContext, config: TrialConfig) -> TrialWorker:
    """A worker that has run a step: the model is built, the data are on the device."""
    worker = TrialWorker(shared, step_limit=1)
    TrialRun(worker, "warm", config).epoch()
    worker.step_limit = None
    return worker


def _epochs(
    worker: TrialWorker, trial: str, config: TrialConfig, seconds: float, counts: tuple[int, int]
) -> _Run | str:
    """Run two to five epochs, the first of which holds whatever comes before training.

    Args:
        counts: examples that are trained on and validated.
    """
    steps = TrialRun(worker, trial, config)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    walls: list[float] = []
    inner: list[float] = []
    deadline = time.perf_counter() + seconds / 2
    while len(walls) < 2 or (len(walls) < 5 and time.perf_counter() < deadline):
        before = time.perf_counter()
        message = steps.epoch()
        if not isinstance(message, EpochMessage):
            return message.cause
        walls.append(time.perf_counter() - before)
        inner.append(message.metrics["cost/seconds"])
    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    steps.checkpoint()  # so few epochs have none
    run = steps.tuning
    assert run is not None
    before = time.perf_counter()
    run.evaluate(run.data.validation, "val")
    validate = time.perf_counter() - before
    wall, own = _middle(walls[1:]), _middle(inner[1:])
    folder = steps.folder
    trace = sum(file.stat().st_size for file in folder.glob("trace/*"))
    files = [file for file in folder.glob("*") if file.is_file()]
    return _Run(
        start=max(0.0, walls[0] - wall),
        train=max(own - validate, 0.0),
        validate=validate,
        rest=max(wall - own, 0.0),
        examples=counts[0],
        validated=counts[1],
        checkpoint=sum(file.stat().st_size for file in files),
        trace=trace // len(walls),
        memory=memory,
    )


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _first(part: Part, count: int) -> Part:
    """The first examples of a part."""
    if isinstance(part, Examples):
        return Examples(part.images[:count], part.labels[:count])
    return part.only(np.arange(min(count, len(part))))
