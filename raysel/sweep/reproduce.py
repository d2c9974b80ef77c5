"""Run a recorded trial again, and compare it with its record epoch by epoch."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from raysel.common.errors import user_error
from raysel.common.text import count_of
from raysel.record.layout import SweepFolder
from raysel.record.state import RANGE, TrialState
from raysel.search.arms import of_model
from raysel.spec import user_code
from raysel.spec.sweep import Spec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep import local_trial
from raysel.sweep.inputs import tested
from raysel.sweep.split import refuse_changed_data
from raysel.sweep.views import SweepView
from raysel.training import environment as machine
from raysel.training.features import READ, SECONDS
from raysel.training.forgetting import AFTER, BEFORE, DISTANCE
from raysel.training.trial import MACHINE, PEAK_MEMORY, TrialRun
from raysel.training.trial_worker import PhaseContext
from raysel.training.worker_messages import EpochMessage, FailureMessage

CUDA_TOLERANCE = 0.02
"""How far a number may be off on CUDA without `training.deterministic`, where sums are formed
in another order each time: |then - now| <= T * max(1, |then|, |now|)."""

IDENTICAL, WITHIN, DIFFERENT = "identical", "within tolerance", "different"

_END = ("test/", "confirm/", "range/")
_DIFFERS = ("cost/seconds", PEAK_MEMORY, READ, SECONDS)
"""From run to run."""

_LATER = (BEFORE, AFTER, DISTANCE)
"""What older records lack."""

Row = Mapping[str, Any]
"""Metrics by name; None where one was not finite."""

Messages = Sequence[EpochMessage | FailureMessage]

Show = Callable[[int, int], None]
"""Called with the number of the epoch that was run again, and of how many."""


@dataclass(frozen=True)
class Difference:
    """One number that differs now; epoch 0 stands for the values measured at the end."""

    epoch: int
    metric: str
    then: float | str | None
    now: float | str | None

    def __str__(self) -> str:
        when = f"epoch {self.epoch}" if self.epoch else "at the end"
        return f"{when}, {self.metric}: {_shown(self.then)} in the record, {_shown(self.now)} now"


@dataclass(frozen=True)
class Reproduction:
    """Result of the comparison.

    Attributes:
        outcome: `identical`, `within tolerance` or `different`.
        epochs: that were compared.
        tolerance: 0 where every number must be the same.
        first: the first number that is not the same.
        largest: how far the numbers are off at most, relative to max(1, |number|).
        machine: what differs of device, threads and versions: name -> (then, now).
    """

    trial: str
    outcome: str
    epochs: int
    tolerance: float
    first: Difference | None
    largest: float
    machine: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether the trial reproduced its numbers."""
        return self.outcome != DIFFERENT

    def __str__(self) -> str:
        count = count_of(self.epochs, "epoch") if self.epochs else "what the test found"
        if self.outcome == IDENTICAL:
            return f"identical: {count}, every number"
        if self.outcome == WITHIN:
            return f"within tolerance {self.tolerance:g}: {count}, at most {self.largest:.2g} off"
        return f"different: {self.first}"


def machine_differences(view: SweepView, trial: TrialState) -> dict[str, tuple[str, str]]:
    """Differences between this machine and the one that the trial last ran on: device,
    processor, threads, versions. Of an older record the driver's versions are all that is known.
    """
    noted = machine.read(view.folder.trial(trial.id) / MACHINE)
    versions: Mapping[str, str] = view.sweep.manifest.get("versions") or {}
    now = machine.facts(_device()) | {"threads": str(view.spec.resources.cpus)}
    return machine.differences(noted[-1] if noted else versions, now)


def default_tolerance(config: TrialConfig) -> float:
    """The tolerance for a trial on this machine."""
    exact = _device().type == "cpu" or config.training.deterministic
    return 0.0 if exact else CUDA_TOLERANCE


def reproduce(
    view: SweepView,
    trial: TrialState,
    notify: local_trial.Notify,
    show: Show,
    tolerance: float | None = None,
) -> Reproduction:
    """Run a trial again from its record.

    Args:
        notify: called with a line for each long step before the first epoch.
        tolerance: None takes `default_tolerance`.

    Raises:
        UserError: the trial has no epoch, or its code or weights are not there any more.
    """
    with tempfile.TemporaryDirectory(prefix="raysel-reproduce-") as scratch:
        if trial.phase == RANGE:
            again = _range_test_again(view, trial, notify, Path(scratch))
            return compared(view, trial, [again], tolerance)
        rows = []
        for row, _ in run_again(view, trial, notify, Path(scratch)):
            rows.append(row)
            show(len(rows), len(trial.epochs))
    return compared(view, trial, rows, tolerance)


def compared(
    view: SweepView, trial: TrialState, rows: Messages, tolerance: float | None = None
) -> Reproduction:
    """A trial's record and its new messages side by side; `tolerance` as in `reproduce`."""
    if tolerance is None:
        tolerance = default_tolerance(config_of(trial))
    differs = machine_differences(view, trial)
    return evaluate(trial.id, _pairs(trial, rows), tolerance, differs)


def config_of(trial: TrialState) -> TrialConfig:
    """The trial's configuration."""
    return TrialConfig.model_validate(trial.config)


