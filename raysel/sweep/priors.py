"""Read what earlier sweeps know of a sweep's space (`search.prior`), when it begins.

What is found is frozen in the sweep's record (`raysel.search.prior`); a resumed sweep reads that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from pydantic import ValidationError

from raysel.common.errors import (
    OperationalError,
    Problem,
    UserError,
    in_a_line,
    nearest,
    user_error,
)
from raysel.common.locations import is_bucket, working_folder
from raysel.common.text import and_more
from raysel.record.state import COMPLETE, PRUNED, TrialState
from raysel.search.distributions import nearest_value
from raysel.search.prior import (
    Configuration,
    Key,
    Prior,
    PriorArm,
    PriorSweep,
    key_of,
    placed,
    prior_from,
)
from raysel.search.space import SearchedValue, Space
from raysel.search.trial_budget import is_warmed
from raysel.search.validate_model import space_for
from raysel.spec.suite import Suite, of_cells
from raysel.spec.sweep import RANGE_TEST, Choice, SearchSpec, Spec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.views import located_sweep, read_sweep
from raysel.tasks.opened_task import OpenedTask, open_task


def notes_of(spec: Spec, task: OpenedTask | None = None) -> list[str]:
    """What a sweep that has not begun would take from earlier ones, a line each.

    Args:
        spec: a sweep that `raysel.search.validate` accepts.
        task: the sweep's, where it was opened before.

    Raises:
        UserError: as `read_prior`.
    """
    if not spec.search.prior:
        return []
    space = space_for(spec, task or open_task(spec.task))
    return prior_notes(read_prior(spec, space), spec.search, space)


def notes_of_cells(
    suite: Suite, specs: Sequence[Spec], tasks: Sequence[OpenedTask] = ()
) -> list[str]:
    """The same of the cells of a suite.

    Args:
        specs: of the cells, in order.
        tasks: theirs, where they were opened before.

    Raises:
        UserError: as `read_prior`; each problem once, with its cells and its line of the file.
    """
    found, problems = [], {}
    for cell, spec, task in zip_longest(suite.cells, specs, tasks):
        try:
            found += notes_of(spec, task)
        except UserError as error:
            problems[cell.name] = error.problems
    if problems:
        raise UserError(*of_cells(problems, suite.axes, suite.file, len(suite.cells)))
    return list(dict.fromkeys(found))


def read_prior(spec: Spec, space: Space) -> Prior:
    """The trials of earlier sweeps that lie in a sweep's space.

    Raises:
        UserError: one of them is not there, cannot be read, has no complete trial, made something
            else small, is this sweep, or knows nothing of its space; all of them together.
    """
    read, problems = [], []
    for index, address in enumerate(spec.search.prior):
        try:
            read.append(_read(address, spec, space))
        except (UserError, OperationalError) as error:
            words = _message(error)
            problems.append(Problem(f"search.prior.{index}", f'"{address}": {words}'))
    if problems:
        raise UserError(*problems)
    return prior_from(read, spec.search, space)


def _message(error: UserError | OperationalError) -> str:
    if isinstance(error, UserError):
        return "; ".join(problem.message for problem in error.problems)
    return in_a_line(error)


def _read(address: str, spec: Spec, space: Space) -> PriorSweep:
    """One earlier sweep; `UserError` and `OperationalError` without the key in the file."""
    storage, name = located_sweep(address, spec.storage)
    if is_bucket(storage) == is_bucket(spec.storage) and (
        working_folder(storage) / name == working_folder(spec.storage) / spec.name
    ):
        raise user_error(address, "is this sweep itself; name an earlier one")
    view = read_sweep(storage, name)
    _refuse_other_objective(view.spec, spec)
    trials = [t for t in view.phase("search") if t.status in (COMPLETE, PRUNED)]
    trials = [t for t in trials if t.value is not None and math.isfinite(t.value)]
    if not any(t.status == COMPLETE for t in trials):
        raise user_error(address, "has no complete trial in its search; name one that has")
    shared = _shared(trials, space)
    inside = {arm: found for arm, own in shared.items() if (found := _inside(own, space, arm))}
    if not inside:
        words = f"none of its trials of {and_more(list(shared), 3)} lies in this sweep's space"
        raise user_error(address, f"{words}; widen the ranges, or leave it out")
    arms = {arm: PriorArm(placed(own)) for arm, own in inside.items()}
    return PriorSweep(address, view.sweep.id, arms, len(trials) - sum(map(len, inside.values())))


def _refuse_other_objective(earlier: Spec, spec: Spec) -> None:
    then, now = earlier.objective.metrics, spec.objective.metrics
    if then != now:
        words = f"made {', '.join(then)} small, and this sweep makes {', '.join(now)} small"
        raise user_error("", f"{words}; leave it out, or give objective.metric: {then[0]}")


def _shared(trials: Sequence[TrialState], space: Space) -> dict[str, list[TrialState]]:
    """The trials of each arm of this sweep: those of the same name and registered strategy, where
    at least one searched value is searched in both.

    Raises:
        UserError: there is no such arm.
    """
    own: dict[str, list[TrialState]] = {}
    for trial in trials:
        own.setdefault(trial.strategy, []).append(trial)
    alike = {
        arm: found
        for arm, found in own.items()
        if arm in space.searched and _strategy(found[0]) == space.registered[arm]
    }
    if not alike:
        words = f"has trials of {and_more(list(own), 3)}, and this sweep searches"
        if not space.strategies:
            raise user_error("", f"{words} nothing: leave search.prior out")
        hint = nearest(next(iter(own)), space.strategies)
        raise user_error("", f"{words} {and_more(list(space.strategies), 3)}; {hint}")
    shared = {
        arm: found
        for arm, found in alike.items()
        if {value.name for value in space.searched[arm]} & found[0].searched.keys()
    }
    if not shared:
        arm, found = next(iter(alike.items()))
        here = [value.name for value in space.searched[arm]]
        there = list(found[0].searched)
        searched = and_more(there, 3) if there else "nothing"
        words = f"searched {searched} of {arm}, and this sweep searches"
        words += f" {and_more(here, 3) if here else 'nothing'}"
        hint = f"; {nearest(there[0], here)}" if there and here else ""
        raise user_error("", f"{words}: no value is searched in both{hint}")
    return shared


def _strategy(trial: TrialState) -> str:
    return str(trial.config.get("strategy", trial.strategy))


def _inside(
    trials: Sequence[TrialState], space: Space, arm: str
) -> list[tuple[Configuration, Key]]:
    """The trials of an arm that lie in the space: under the study's names, and by what they are
    ordered."""
    constants = _settled(space.first_configuration(arm))
    found: list[tuple[Configuration, Key]] = []
    for trial in trials:
        if (values := _values(trial, space.searched[arm], constants)) is not None:
            is_complete = trial.status == COMPLETE
            found.append((values, key_of(is_complete, len(trial.epochs), trial.value or 0.0)))
    return found


def _values(
    trial: TrialState, searched: Sequence[SearchedValue], constants: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A trial's values under the study's names; None where it lies outside the space: a value that
    is searched here is not in its range, or one that was searched there is another constant."""
    try:
        settled = _settled(TrialConfig.model_validate(trial.config))
    except ValidationError:  # of another version
        return None
    names = {value.name for value in searched}
    if any(settled.get(n) != constants.get(n) for n in trial.searched if n not in names):
        return None
    held = {value.scoped: _held(value, settled.get(value.name)) for value in searched}
    return None if None in held.values() else held


