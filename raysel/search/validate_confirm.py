"""Validate what a sweep asks of its confirm phase and of the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from raysel.common.errors import Problem, UserError
from raysel.search.space import strategies_of
from raysel.spec.confirm import FEWEST_SPLITS, ConfirmSpec
from raysel.spec.sweep import Spec
from raysel.spec.unsupported import unknown_value
from raysel.tasks.opened_task import OpenedTask


def confirm_problems(spec: Spec, task: OpenedTask) -> Iterator[Problem]:
    """What the confirm phase cannot run, or would run for nothing."""
    confirm = spec.confirm
    yield from _until_problems(confirm)
    yield from _source_problems(spec)
    if task.data is None or task.parts is None or task.problems:
        return
    try:
        task.draws(confirm.most_splits)
    except UserError as error:
        yield from error.problems


def _until_problems(confirm: ConfirmSpec) -> Iterator[Problem]:
    if confirm.until is None:
        if confirm.max_runs != ConfirmSpec.model_fields["max_runs"].default:
            message = f"{confirm.max_runs} has no effect without confirm.until: decided"
            yield Problem("confirm.max_runs", f"{message}; the number of splits is confirm.splits")
        return
    if confirm.smallest_effect is None:
        message = "until: decided needs it: below which difference nothing is worth more runs? 0.01"
        yield Problem("confirm.smallest_effect", f"{message} is a point of test error")
    if confirm.splits < FEWEST_SPLITS:
        message = f"{confirm.splits}; until: decided begins with {FEWEST_SPLITS} splits or more"
        yield Problem("confirm.splits", message)
    elif confirm.max_runs < (first := confirm.splits * confirm.seeds):
        message = f"{confirm.max_runs}; the first round alone has {first} runs of a strategy"
        yield Problem("confirm.max_runs", message)


def _source_problems(spec: Spec) -> Iterator[Problem]:
    count = spec.confirm.source_seeds
    if count == 1:
        return
    if spec.model.weights != "source":
        message = f"{count}; no source model is trained with model.weights: {spec.model.weights}"
        yield Problem("confirm.source_seeds", f"{message}; give 1")
    elif count > (splits := spec.confirm.most_splits):
        message = f"{count}; the splits take the source models in turn, and there are {splits}"
        yield Problem("confirm.source_seeds", f"{message}: give at most {splits}")


def verdict_problems(spec: Spec) -> Iterator[Problem]:
    """Contrasts that no run can answer."""
    known = list(strategies_of(spec))
    seen: set[frozenset[str]] = set()
    for index, pair in enumerate(spec.verdict.pairs):
        path = f"verdict.contrasts.{index}"
        for name in pair:
            if name not in known:
                hint = unknown_value(name, known)
                yield Problem(path, f'"{name}" is not a strategy of this sweep; {hint}')
        if pair[0] == pair[1]:
            yield Problem(path, f"{pair[0]} against itself")
        elif frozenset(pair) in seen:
            yield Problem(path, f"{pair[0]} and {pair[1]} are compared by an earlier contrast")
        seen.add(frozenset(pair))
    if seen and spec.confirm.most_splits < FEWEST_SPLITS:
        few = "one split shows" if spec.confirm.most_splits == 1 else "two splits show"
        message = f"{few} nothing of verdict.contrasts; give {FEWEST_SPLITS} or more"
        yield Problem("confirm.splits", message)


def confirm_notes(confirm: ConfirmSpec) -> list[str]:
    """What a reader of the file may not expect."""
    if confirm.most_splits >= FEWEST_SPLITS:
        return []
    runs = confirm.most_splits * confirm.seeds
    if runs == 1:
        few = "one run of a strategy has no interval, so"
    else:
        few = f"with {'one split' if confirm.most_splits == 1 else 'two splits'}"
    return [f"confirm: {few} nothing can be shown; splits: 5 compares over splits of the data"]
