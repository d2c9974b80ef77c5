"""The verbs of a cluster: submit, status, logs, fetch; and what `list`, `stop` and `resume` do
there with --address."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raysel.cli import suite_verbs
from raysel.cli.arguments import (
    AsJson,
    ManyCells,
    Overrides,
    SweepFile,
    checked_for_there,
    day,
    path_option,
)
from raysel.common.errors import INTERRUPTED, user_error
from raysel.common.output import (
    LogPrinter,
    print_json,
    print_table,
    progress_stream,
    say,
    say_error,
)

if TYPE_CHECKING:
    from raysel.service.jobs import Cluster, Job
    from raysel.service.status import JobStatus
    from raysel.service.submit import SubmitOptions, SubmitResult


Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="The cluster's dashboard, http://HOST:8265.",
    ),
]
JobName = Annotated[
    str, typer.Argument(metavar="ID", help="The sweep's name, its id, or the job's id.")
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Exit after submission; do not follow its output.")
]


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(submit)
    app.command()(status)
    app.command()(logs)
    app.command()(fetch)


def submit(
    file: SweepFile,
    address: Address = None,
    set_: Overrides = None,
    no_wait: NoWait = False,
    include: Annotated[
        list[Path] | None,
        path_option("--include", "PATH", "A file or folder to send along."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME", help="A variable to send along, sealed."),
    ] = None,
    installed: Annotated[
        bool, typer.Option("--installed", help="raysel is installed on the nodes: do not send it.")
    ] = False,
    open_cluster: Annotated[
        bool, typer.Option("--open-cluster", help="Accept a cluster that asks for no token.")
    ] = False,
    grace: Annotated[
        int | None,
        typer.Option("--grace", min=10, help="Seconds to end in after a stop: 120."),
    ] = None,
    yes: ManyCells = False,
    as_json: AsJson = False,
) -> int:
    """Run a sweep or a suite on a cluster, and follow its output; submitted again, it goes on."""
    from raysel.service import submit as submission  # noqa: PLC0415
    from raysel.service.jobs import connect  # noqa: PLC0415

    if is_suite := suite_verbs.is_suite(file, set_ or ()):
        suite = suite_verbs.checked_for_there(file, set_ or (), yes)
    else:
        spec = checked_for_there(file, set_ or ())
    cluster = connect(address)
    options = _options(cluster, env or (), installed, open_cluster, grace)
    if is_suite:
        result = submission.submit_suite(cluster, suite, options, include or ())
    else:
        result = submission.submit(cluster, spec, options, include or ())
    return _print_submitted(cluster, result, no_wait, as_json)


def resume_there(address: str, wanted: str, set_: Sequence[str], no_wait: bool, json: bool) -> int:
    """`raysel resume ID --address URL`."""
    from raysel.service import submit as submission  # noqa: PLC0415
    from raysel.service.jobs import connect  # noqa: PLC0415

    cluster = connect(address)
    result = submission.resume(cluster, wanted, set_, _options(cluster))
    return _print_submitted(cluster, result, no_wait, json)


def _options(
    cluster: Cluster,
    env: Sequence[str] = (),
    installed: bool = False,
    open_cluster: bool = False,
    grace: int | None = None,
) -> SubmitOptions:
    from raysel.common import credentials  # noqa: PLC0415
    from raysel.service.submit import GRACE_SECONDS, SubmitOptions  # noqa: PLC0415

    for name in env:
        if not os.environ.get(name):
            raise user_error("--env", f"{name} is not set here")
    secrets = credentials.found(os.environ, env)
    if secrets and not cluster.endpoint.requires_token:
        say_error(f"note     {', '.join(secrets)} not sent: without a token they cannot be sealed")
    return SubmitOptions(installed, open_cluster, grace or GRACE_SECONDS, secrets)


def _print_submitted(cluster: Cluster, result: SubmitResult, no_wait: bool, as_json: bool) -> int:
    """Print the result of a submission, and follow the job to its end."""
    if not as_json:
        say(f"job      {result.words}")
    code = 0
    ended = result.job
    if result.job.live and not no_wait:
        ended, code = _follow(cluster, result.job.id, as_json)
    if as_json:
        to_dict = {"id": ended.id, "sweep": ended.sweep, "name": ended.name, "new": result.new}
        print_json(to_dict | {"state": ended.state, "exit_code": None if ended.live else code})
    return code


def _follow(cluster: Cluster, job_id: str, as_json: bool) -> tuple[Job, int]:
    """The job when it has ended, and its exit code. Ctrl-C leaves it alone."""
    from raysel.service.follow import follow  # noqa: PLC0415

    try:
        with LogPrinter(progress_stream(as_json)) as printer:
            ended = follow(cluster, job_id, printer.write)
    except KeyboardInterrupt:
        say_error("", f"{job_id} goes on; to end it: raysel stop {job_id} --address {cluster.url}")
        return cluster.state(job_id), INTERRUPTED
    if ended.state == "FAILED" and ended.code is None:
        say_error(f"error  {ended.id}: {' '.join(ended.message.split())[:400]}")
    return ended, ended.exit_code


def status(job: JobName, address: Address = None, as_json: AsJson = False) -> int:
    """Show the status of a submitted sweep; if it failed, its exit code and last lines."""
    from raysel.service.jobs import connect  # noqa: PLC0415
    from raysel.service.status import job_status  # noqa: PLC0415

    cluster = connect(address)
    found = job_status(cluster, cluster.job(job))
    if as_json:
        print_json(found.to_dict())
        return found.exit_code
    began = f" since {_clock(found.job.began)}" if found.job.live and found.job.began else ""
    say(f"{found.job.id} · {found.state}{began}")
    if found.progress is not None:
        say(found.progress)
    if found.log:
        say(*found.log)
    elif found.message:
        say(found.message)
    return found.exit_code


def logs(
    job: JobName,
    address: Address = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Follow until it ends, and exit with its exit code."),
    ] = False,
) -> int:
    """Print what a submitted sweep has printed."""
    from raysel.service.jobs import connect  # noqa: PLC0415

    cluster = connect(address)
    found = cluster.job(job)
    if follow:
        return _follow(cluster, found.id, as_json=False)[1]
    with LogPrinter(sys.stdout) as printer:
        printer.write(cluster.log(found.id))
    return 0


def fetch(
    job: JobName,
    address: Address = None,
    to: Annotated[
        Path | None,
        path_option("--to", "DIR", "An empty folder; by default fetched/<name>."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download results, report and best model of a submitted sweep."""
    from raysel.service.fetch import fetch as bring  # noqa: PLC0415
    from raysel.service.jobs import connect  # noqa: PLC0415

    cluster = connect(address)
    found = cluster.job(job)
    folder = bring(cluster, found, to or Path("fetched") / (found.name or found.id))
    there = sorted(path.name for path in folder.iterdir())
    if as_json:
        return print_json({"id": found.id, "folder": str(folder), "files": there})
    return say(f"{folder}: {', '.join(there)}")


