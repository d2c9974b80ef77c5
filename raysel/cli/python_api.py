"""`raysel.run`, `raysel.resume` and `raysel.finetune`: what the verbs of those names do.

They print what the verbs print, unless `progress` is false; a notebook shows a line for each ended
trial. Signal handlers are set in the main thread alone, and only during the call: to interrupt the
cell ends the sweep in order, and `resume` goes on with it. Errors are exceptions: `UserError` for
what the caller can correct, `OperationalError` for what failed outside (a full disk, a server that
does not answer). Where Ray's own processes are killed during a sweep, this process ends as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from raysel.cli.live_table import shown
from raysel.cli.publish_artifacts import publish_artifacts
from raysel.cli.trial_verbs import epoch_line, write_finetuned
from raysel.common.errors import OperationalError
from raysel.common.output import say
from raysel.search.load_spec import as_texts, load_spec
from raysel.spec.sweep import Spec
from raysel.sweep import start
from raysel.sweep.finetune import FineTuned
from raysel.sweep.finetune import finetune as run_one_trial
from raysel.sweep.loaded_results import Results
from raysel.sweep.outcome import Outcome, Publish
from raysel.sweep.progress_reporter import ProgressReporter

Sweep = Spec | str | Path | Mapping[str, Any]
"""A sweep: what `load_spec` gives, or what it takes."""

Overrides = Mapping[str, Any] | Iterable[str]
"""As `load_spec` takes them."""


def run(
    spec: Sweep,
    *,
    overrides: Overrides = (),
    resume_if_exists: bool = False,
    progress: bool = True,
) -> Results:
    """Run a sweep: search, confirm, report, best model.

    Ray is started on this machine, unless it runs already (`ray.init`) or RAY_ADDRESS names a
    cluster.

    Args:
        spec: what `load_spec` gave, or the path or dictionary of a sweep, which is checked first.
        overrides: values on top, `{"training.epochs": 5}` or `["training.epochs=5"]`.
        resume_if_exists: go on with the sweep of that name, if there is one.
        progress: print how far it is, and the outcome.

    Returns:
        The results; not complete where the sweep was interrupted or its time is used up.

    Raises:
        UserError: the sweep is not sound, one of that name exists, or the cluster is too small.
        OperationalError: the record cannot be kept, or the trials fail, one like the other.
    """
    chosen = _checked(spec, overrides)
    return _session(
        progress, lambda reporter, publish: start.start(chosen, reporter, publish, resume_if_exists)
    )


def resume(
    name: str,
    storage: str | Path = "runs",
    *,
    overrides: Overrides = (),
    from_backup: bool = False,
    progress: bool = True,
) -> Results:
    """Go on with a sweep that was stopped; a finished one is summed up again.

    Args:
        storage: where it lies: a folder, or s3://… or gs://….
        overrides: `{"search.num_trials": 60}` extends it.
        from_backup: use the last copy of a damaged record.
        progress: as in `run`.

    Returns, Raises:
        As `run`; UserError also where there is no such sweep, or it would change its meaning.
    """
    texts = as_texts(overrides)
    return _session(
        progress,
        lambda reporter, publish: start.resume(
            str(storage), name, reporter, publish, texts, from_backup
        ),
    )


def finetune(
    spec: Sweep,
    strategy: str | None = None,
    *,
    overrides: Overrides = (),
    steps: int | None = None,
    progress: bool = True,
) -> FineTuned:
    """Run one trial in this process, without Ray: a strategy as published, on the sweep's task.

    Args:
        spec, overrides: as in `run`.
        strategy: one of the sweep's; its first one, if not given.
        steps: end after so many optimizer steps, for a look.
        progress: print a line an epoch.

    Returns:
        The trial: `model`, `rows` with the metrics of each epoch, and `folder` with its trace and,
        in `model/`, the weights that timm loads. `failure` says why it failed; None if it did not.

    Raises:
        UserError: the sweep is not sound or has no such strategy.
        OperationalError: the disk is full, say.
    """
    chosen = _checked(spec, overrides)
    show: Callable[..., None] = say if progress else _nothing
    tuned = run_one_trial(
        chosen,
        strategy,
        steps,
        show,
        lambda row, of: show(epoch_line(row, of)),
        lambda data: show(*data.text(), ""),
    )
    write_finetuned(tuned, chosen)
    return tuned


def _checked(spec: Sweep, overrides: Overrides) -> Spec:
    texts = as_texts(overrides)
    return spec if isinstance(spec, Spec) and not texts else load_spec(spec, texts)


def _session(progress: bool, action: Callable[[ProgressReporter, Publish], Outcome]) -> Results:
    """Run or resume a sweep, and read what it leaves."""
    with shown(quiet=not progress, as_json=False) as reporter:
        outcome = action(reporter, publish_artifacts)
        if progress:
            reporter.outcome(outcome)
    if outcome.failed:
        message = f"{outcome.cause}; go on with: {outcome.resume}"
        raise OperationalError(str(outcome.folder.path), message)
    return Results.load(outcome.folder.path)


def _nothing(*_: object) -> None:
    """Print nothing."""