def run_again(
    view: SweepView, trial: TrialState, notify: local_trial.Notify, scratch: Path
) -> Iterator[tuple[EpochMessage | FailureMessage, TrialRun]]:
    """The messages of a recorded trial, once more: as many epochs as it has, and its failure.

    Args:
        scratch: a folder for the trial's own files; the sweep's are not touched.
    """
    expected = len(trial.epochs) + _fails_itself(trial)
    if not expected:
        raise user_error(trial.id, "has no epoch to compare with")
    with _shared(view, trial, notify, scratch) as shared:
        halved = trial.halved_at_epoch
        again = local_trial.run(shared, trial.id, config_of(trial), halved_at_epoch=halved)
        for done, (message, steps) in enumerate(again, 1):
            yield message, steps
            if done >= expected:
                return


@contextmanager
def _shared(
    view: SweepView, trial: TrialState, notify: local_trial.Notify, scratch: Path
) -> Iterator[PhaseContext]:
    """What the trial's worker had, with the test part where it is a confirm run."""
    spec = of_model(located(view.spec, view.folder), config_of(trial).model)
    confirm = trial.phase == "confirm"
    code = user_code.read(spec.listed_code, view.folder.path)
    unchanged = partial(refuse_changed_data, view.folder, recorded=view.sweep.split)
    inputs = local_trial.prepare_inputs(spec, code, notify, confirm=confirm, refuse=unchanged)
    shared = inputs.shared(scratch)
    with tested(shared, inputs.task, spec) if confirm else nullcontext(shared) as found:
        yield found


def _range_test_again(
    view: SweepView, trial: TrialState, notify: local_trial.Notify, scratch: Path
) -> EpochMessage | FailureMessage:
    """What a range test before the search finds, once more; it has no epochs."""
    if not trial.end_metrics and not _fails_itself(trial):
        raise user_error(trial.id, "has found nothing to compare with")
    with _shared(view, trial, notify, scratch) as shared:
        return local_trial.run_range_test(shared, config_of(trial))


def located(spec: Spec, folder: SweepFolder) -> Spec:
    """The sweep with the storage in which its folder lies now."""
    return spec.model_copy(update={"storage": folder.storage})


def evaluate(
    trial: str,
    pairs: Iterable[tuple[int, str, Any, Any]],
    tolerance: float,
    machine_differs: Mapping[str, tuple[str, str]],
) -> Reproduction:
    """The verdict over pairs of (epoch, metric, then, now)."""
    first: Difference | None = None
    beyond: Difference | None = None
    largest, epochs = 0.0, set()
    for epoch, metric, then, now in pairs:
        epochs.add(epoch)
        off = _off(then, now)
        if off == 0.0:
            continue
        largest = max(largest, off)
        first = first or Difference(epoch, metric, then, now)
        if off > tolerance:
            beyond = beyond or Difference(epoch, metric, then, now)
    outcome = DIFFERENT if beyond else WITHIN if first else IDENTICAL
    return Reproduction(
        trial, outcome, len(epochs - {0}), tolerance, beyond or first, largest, machine_differs
    )


def _pairs(trial: TrialState, rows: Messages) -> Iterator[tuple[int, str, Any, Any]]:
    """Every number then and now, in the order of time; a name that one of them lacks is reported
    as missing."""
    for index, then in enumerate(trial.epochs):
        now = rows[index] if index < len(rows) else None
        epoch = int(then["epoch"] or 0)
        if not isinstance(now, EpochMessage):
            yield epoch, "outcome", "an epoch", now.cause if now else "nothing"
            return
        measured = {n: v for n, v in now.metrics.items() if not n.startswith(_END)}
        yield from _compared(epoch, {n: v for n, v in then.items() if n != "epoch"}, measured)
    if _fails_itself(trial):
        now = rows[-1] if len(rows) > len(trial.epochs) else None
        failed = now.cause if isinstance(now, FailureMessage) else "an epoch"
        yield len(trial.epochs) + 1, "failure", trial.cause, failed
    elif trial.end_metrics and isinstance(rows[-1], FailureMessage):  # of a range test
        yield 0, "outcome", "a result", rows[-1].cause
    elif trial.end_metrics and isinstance(rows[-1], EpochMessage):
        last = rows[-1].metrics
        yield from _compared(0, trial.end_metrics, {n: last[n] for n in last if n.startswith(_END)})


def _compared(epoch: int, then: Row, now: Row) -> Iterator[tuple[int, str, Any, Any]]:
    for name in dict.fromkeys([*then, *now]):
        if name not in _DIFFERS and not (name not in then and name.startswith(_LATER)):
            pair = (rows.get(name, "missing") for rows in (then, now))
            before, after = (_finite(value) for value in pair)
            yield epoch, name, before, after


def _finite(value: Any) -> Any:
    """As the record keeps it: a number that is not finite is None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _off(then: Any, now: Any) -> float:
    """How far two values are apart, relative to max(1, |value|); infinite where one of them is
    no number."""
    if then == now:
        return 0.0
    numbers = [v for v in (then, now) if isinstance(v, int | float)]
    if len(numbers) < 2:
        return math.inf
    return abs(numbers[0] - numbers[1]) / max(1.0, *map(abs, numbers))


def _fails_itself(trial: TrialState) -> bool:
    """Whether the trial's own lines raise, after its last epoch."""
    return trial.failure is not None and trial.failure.is_own


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _shown(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    return "not finite" if value is None else repr(value)
