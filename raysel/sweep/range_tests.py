"""`raysel range`: a learning-rate range test of each arm of a sweep, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from raysel.common.locations import working_folder
from raysel.search.space import settings_of
from raysel.spec import user_code
from raysel.spec.sweep import FloatRange, Spec
from raysel.sweep import local_trial
from raysel.tasks.data_summary import DataSummary
from raysel.training.range_run import range_test_of
from raysel.training.range_test import RangeTest
from raysel.training.trial_worker import TrialWorker


def range_tests(
    spec: Spec,
    arm: str | None,
    steps: int,
    notify: local_trial.Notify,
    opened: Callable[[DataSummary], None] | None = None,
) -> dict[str, RangeTest]:
    """Test each arm's first configuration, from the same weights and on the same order of data as
    the sweep's trials.

    Args:
        spec: a sweep that `raysel.search.validate` accepts.
        arm: this one alone; None takes all.
        steps: of each test, at most.
        notify: called with a line for each long step.
        opened: called with what was read, before pictures are decoded.

    Raises:
        UserError: the sweep has no such arm.
    """
    if arm is not None:  # refused before anything is read or trained
        spec, _ = local_trial.part_of(spec, arm)
    code = user_code.read(spec.listed_code, Path())
    inputs = local_trial.prepare_inputs(spec, code, notify, opened)
    space = inputs.space
    before = torch.get_num_threads()
    folder = working_folder(spec.storage) / f"{spec.name}.range"
    try:
        worker, found = TrialWorker(inputs.shared(folder)), {}
        for name in space.arms if arm is None else (arm,):
            notify(f"range    {name}")
            found[name] = range_test_of(worker, space.first_configuration(name), steps)
        return found
    finally:
        torch.set_num_threads(before)


def in_the_file(spec: Spec, found: Mapping[str, RangeTest]) -> dict[str, str | None]:
    """For each arm what to write as its learning rate, a range of the file whose first trial is the
    suggested rate; None where nothing is suggested."""
    return {arm: _line(spec, arm, test.suggested) for arm, test in found.items()}


def _line(spec: Spec, arm: str, rate: float | None) -> str | None:
    if rate is None:
        return None
    rate = float(f"{rate:.2g}")
    given = settings_of(spec, arm)["learning_rate"]
    if not isinstance(given, FloatRange):
        return f"{rate:g}"
    low, high = given.bounds
    low, high = min(low, rate), max(high, rate)
    log = ", log: true" if given.log else ""
    return f"{{float: [{low:g}, {high:g}]{log}, first: {rate:g}}}"
