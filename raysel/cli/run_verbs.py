"""The verbs that run sweeps and suites of them: run, resume, stop, reconcile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from raysel.cli import cluster, suite_verbs
from raysel.cli.arguments import (
    AsJson,
    ManyCells,
    Overrides,
    Storage,
    SweepFile,
    SweepName,
    checked,
    located,
)
from raysel.cli.cluster import Address, NoWait
from raysel.common.errors import FAILED, INTERRUPTED, user_error
from raysel.common.output import print_json, say


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(run)
    app.command()(resume)
    app.command()(stop)
    app.command()(reconcile)


Quiet = Annotated[bool, typer.Option("--quiet", help="Show the outcome only.")]
AsEvents = Annotated[bool, typer.Option("--json", help="Print every event as a JSON line.")]


def run(
    file: SweepFile,
    set_: Overrides = None,
    resume_if_exists: Annotated[
        bool,
        typer.Option("--resume-if-exists", help="Go on with the sweep of that name, if any."),
    ] = False,
    yes: ManyCells = False,
    quiet: Quiet = False,
    as_json: AsEvents = False,
) -> int:
    """Run a sweep: search, confirm, report, best model; of a suite all of its sweeps."""
    if suite_verbs.is_suite(file, set_ or ()):
        return suite_verbs.run(file, set_ or (), yes, resume_if_exists, quiet, as_json)
    spec = checked(file, set_ or ())
    from raysel.sweep import start  # noqa: PLC0415

    with located(file, set_ or ()):
        return _session(
            quiet,
            as_json,
            lambda reporter, publish: start.start(spec, reporter, publish, resume_if_exists),
        )


def resume(
    sweep: SweepName,
    set_: Overrides = None,
    from_backup: Annotated[
        bool, typer.Option("--from-backup", help="Use the last copy of a damaged record.")
    ] = False,
    storage: Storage = "runs",
    quiet: Quiet = False,
    as_json: AsEvents = False,
    address: Address = None,
    no_wait: NoWait = False,
) -> int:
    """Go on with a sweep or a suite that was stopped; --set search.num_trials=60 extends it."""
    if address is not None:
        if from_backup:
            raise user_error("--from-backup", "is for a sweep of this machine, not with --address")
        return cluster.resume_there(address, sweep, set_ or (), no_wait, as_json)
    if suite_verbs.is_stored(storage, sweep):
        if from_backup:
            raise user_error("--from-backup", f"is for one sweep: raysel resume {sweep}/CELL")
        return suite_verbs.resume(storage, sweep, set_ or (), quiet, as_json)
    from raysel.sweep import start  # noqa: PLC0415

    return _session(
        quiet,
        as_json,
        lambda reporter, publish: start.resume(
            storage, sweep, reporter, publish, set_ or (), from_backup
        ),
    )


def stop(
    sweep: SweepName,
    storage: Storage = "runs",
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, help="Wait so many seconds for its end.")
    ] = 120.0,
    address: Address = None,
    as_json: AsJson = False,
) -> int:
    """End a running sweep or suite in order; `raysel resume` goes on with it."""
    if address is not None:
        return cluster.stop_there(address, sweep, timeout, as_json)
    from raysel.sweep.stop import stop_sweep  # noqa: PLC0415

    words = stop_sweep(storage, sweep, timeout)
    print_json({"name": sweep, "message": words}) if as_json else say(words)
    return 0


def reconcile(
    sweep: SweepName,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report the differences; change nothing.")
    ] = False,
    close: Annotated[
        bool,
        typer.Option("--close", help="Mark interrupted trials as failed: nobody will resume them."),
    ] = False,
    storage: Storage = "runs",
    as_json: AsJson = False,
) -> int:
    """Compare the record of a sweep, or of a suite's sweeps, with MLflow, and repair the
    differences."""
    if suite_verbs.is_stored(storage, sweep):
        return suite_verbs.reconcile(storage, sweep, dry_run, close, as_json)
    from raysel.sweep.reconcile import reconcile_sweep  # noqa: PLC0415

    found = reconcile_sweep(storage, sweep, dry_run, close)
    if as_json:
        print_json(asdict(found) | {"agree": found.agree})
    else:
        say(*found.lines(storage))
    return 0 if found.agree else FAILED


def _session(quiet: bool, as_json: bool, action: Callable[..., Any]) -> int:
    """Run a session with a progress reporter; 130 if it was stopped."""
    from raysel.cli.live_table import shown  # noqa: PLC0415
    from raysel.cli.publish_artifacts import publish_artifacts  # noqa: PLC0415

    with shown(quiet, as_json) as reporter:
        outcome = action(reporter, publish_artifacts)
        reporter.outcome(outcome)
    if outcome.failed:
        return FAILED
    return 0 if outcome.complete else INTERRUPTED
