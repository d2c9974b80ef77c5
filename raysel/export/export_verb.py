"""`raysel export`: a model of a sweep, out of its folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch

from raysel.common.disk_errors import cannot, is_absent
from raysel.common.errors import OperationalError, UserError, nearest, user_error
from raysel.common.user_files import any_error_as, dangling_link, lies_below
from raysel.export.best_model import origin_of, trained_again
from raysel.export.card_sections import sections
from raysel.export.check import FILE as EXPECTED_OUTPUTS
from raysel.export.check import (
    Checked,
    ExpectedOutputs,
    check,
    expected_outputs,
    load_expected_outputs,
)
from raysel.export.check_pictures import ValidationPictures, validation_pictures
from raysel.export.convert import Layout, convert, missing_packages
from raysel.export.kept_model import Examined, examine
from raysel.export.timm_layout import WEIGHTS, damage_of, model_origin, write_model
from raysel.models.build import build
from raysel.search.arms import of_model
from raysel.spec import user_code
from raysel.sweep.inputs import model_config_of, task_of
from raysel.sweep.local_trial import Notify
from raysel.sweep.own_record import best_problem, own_results
from raysel.sweep.ranking import best_run
from raysel.sweep.reproduce import Reproduction, config_of, located
from raysel.sweep.split import refuse_changed_data
from raysel.sweep.views import SweepView

_STAGE = ".raysel-export"
"""In the folder of a model: where it lies until it is whole and checked."""


@dataclass(frozen=True)
class Exported:
    """A model that was handed over.

    Attributes:
        run: the confirm run whose weights it has.
        expected: what the run's model answered in memory; None for the best model, beside which
            it is kept.
        again: how the run went that was made again for its weights; None for the best model.
        check: what was compared; None where nothing was asked for.
        note: why it could not be compared with the model that was written; "" where it was.
    """

    folder: Path
    run: str
    strategy: str
    expected: ExpectedOutputs | None
    again: Reproduction | None
    check: Checked | None = None
    note: str = ""

    @property
    def written(self) -> bool:
        """Whether the folder holds the model: not where its check has failed."""
        return self.check is None or self.check.passed


def export(
    view: SweepView,
    strategy: str | None,
    target: Path,
    notify: Notify,
    check: bool = False,
    layout: Layout = "timm",
) -> Exported:
    """Write a model into a folder that is empty or not there: whole, and only once
    its check has passed, or not at all.

    The best model lies in the sweep's folder. Other weights are not kept (those of the other
    strategies; those of a winner that an extension found and that was interrupted since): the
    strategy's best confirm run is run again, and its numbers are compared with the record.

    Args:
        strategy: None takes the winner's.
        check: compare it with the trained model and with the sweep's own validation first.
        layout: timm's, or what timm's is converted to after that.

    Raises:
        UserError: the folder is not empty or cannot be written, the strategy was not confirmed, or
            the layout needs a package that is not installed.
        OperationalError: the best model is damaged or cannot be read, the run did not reproduce
            its recorded metrics, nothing was kept to compare with, or timm cannot load the model.
    """
    results = own_results(view.folder, view.sweep)
    if results.verdict.winner is None:
        raise OperationalError(
            view.sweep.name,
            "has no model to export: no strategy was confirmed by a run that succeeded",
        )
    winner = results.verdict.winner
    name = winner if strategy is None else strategy
    row = next((row for row in results.confirm if row.strategy == name), None)
    if row is None:
        known = [row.strategy for row in results.confirm]
        hint = nearest(str(name), known) if known else "none was"
        raise user_error("--strategy", f'"{name}" was not confirmed; {hint}')
    if missing := missing_packages(layout):
        raise user_error("--format", missing)
    _check_target(target, view.folder.best)
    tested = best_run(row.runs, results.objective.metric)
    run = tested.id
    if name == winner:
        _refuse_unreadable(view.folder.best)
    kept = origin_of(view.folder.best) == {"sweep": results.sweep_id, "run": run}
    with _staged(target) as staged:
        if name == winner and kept:
            if not check:
                notify(f"checking that {view.folder.best} answers as the trained model did …")
            out = _copy_best(view, run, name, staged, compare=not check)
        else:
            of_the_sweep = sections(results, row, tested, view.folder.trial(run))
            why = "its weights were not kept"
            if name == winner and (other := origin_of(view.folder.best)):
                there = f"{other['sweep']}, run {other['run']}"
                why = f"{view.folder.best} holds another model (sweep {there})"
            elif (
                name == winner
                and view.folder.best.exists()
                and (damage := best_problem(view.folder, view.sweep))
            ):
                why = f"{view.folder.best} {damage}"
            out = _run_again(view, run, staged, notify, why, of_the_sweep)
        if check:
            notify("comparing it, loaded by timm alone, with the sweep's own validation …")
            out = replace(out, check=_checked(view, out))
        if out.written:
            if layout != "timm":
                notify(f"converting it to {layout} …")
                convert(staged, layout, staged.with_name(layout))
                staged = staged.with_name(layout)
            for path in sorted(staged.iterdir()):
                path.replace(target / path.name)
    return replace(out, folder=target)


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A place for a model inside its folder, on the same file system, that is gone in the end."""
    there, stage = target.is_dir(), target / _STAGE
    try:
        stage.mkdir(parents=True)
        yield stage / "model"
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if not there and not any(target.iterdir()):
            target.rmdir()


