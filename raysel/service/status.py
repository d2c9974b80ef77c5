"""Status of a submitted sweep: the job's state, and the sweep's progress."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from raysel.common.errors import INTERRUPTED
from raysel.service.jobs import COMMIT, Cluster, Job
from raysel.service.progress import Progress, last_of

FAILED = "FAILED"
"""Ray's message for a job whose command failed, at its first import perhaps."""

LOG_LINES = 10
"""Number of log lines shown of a failed job."""


@dataclass(frozen=True)
class JobStatus:
    """Status of one submitted sweep.

    Attributes:
        progress: None where the log says nothing yet.
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
    """A job with the progress that its log tells of."""
    log = cluster.log(job.id)
    progress = last_of(log)
    if progress is not None and not job.live:  # its last word was of a moment before
        progress = replace(progress, running=0)
    found = JobStatus(job, progress)
    if found.state != FAILED:
        return found
    return replace(found, log=tuple(line for line in log.splitlines() if line.strip())[-LOG_LINES:])


def all_job_statuses(cluster: Cluster) -> list[JobStatus]:
    """Every job that runs a sweep, the oldest first; progress of those that run."""
    jobs = [job for job in cluster.jobs() if job.sweep]
    return [job_status(cluster, job) if job.live else JobStatus(job, None) for job in jobs]