def _settled(config: TrialConfig) -> dict[str, Any]:
    return {**dict(config.training), **config.parameters}


def _held(searched: SearchedValue, value: Any) -> Any:
    """A value as the distribution has it; None where it does not hold it."""
    distribution = searched.distribution
    if isinstance(distribution, Choice):
        is_switch = isinstance(value, bool)  # True is no 1
        alike = (o for o in distribution.options if isinstance(o, bool) == is_switch)
        return next((option for option in alike if option == value), None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    near = nearest_value(distribution, value)
    return near if math.isclose(near, value, rel_tol=1e-9, abs_tol=1e-12) else None


# --- in words -----------------------------------------------------------------------------------


def prior_notes(prior: Prior | None, search: SearchSpec, space: Space) -> list[str]:
    """What a sweep takes from earlier ones, a line each, and what that means for a comparison."""
    if prior is None:
        return []
    warmed = is_warmed(search, space)
    lines = [_sweep_note(sweep, warmed) for sweep in prior.sweeps]
    points = Counter(point.arm for point in prior.points)
    first = ", ".join(f"{arm} {count}" for arm, count in points.items()) or "none"
    is_tested = search.first == RANGE_TEST
    begun = "those of the range tests" if is_tested else "the published configurations"
    lines.append(f"tried after {begun}: {first}")
    if not warmed:
        why = "strategies are compared" if search.sampler == "tpe" else "it learns from no trial"
        lines.append(f"{search.sampler} is given none of their trials, for {why}")
    if without := [arm for arm in space.strategies if not prior.of_arm(arm)]:
        lines.append(
            f"nothing is known of {and_more(without, 3)}: as many trials here as the others, and"
            " fewer with those of earlier sweeps"
        )
    return [f"search.prior: {line}" for line in lines]


def _sweep_note(sweep: PriorSweep, warmed: bool) -> str:
    brought = ", ".join(
        f"{arm} {len(own.trials)} trials" + (f" ({own.warm} for tpe)" if warmed else "")
        for arm, own in sweep.arms.items()
    )
    left_out = f"; {sweep.dropped} that lie outside this sweep's space are left out"
    return f"{sweep.address}: {brought}" + (left_out if sweep.dropped else "")