def list_there(address: str, as_json: bool) -> None:
    """`raysel list --address URL`."""
    from raysel.service.jobs import connect  # noqa: PLC0415
    from raysel.service.status import all_job_statuses  # noqa: PLC0415

    cluster = connect(address)
    rows = all_job_statuses(cluster)
    if as_json:
        return print_json({"address": cluster.url, "jobs": [row.to_dict() for row in rows]})
    if not rows:
        return say(f"{cluster.url} has no sweep")
    head = ("job", "state", "progress", "began")
    return print_table(head, [_cells(row) for row in rows], whole=(0, 1, 3))


def _cells(row: JobStatus) -> tuple[str, ...]:
    progress = str(row.progress or row.message or "")
    return (row.job.id, row.state, progress, _clock(row.job.began))


def stop_there(address: str, wanted: str, timeout: float, as_json: bool) -> int:
    """`raysel stop ID --address URL`."""
    from raysel.service.jobs import connect  # noqa: PLC0415

    cluster = connect(address)
    job = cluster.job(wanted)
    was_live = job.live
    if was_live:
        cluster.stop(job.id)
        job = cluster.wait(job.id, timeout)
    if as_json:
        print_json({"id": job.id, "state": job.state, "stopped": was_live and not job.live})
    elif not was_live:
        say(f"{job.id} is not running")
    elif job.live:
        say(f"{job.id} was asked to stop and still runs after {timeout:g} s")
    else:
        go_on = f"; go on with: raysel resume {job.name} --address {cluster.url}"
        say(f"{job.id} has stopped{go_on if job.name else ''}")
    return 1 if job.live else 0


def _clock(at: float | None) -> str:
    return "" if at is None else day(at)
