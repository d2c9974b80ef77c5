"""The runs of a profile: each layer tuned alone and each left out, in processes of this machine.

A run is one configuration on one split, trained to its end and tested at its best epoch by
validation, with the lines that train a sweep's confirm runs (`raysel.training.loop`). What a run
gave is appended to a file, so that a profile that was cut off goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raysel.common.errors import OperationalError
from raysel.common.text import first_line
from raysel.models.partition_types import Partition
from raysel.spec.trial_config import TrialConfig
from raysel.training.loop import FineTuning
from raysel.training.nonfinite import Diverged
from raysel.training.trial_worker import PhaseContext, TrialWorker

UNTOUCHED, HEAD, FULL = "untouched", "head", "full"
"""What the runs are compared with: no layer moves, the classifier alone, all layers."""


@dataclass(frozen=True)
class Mask:
    """Which layers move.

    Attributes:
        name: `alone/LAYER`, `without/LAYER`, or one of the baselines.
        strategy: the registered strategy that moves them; None where none moves.
    """

    name: str
    strategy: str | None
    parameters: Mapping[str, Any]

    @property
    def moves(self) -> bool:
        """Whether anything is trained."""
        return self.strategy is not None


def masks_of(partition: Partition, fresh_head: bool) -> list[Mask]:
    """All masks of a model, the baselines first.

    With a classifier that is newly drawn, nothing works without it: each mask moves it too, and
    the head alone is what a layer's gain is compared with.
    """
    names, head = partition.names, partition.names[partition.head_layer]
    single = "blockwise" if fresh_head else "surgical"
    layers = [name for name in names if not (fresh_head and name == head)]
    base = Mask(HEAD, "linear_probe", {}) if fresh_head else Mask(UNTOUCHED, None, {})
    alone = [Mask(f"alone/{name}", single, {"block": name}) for name in layers]
    rest = {name: "+".join(other for other in names if other != name) for name in layers}
    without = [Mask(f"without/{name}", single, {"block": rest[name]}) for name in layers]
    return [base, Mask(FULL, "full", {}), *alone, *without]


@dataclass(frozen=True)
class LayerRun:
    """One run to do: a mask on a split at a learning rate.

    Attributes:
        split: from 1, or 0 for the file's own training and validation part.
        rate: 0 where nothing moves.
    """

    mask: str
    split: int
    rate: float
    config: TrialConfig
    trains: bool


@dataclass(frozen=True)
class LayerResult:
    """What a run gave.

    Attributes:
        validation: error; None where the run diverged before its first epoch ended.
        wrong: of each test example 1 where the answer was wrong, else 0, as text; all are wrong
            where the run diverged.
    """

    mask: str
    split: int
    rate: float
    validation: float | None
    wrong: str

    @property
    def losses(self) -> NDArray[np.float64]:
        """[test examples] 0 or 1."""
        return np.array([float(sign) for sign in self.wrong])


def layer_run(mask: Mask, like: TrialConfig, rate: float, split: int) -> LayerRun:
    """A mask's run on a split.

    Args:
        like: the configuration whose training settings all share.
        rate: of no use where nothing moves.
    """
    changed = {"learning_rate": rate} if mask.moves else {}
    config = TrialConfig(
        strategy=mask.strategy or "full",
        parameters=dict(mask.parameters),
        training=like.training.model_copy(update=changed),
        seed=like.seed + split,
        split=split,
    )
    return LayerRun(mask.name, split, rate if mask.moves else 0.0, config, mask.moves)


def results_of(
    shared: PhaseContext,
    runs: Sequence[LayerRun],
    file: Path,
    processes: int,
    progress: Callable[[int], None],
) -> list[LayerResult]:
    """The results of all runs, those that the file has taken from there.

    Args:
        shared: with the splits and the test part.
        file: a line a result.
        progress: called with the number of results.

    Raises:
        OperationalError: a run failed; the results before it are kept.
    """
    known = {(r.mask, r.split, r.rate): r for r in _kept(file)}
    keys = [(run.mask, run.split, run.rate) for run in runs]
    waiting = [run for run, key in zip(runs, keys, strict=True) if key not in known]
    progress(len(runs) - len(waiting))
    try:
        with file.open("a", encoding="utf-8") as kept:
            for done, result in enumerate(_run_all(shared, waiting, processes), 1):
                known[result.mask, result.split, result.rate] = result
                kept.write(json.dumps(asdict(result)) + "\n")
                kept.flush()
                progress(len(runs) - len(waiting) + done)
    except RuntimeError as error:  # a run's, or a process that was killed
        raise OperationalError("a run failed", first_line(error)) from error
    return [known[key] for key in keys]


def _kept(file: Path) -> Iterator[LayerResult]:
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError, TypeError):  # the last line of a run that was killed
            yield LayerResult(**json.loads(line))


def _run_all(
    shared: PhaseContext, runs: Sequence[LayerRun], processes: int
) -> Iterator[LayerResult]:
    if processes == 1 or len(runs) < 2:
        before = torch.get_num_threads()
        try:
            worker = TrialWorker(shared)
            for run in runs:
                yield _guarded(worker, run)
        finally:
            torch.set_num_threads(before)
        return
    os.environ.setdefault("OMP_NUM_THREADS", str(shared.threads))
    # a forked process would hang in torch's threads
    pool = ProcessPoolExecutor(
        min(processes, len(runs)), multiprocessing.get_context("spawn"), _start, (shared,)
    )
    try:
        for future in as_completed([pool.submit(_run, run) for run in runs]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


_worker: TrialWorker | None = None  # of a process of the pool


def _start(shared: PhaseContext) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run under way ends, and the parent leaves
    _worker = TrialWorker(shared)


def _run(run: LayerRun) -> LayerResult:
    assert _worker is not None
    return _guarded(_worker, run)


def _guarded(worker: TrialWorker, run: LayerRun) -> LayerResult:
    """`run_layer` with any failure as an exception that goes from one process to another."""
    try:
        return run_layer(worker, run)
    except Exception as error:  # whatever a model, a strategy or torch raises
        cause = f"{type(error).__name__}: {first_line(error)}"
        raise RuntimeError(f"{run.mask}, learning rate {run.rate:g}: {cause}") from None


def run_layer(worker: TrialWorker, run: LayerRun) -> LayerResult:
    """One run, in this process."""
    tuning = FineTuning(
        run.config,
        worker.model(run.config),
        worker.shared.partition,
        worker.data(run.config),
        objective=worker.shared.objective,
        keep_best=True,
        fresh_head=worker.has_fresh_head,
        features=worker.features if run.trains else None,
    )
    assert worker.test is not None
    try:
        while run.trains and not tuning.is_over:
            tuning.run_epoch()
    except Diverged:
        if tuning.validated.best_epoch == 0:
            return LayerResult(run.mask, run.split, run.rate, None, "1" * len(worker.test))
    tuning.validated.load()
    answers = tuning.measure(worker.test, answers=True).answers
    assert answers is not None
    wrong = "".join("1" if is_wrong else "0" for is_wrong in answers.labels != answers.predicted)
    validation = tuning.measure(tuning.data.validation).error
    return LayerResult(run.mask, run.split, run.rate, validation, wrong)
