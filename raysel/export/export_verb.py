"""`raysel export`: a model of a sweep, out of its folder."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch

from raysel.common.errors import OperationalError, UserError, nearest, user_error
from raysel.common.user_files import any_error_as, lies_below, reason
from raysel.export.best_model import best_of, origin_of, trained_again
from raysel.export.check import FILE as EXPECTED_OUTPUTS
from raysel.export.check import (
    Checked,
    ExpectedOutputs,
    check,
    expected_outputs,
    load_expected_outputs,
)
from raysel.export.check_pictures import ValidationPictures, validation_pictures
from raysel.export.timm_layout import WEIGHTS, damage_of, write_model
from raysel.models.build import build
from raysel.spec import user_code
from raysel.sweep.inputs import model_config_of, task_of
from raysel.sweep.local_trial import Notify
from raysel.sweep.own_record import own_results
from raysel.sweep.reproduce import Reproduction, located
from raysel.sweep.views import SweepView


@dataclass(frozen=True)
class Exported:
    """A model that was handed over.

    Attributes:
        run: the confirm run whose weights it has.
        expected: what the run's model answered in memory; None for the best model, beside which
            it is kept.
        again: how the run went that was made again for its weights; None for the best model.
    """

    folder: Path
    run: str
    strategy: str
    expected: ExpectedOutputs | None
    again: Reproduction | None


def export(view: SweepView, strategy: str | None, target: Path, notify: Notify) -> Exported:
    """Write a model in timm's layout into a folder that is empty or not there.

    The best model lies in the sweep's folder. Other weights are not kept (those of the other
    strategies; those of a winner that an extension found and that was interrupted since): the
    strategy's best confirm run is run again, and its numbers are compared with the record.

    Args:
        strategy: None takes the winner's.

    Raises:
        UserError: the folder is not empty or cannot be written, or the strategy was not confirmed.
        OperationalError: the best model is damaged, or the run did not reproduce its recorded
            metrics.
    """
    results = _results(view)
    rows: list[dict[str, Any]] = results["confirm"]
    winner = results["verdict"]["winner"]
    name = winner if strategy is None else strategy
    row = next((row for row in rows if row["strategy"] == name), None)
    if row is None:
        known = [row["strategy"] for row in rows]
        hint = nearest(str(name), known) if known else "none was"
        raise user_error("--strategy", f'"{name}" was not confirmed; {hint}')
    _check_target(target, view.folder.best)
    run = best_of(row["runs"], results["objective"])["id"]
    kept = origin_of(view.folder.best) == {"sweep": results["sweep_id"], "run": run}
    if name == winner and kept:
        return _copy_best(view, run, name, target)
    return _run_again(view, run, target, notify)


def checked(view: SweepView, out: Exported) -> Checked:
    """Compare an exported model, loaded without raysel, with the trained one and with the sweep's
    own validation of picture files.

    Raises:
        OperationalError: nothing was kept to compare with, or timm cannot load the model.
    """
    expected = out.expected or load_expected_outputs(view.folder.best)
    with tempfile.TemporaryDirectory(prefix="raysel-pictures-") as scratch:
        try:
            pictures = _pictures(view, out.folder, Path(scratch))
        except (UserError, OperationalError) as error:  # the data may lie on another machine
            why = f"no picture files were compared: {error}"
            return replace(check(out.folder, expected), note=" ".join(why.split()))
        return check(out.folder, expected, pictures)


def _pictures(view: SweepView, folder: Path, scratch: Path) -> ValidationPictures:
    spec = located(view.spec, view.folder)
    user_code.load(user_code.read(spec.listed_code, view.folder.path))
    task = task_of(spec)
    model = build(model_config_of(spec, task), seed=0).eval()
    with any_error_as(lambda why: OperationalError(str(folder / WEIGHTS), f"does not fit: {why}")):
        model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    return validation_pictures(spec, task, model, scratch)


def _results(view: SweepView) -> dict[str, Any]:
    """The content of `results.json`.

    Raises:
        OperationalError: the sweep has none yet, or no confirmed winner.
    """
    results = own_results(view.folder, view.sweep)
    try:
        winner = results["verdict"]["winner"]
    except (KeyError, TypeError) as error:
        again = f"write it anew with: {view.folder.resume()}"
        words = f"cannot be read: {reason(error)}; {again}"
        raise OperationalError(str(view.folder.results), words) from None
    if winner is None:
        raise OperationalError(view.sweep.name, "has no confirmed winner, and so no model")
    return results


def _check_target(target: Path, best: Path) -> None:
    """An empty folder, or none, in which files can be made, and not below the best model."""
    if lies_below(target, best):
        words = f"{target} lies in {best}, the model that is copied; give a folder outside"
        raise user_error("--to", words)
    if target.exists() and not target.is_dir():
        raise user_error("--to", f"{target} is a file; give a folder")
    if target.is_dir() and any(target.iterdir()):
        raise user_error("--to", f"{target} is not empty; give another folder")
    there = target.is_dir()
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            pass
        if not there:
            target.rmdir()
    except OSError as error:
        raise user_error("--to", f"{target} cannot be written ({error.strerror})") from None


def _copy_best(view: SweepView, run: str, strategy: str, target: Path) -> Exported:
    best = view.folder.best
    if wrong := damage_of(best):
        raise OperationalError(
            str(best), f"{wrong}; make the model again with: {view.folder.resume()}"
        )
    files = [path for path in sorted(best.rglob("*")) if path.is_file()]
    try:
        for source in files:
            if source.name != EXPECTED_OUTPUTS and source.parent.name != "__pycache__":
                _copy(source, target / source.relative_to(best))
    except BaseException:  # the disk is full, say: nothing is left of what was empty before
        shutil.rmtree(target, ignore_errors=True)
        raise
    return Exported(target, run, strategy, None, None)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial)
    partial.replace(target)


def _run_again(view: SweepView, name: str, target: Path, notify: Notify) -> Exported:
    """Train a confirm run once more for its weights."""
    trial = view.trial(name)
    notify(f"{name}: its weights were not kept; training it again, {len(trial.epochs)} epochs")
    model, again = trained_again(view, name, notify)
    if not again.succeeded or model is None:
        raise OperationalError(
            name,
            f"re-running it did not reproduce the recorded metrics ({again.first});"
            " nothing was written",
        )
    task = task_of(view.spec)
    expected = expected_outputs(model, task)
    origin = {"sweep": view.sweep.id, "run": name}
    target.parent.mkdir(parents=True, exist_ok=True)
    write_model(model, view.spec.model.name, task, origin, target)
    return Exported(target, name, trial.strategy, expected, again)