def _checked(view: SweepView, out: Exported) -> Checked:
    """Compare an exported model, loaded without raysel, with the trained one and with the sweep's
    own validation of picture files."""
    way_on = f"; make the model again with: {view.folder.resume()}"
    expected = out.expected or load_expected_outputs(view.folder.best, way_on)
    with tempfile.TemporaryDirectory(prefix="raysel-pictures-") as scratch:
        try:
            pictures = _pictures(view, out, Path(scratch))
        except (UserError, OperationalError) as error:  # the data may lie on another machine
            why = f"no picture files were compared: {error}"
            return replace(check(out.folder, expected), note=" ".join(why.split()))
        return check(out.folder, expected, pictures)


def _pictures(view: SweepView, out: Exported, scratch: Path) -> ValidationPictures:
    folder = out.folder
    model_name = config_of(view.trial(out.run)).model
    spec = of_model(located(view.spec, view.folder), model_name)
    user_code.load(user_code.read(spec.listed_code, view.folder.path))
    task = task_of(spec)
    refuse_changed_data(view.folder, task, view.sweep.split)
    model = build(model_config_of(spec, task).plain, seed=0).eval()
    with any_error_as(lambda why: OperationalError(str(folder / WEIGHTS), f"does not fit: {why}")):
        model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    return validation_pictures(spec, task, model, scratch)


def _check_target(target: Path, best: Path) -> None:
    """An empty folder, or none, in which files can be made, and not below the best model."""
    if lies_below(target, best):
        words = f"{target} lies in {best}, the model that is copied; give a folder outside"
        raise user_error("--to", words)
    if dangling := dangling_link(target):
        raise user_error("--to", dangling)
    try:
        if target.exists() and not target.is_dir():
            raise user_error("--to", f"{target} is a file; give a folder")
        if target.is_dir() and any(target.iterdir()):
            raise user_error("--to", f"{target} is not empty; give another folder")
        there = target.is_dir()
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            pass
        if not there:
            target.rmdir()
    except OSError as error:
        raise user_error("--to", f"{target} {cannot('be used', error, target)}") from None


def _refuse_unreadable(best: Path) -> None:
    """Raise `OperationalError` for a model that is there and that this user may not read, or whose
    disk fails: it is neither damaged nor lost, and must not be made again."""

    def refuse(error: OSError) -> None:
        if not is_absent(error):
            file = Path(error.filename or best)
            raise OperationalError(str(file), cannot("be read", error, file)) from None

    for folder, _, names in os.walk(best, onerror=refuse):
        for name in names:
            try:
                os.close(os.open(Path(folder) / name, os.O_RDONLY | os.O_NONBLOCK))
            except OSError as error:
                refuse(error)


def _copy_best(view: SweepView, run: str, strategy: str, target: Path, compare: bool) -> Exported:
    best = view.folder.best
    found = examine(best) if compare else Examined(damage_of(best))
    if found.problem is not None:
        raise OperationalError(
            str(best), f"{found.problem}; make the model again with: {view.folder.resume()}"
        )
    for source in sorted(path for path in best.rglob("*") if path.is_file()):
        if source.name != EXPECTED_OUTPUTS and source.parent.name != "__pycache__":
            copy = target / source.relative_to(best)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    return Exported(target, run, strategy, None, None, note=found.note)


def _run_again(
    view: SweepView, name: str, target: Path, notify: Notify, why: str, of_the_sweep: str
) -> Exported:
    """Train a confirm run once more for its weights."""
    trial = view.trial(name)
    notify(f"{name}: {why}; training it again, {len(trial.epochs)} epochs")
    model, again = trained_again(view, name, notify)
    if not again.succeeded or model is None:
        raise OperationalError(
            name,
            f"re-running it did not reproduce the recorded metrics ({again.first});"
            " nothing was written",
        )
    spec = of_model(view.spec, config_of(trial).model)
    task = task_of(spec)
    expected = expected_outputs(model, task)
    where = model_origin(view.sweep.id, name, spec.model.adapter)
    write_model(model, spec.model_name, task, where, target, of_the_sweep)
    return Exported(target, name, trial.strategy, expected, again)
