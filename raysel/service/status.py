"""Status of a submitted sweep: the job's state, and the sweep's progress."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from raysel.common.errors import INTERRUPTED, OperationalError, UserError
from raysel.common.locations import sweep_url
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.record.state import RUNNING, fold, fold_sweep
from raysel.report.review import sweep_row
from raysel.service.jobs import COMMIT, SPEC, Cluster, Job
from raysel.service.progress import Progress, last_of
from raysel.service.storage import seen_here
from raysel.spec import reader
from raysel.spec.sweep import Spec
from raysel.sweep.views import SweepView, read_sweep

FAILED = "FAILED"
"""Ray's message for a job whose command failed, at its first import perhaps."""

LOG_LINES = 10
"""Number of log lines shown of a failed job."""


@dataclass(frozen=True)
class JobStatus:
    """Status of one submitted sweep.

    Attributes:
        progress: None where neither the record nor the log says anything yet.
        log: the last lines of a job that failed.
    """

    job: Job
    progress: Progress | None
    log: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """Ray's state, or INTERRUPTED for a sweep that can be resumed."""
        ended = not self.job.live
        return "INTERRUPTED" if ended and self.job.exit_code == INTERRUPTED else self.job.state

    @property
    def exit_code(self) -> int:
        """Of the verb that shows it: the job's own where it failed, so that a script notices."""
        return self.job.exit_code if self.state == FAILED else 0

    def to_dict(self) -> dict[str, Any]:
        """For a script."""
        job = self.job
        return {
            "id": job.id,
            "name": job.name,
            "sweep": job.sweep,
            "state": self.state,
            "exit_code": None if job.live else job.exit_code,
            "began": job.began,
            "ended": job.ended,
            "git_sha": job.metadata.get(COMMIT) or None,
            "message": self.message,
            "log": list(self.log),
            "progress": asdict(self.progress) if self.progress else None,
        }

    @property
    def message(self) -> str | None:
        """Why it failed, in one line; None where it did not."""
        lines = [line for line in self.job.message.splitlines() if line.strip()]
        return lines[-1] if lines and self.state == FAILED else None


def job_status(cluster: Cluster, job: Job) -> JobStatus:
    """A job with its progress: from the record where that can be reached, else from its log."""
    progress = _recorded(job) or last_of(cluster.log(job.id))
    if progress is not None and not job.live:  # its last word was of a moment before
        progress = replace(progress, running=0)
    found = JobStatus(job, progress)
    return replace(found, log=_last_lines(cluster.log(job.id))) if found.state == FAILED else found


def _last_lines(log: str) -> tuple[str, ...]:
    return tuple(line for line in log.splitlines() if line.strip())[-LOG_LINES:]


def all_job_statuses(cluster: Cluster) -> list[JobStatus]:
    """Every job that runs a sweep, the oldest first; progress of those that run."""
    jobs = [job for job in cluster.jobs() if job.sweep]
    return [job_status(cluster, job) if job.live else JobStatus(job, None) for job in jobs]


def _recorded(job: Job) -> Progress | None:
    if SPEC not in job.metadata:
        return None
    try:
        view = _view(job, reader.parse(job.metadata[SPEC]))
    except (OperationalError, UserError):
        return None  # out of reach from here
    if view is None or not view.trials:
        return None
    row = sweep_row(view)
    confirming = bool(row.runs)
    return Progress(
        phase="confirm" if confirming else "search",
        done=row.confirmed if confirming else row.done,
        total=row.runs if confirming else row.trials,
        running=sum(trial.status == RUNNING for trial in view.trials),
        metric=row.metric,
        best=row.best,
        label=row.best_label or "",
    )


def _view(job: Job, spec: Spec) -> SweepView | None:
    if spec.database_url is None:
        there = seen_here(job, spec.storage) is not None
        return read_sweep(spec.storage, spec.name) if there else None
    folder = SweepFolder.of(spec.storage, spec.name)
    events = read_events(sweep_url(spec.database_url, folder.record, spec.name))
    trials = tuple(fold(events).values())
    return SweepView(folder, spec, fold_sweep(events), trials, None)
