"""Start a sweep, or resume one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raysel.common.errors import Problem, UserError, user_error
from raysel.common.locations import SPEC_FILE
from raysel.record.layout import CODE, SweepFolder, tracking_uri, write_whole
from raysel.record.mlflow_page import refuse_other_folder
from raysel.record.ownership import OwnedElsewhere
from raysel.record.state import ENDED, fold
from raysel.spec import reader, user_code
from raysel.spec.sweep import BudgetSpec, Spec
from raysel.sweep.backup import restore
from raysel.sweep.outcome import Outcome, Publish
from raysel.sweep.own_record import lost_spec, own_events, own_spec
from raysel.sweep.priors import notes_of
from raysel.sweep.progress_reporter import ProgressReporter
from raysel.sweep.replica import fetch
from raysel.sweep.resumed_spec import continued, stored_spec
from raysel.sweep.session import run_session
from raysel.sweep.suite_folder import StoredCell, cell_not_begun, is_suite
from raysel.sweep.views import folder_of, holder_of, refuse_link_to_nowhere, refuse_unreadable


def start(
    spec: Spec, reporter: ProgressReporter, publish: Publish, resume_if_exists: bool = False
) -> Outcome:
    """Run a new sweep, or resume the one of that name if that is requested.

    Raises:
        UserError: a sweep of that name exists or would change its meaning, or the cluster is
            too small.
        OperationalError: the sweep's record cannot be kept.
    """
    folder = SweepFolder.of(spec.storage, spec.name)
    refuse_link_to_nowhere(folder)
    refuse_unreadable(folder)
    if is_suite(spec.storage, spec.name):
        raise user_error("name", f"a suite named {spec.name} exists; --set name={spec.name}-2")
    fetch(folder)
    stored = stored_spec(spec, folder)
    if stored is not None and not resume_if_exists:
        if (holder := holder_of(folder, stored)) is not None:
            raise OwnedElsewhere(spec.name, holder, spec.storage)
        raise UserError(_exists(folder, stored))
    sources = user_code.read(spec.listed_code, Path())
    spec = user_code.located(spec, sources, CODE)
    if stored is None:
        notes_of(spec)  # refuses what cannot be used, before anything is spent
    else:
        spec = continued(stored, spec)
    return run_session(spec, folder, reporter, sources, publish)


def resume(
    storage: str,
    name: str,
    reporter: ProgressReporter,
    publish: Publish,
    overrides: Sequence[str] = (),
    from_backup: bool = False,
) -> Outcome:
    """Resume an interrupted sweep, or begin a suite's cell that has not begun; the results of a
    finished one are written again.

    Args:
        overrides: `search.num_trials=60` and the like extend it.
        from_backup: first replace a damaged record by its last copy.

    Raises:
        UserError: there is no such sweep, or it would change its meaning.
        OperationalError: the sweep's record cannot be read or kept.
    """
    if (found := cell_not_begun(storage, name)) is not None:
        if from_backup:
            raise user_error("--from-backup", f"{name} has not begun, so there is no copy")
        suite, cell = found
        folder, spec = first_begun(storage, name, cell, overrides)
        sources = user_code.read(spec.listed_code, suite.path)
    else:
        folder, spec = resumed(storage, name, overrides, from_backup)
        sources = user_code.read(spec.listed_code, folder.path)
    return run_session(spec, folder, reporter, sources, publish)


def first_begun(
    storage: str, name: str, cell: StoredCell, overrides: Sequence[str] = ()
) -> tuple[SweepFolder, Spec]:
    """The folder of a suite's cell that has not begun, and its sweep file with what extends it;
    without the budget, which is for the suite as a whole."""
    wanted = reader.SweepFile(SPEC_FILE, cell.spec, tuple(overrides), True).spec()
    changes = {"storage": storage, "budget": BudgetSpec()}
    spec = continued(cell.parsed(), wanted).model_copy(update=changes)
    return SweepFolder.of(storage, name), spec


def resumed(
    storage: str, name: str, overrides: Sequence[str] = (), from_backup: bool = False
) -> tuple[SweepFolder, Spec]:
    """The folder of a sweep that will be resumed, and its sweep file with what extends it.

    Args, Raises:
        As `resume`.
    """
    folder = folder_of(storage, name)
    if text := lost_spec(folder):
        write_whole(folder.spec, text)
    stored = own_spec(folder)
    wanted = reader.load_resolved(folder.spec, overrides)
    there = folder.storage_of_its_file(storage)
    spec = continued(stored, wanted).model_copy(update={"storage": there})
    if from_backup:
        if spec.database_url is not None:
            raise user_error("--from-backup", "the record lies in PostgreSQL, which has its own")
        restore(folder)
    if spec.database_url is None:
        own_events(folder, spec)  # before data are read
    refuse_other_folder(folder.path, tracking_uri(spec))
    return folder, spec


def _exists(folder: SweepFolder, stored: Spec) -> Problem:
    name = stored.name
    trials = fold(own_events(folder, stored)).values()
    ended = sum(t.phase == "search" and t.status in ENDED for t in trials)
    total = max(stored.search.num_trials, ended)  # an extension may have lowered it
    return Problem(
        "",
        f'a sweep named "{name}" exists ({ended} of {total} trials done). '
        f"Go on: {folder.resume()}. New one: --set name={name}-2",
    )
