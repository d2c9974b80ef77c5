"""Submit a sweep as a job: a running one is reported, an interrupted one is resumed."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import raysel
from raysel.common import credentials
from raysel.common.errors import OperationalError, user_error
from raysel.engine.signals import GRACE
from raysel.service.bundle import (
    SWEEP_FILE,
    Bundle,
    bundle,
    check_size,
    package_folder,
    package_sizes,
    suite_bundle,
)
from raysel.service.jobs import ATTEMPT, COMMIT, NAME, SPEC, SWEEP, Cluster, Job
from raysel.service.sent_file import SentFile
from raysel.service.storage import for_a_shell, lasting
from raysel.spec.suite import Suite
from raysel.spec.sweep import Spec
from raysel.sweep.manifest import GIT_SHA, SENT_AS, git_sha

CODE_TEXTS = "raysel.code"
"""The key of a job's metadata for the user's code by path. It is not there where files that were
included are needed too, or where the code is long."""

KEPT_BYTES = 48 * 1024
"""How much code a job's metadata holds: Ray hands it on in one environment variable, of which
Linux takes 128 KiB."""

GRACE_SECONDS = 120
"""How long a job that is stopped may take; Ray's own are 3."""


@dataclass(frozen=True)
class SubmitOptions:
    """How a sweep is to be submitted.

    Attributes:
        installed: raysel is on the nodes; it is not sent.
        open_cluster: take a cluster that asks for no token.
        grace: seconds that the job has to end when it is stopped.
        secrets: the credentials that it needs, in clear.
    """

    installed: bool = False
    open_cluster: bool = False
    grace: int = GRACE_SECONDS
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class SubmitResult:
    """Result of a submission: the job, a message, and whether the job is new."""

    job: Job
    words: str
    new: bool


def sent_id(file: SentFile) -> str:
    """The sweep's or the suite's name and a hash of its name and resolved file."""
    text = f"{file.name}\n{file.text}"
    return f"{file.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def submit(
    cluster: Cluster, spec: Spec, options: SubmitOptions, include: Sequence[Path] = ()
) -> SubmitResult:
    """Run a sweep on a cluster, report that it runs already, or resume it.

    Args:
        spec: its code files by a path that is valid here.
        include: files besides, as in `bundle`.

    Raises:
        UserError: the files are too large, or another sweep of that name runs.
        OperationalError: the cluster asks for no token, or does not take the job.
    """
    return _submit(cluster, bundle(spec, include), options, again=False)


def submit_suite(
    cluster: Cluster, suite: Suite, options: SubmitOptions, include: Sequence[Path] = ()
) -> SubmitResult:
    """The same for a suite, which is one job."""
    return _submit(cluster, suite_bundle(suite, include), options, again=False)


def resume(
    cluster: Cluster, wanted: str, overrides: Sequence[str], options: SubmitOptions
) -> SubmitResult:
    """Resume a submitted sweep, from any machine.

    Args:
        wanted: the job, or its sweep by id or name.
        overrides: `search.num_trials=60` and the like extend it.

    Raises:
        UserError: there is no such job, its files are not kept, or it would change its meaning.
        OperationalError: as in `submit`.
    """
    job = cluster.job(wanted)
    if CODE_TEXTS not in job.metadata:
        raise user_error(
            job.id, "this job's code is not stored with it; resume with: raysel submit FILE"
        )
    file = SentFile.read(job.metadata[SPEC]).with_overrides(overrides)
    code = json.loads(job.metadata[CODE_TEXTS])
    return _submit(cluster, Bundle({SWEEP_FILE: file.text} | code, {}), options, again=True)


def _submit(cluster: Cluster, files: Bundle, options: SubmitOptions, again: bool) -> SubmitResult:
    if not cluster.endpoint.requires_token and not options.open_cluster:
        raise OperationalError(
            cluster.url,
            "asks for no token: whoever reaches it can run code on it. Start it with "
            "RAY_AUTH_MODE=token, or give --open-cluster",
        )
    file = SentFile.read(files.texts[SWEEP_FILE])
    sweep = sent_id(file)
    jobs = [job for job in cluster.jobs() if job.name == file.name]
    mine = [job for job in jobs if job.sweep == sweep]
    if existing := _existing_job(jobs, mine, sweep, again):
        return existing
    check_size(files.sizes() | ({} if options.installed else package_sizes()))
    attempt = 1 + max((job.attempt for job in mine), default=0)
    job = Job(f"{sweep}-r{attempt}", "PENDING", metadata=_metadata(file, sweep, attempt, files))
    with tempfile.TemporaryDirectory(prefix="raysel-") as folder:
        files.write(Path(folder))
        environment = _runtime_env(Path(folder), cluster, options, sweep)
        try:
            cluster.submit(job.id, entrypoint(file.storage), environment, dict(job.metadata))
        except OperationalError:
            # another client was a moment earlier
            if other := next((j for j in cluster.jobs() if j.id == job.id), None):
                return SubmitResult(other, f"{job.id} runs already", new=False)
            raise
    return SubmitResult(job, f"{job.id} {'submitted' if attempt == 1 else 'goes on'}", new=True)


def _existing_job(jobs: list[Job], mine: list[Job], sweep: str, again: bool) -> SubmitResult | None:
    """The result for a sweep that runs already or is complete; None for one to submit."""
    live = next((job for job in reversed(jobs) if job.live), None)
    if live is not None and live.sweep == sweep:
        return SubmitResult(live, f"{live.id} runs already", new=False)
    if live is not None:
        raise user_error(
            live.name,
            f"a sweep of that name runs with another file, as {live.id}. Stop it, or give the new "
            f"one a name: --set name={live.name}-2",
        )
    if mine and mine[-1].state == "SUCCEEDED" and not again:
        words = f"{mine[-1].id} is complete; raysel fetch {mine[-1].name} downloads its results"
        return SubmitResult(mine[-1], words, new=False)
    return None


def entrypoint(storage: str) -> str:
    """The command of a job."""
    wanted = "" if lasting(storage) else f" --set storage={for_a_shell(storage)}"
    return f"exec python -m raysel run {SWEEP_FILE} --resume-if-exists{wanted}"


def _metadata(file: SentFile, sweep: str, attempt: int, files: Bundle) -> dict[str, str]:
    metadata = {
        NAME: file.name,
        SWEEP: sweep,
        ATTEMPT: str(attempt),
        SPEC: file.text,
        "raysel.version": raysel.__version__,
        COMMIT: git_sha() or "",
    }
    code = json.dumps({path: text for path, text in files.texts.items() if path != SWEEP_FILE})
    if not files.included and len(code) <= KEPT_BYTES:
        metadata[CODE_TEXTS] = code
    return metadata


def _runtime_env(
    folder: Path, cluster: Cluster, options: SubmitOptions, sweep: str
) -> dict[str, Any]:
    environment: dict[str, Any] = {"env_vars": {}}
    if options.secrets and cluster.endpoint.token:
        environment = credentials.runtime_env(options.secrets, cluster.endpoint.token)
    environment["env_vars"] |= {
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        GRACE: str(options.grace),
        GIT_SHA: git_sha() or "",
        SENT_AS: sweep,
    }
    environment["working_dir"] = str(folder)
    if not options.installed:
        environment["py_modules"] = [str(package_folder())]
    return environment
