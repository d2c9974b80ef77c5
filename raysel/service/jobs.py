"""The jobs of a cluster, through Ray's Jobs API. Ray is imported here."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ray.job_submission import JobSubmissionClient, JobType

from raysel.common.errors import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    OperationalError,
    UserError,
    nearest,
    user_error,
)
from raysel.service.endpoint import ClusterEndpoint, address_of, probe_auth

NAME, SWEEP, ATTEMPT = "raysel.name", "raysel.sweep", "raysel.attempt"
"""Job metadata keys: sweep name, sweep id, attempt number (from 1)."""

SPEC = "raysel.spec"
"""The resolved sweep file."""

COMMIT = "raysel.git_sha"
"""The commit from which the sweep was submitted."""

LIVE = ("PENDING", "RUNNING")

REQUEST_SECONDS = (10.0, 120.0)
"""How long a request may take to connect, and an answer to come: a job that is submitted is
answered when it starts."""

_TALKATIVE = ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk")
for _name in (*_TALKATIVE, "_private.runtime_env.packaging"):
    logging.getLogger(f"ray.{_name}").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Job:
    """One Ray job.

    Attributes:
        state: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        code: the exit code of its command, None while it runs or where it was killed.
        began, ended: seconds since the epoch.
        message: why it failed, in Ray's words.
        metadata: what `raysel submit` wrote; empty for other jobs.
    """

    id: str
    state: str
    code: int | None = None
    began: float | None = None
    ended: float | None = None
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Whether it runs, or is about to."""
        return self.state in LIVE

    @property
    def name(self) -> str:
        """The sweep's name; empty for another job."""
        return self.metadata.get(NAME, "")

    @property
    def sweep(self) -> str:
        """The sweep's id; empty for another job."""
        return self.metadata.get(SWEEP, "")

    @property
    def attempt(self) -> int:
        """The attempt number of the job in its sweep, from 1."""
        given = self.metadata.get(ATTEMPT, "1")
        return int(given) if given.isdecimal() else 1  # whoever submits a job may write anything

    @property
    def exit_code(self) -> int:
        """As `raysel run` would have ended in this terminal: Ray's own commands lose it."""
        if self.state == "SUCCEEDED":
            return 0
        if self.state == "STOPPED":
            return INTERRUPTED
        return self.code if self.code in (FAILED, BAD_INPUT, INTERRUPTED) else FAILED


class _Client(JobSubmissionClient):
    """Ray's own, which waits for ever for a head that fell silent."""

    def _do_request(self, *args: Any, **kwargs: Any) -> Any:
        return super()._do_request(*args, **{"timeout": REQUEST_SECONDS, **kwargs})


class Cluster:
    """A cluster that accepts our requests."""

    def __init__(self, endpoint: ClusterEndpoint) -> None:
        self.endpoint = endpoint
        with self._translate_errors(), _without("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
            self._client = _Client(endpoint.url, headers=endpoint.headers)

    @property
    def url(self) -> str:
        """The cluster's address."""
        return self.endpoint.url

    def jobs(self) -> list[Job]:
        """The submitted jobs, the oldest first."""
        with self._translate_errors():
            found = [_job(d) for d in self._client.list_jobs() if d.type == JobType.SUBMISSION]
        return sorted(found, key=lambda job: (job.began or 0.0, job.attempt))

    def job(self, wanted: str) -> Job:
        """A job by its id; the last one of a sweep by the sweep's id or name.

        Raises:
            UserError: there is none; the message has the nearest name.
        """
        jobs = self.jobs()
        known = [job for job in jobs if wanted in (job.id, job.sweep, job.name)]
        if known:
            return next((job for job in known if job.id == wanted), known[-1])
        names = sorted({job.name or job.id for job in jobs})
        hint = f"; {nearest(wanted, names)}" if names else "; it has none"
        raise user_error(wanted, f"{self.url} has no such job{hint}")

    def state(self, job_id: str) -> Job:
        """A job as it is now."""
        with self._translate_errors(job_id):
            return _job(self._client.get_job_info(job_id))

    def log(self, job_id: str) -> str:
        """All that a job has printed until now."""
        with self._translate_errors(job_id):
            return self._client.get_job_logs(job_id)

    async def tail(self, job_id: str) -> AsyncIterator[str]:
        """What a job has printed and prints, until it ends."""
        with self._translate_errors(job_id):
            async for text in self._client.tail_job_logs(job_id):
                yield text

    def submit(
        self, job_id: str, entrypoint: str, runtime_env: dict[str, Any], metadata: dict[str, str]
    ) -> None:
        """Submit a command as a job.

        Raises:
            OperationalError: the cluster does not take it.
        """
        with self._translate_errors():
            self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=job_id,
                runtime_env=runtime_env,
                metadata=metadata,
            )

    def stop(self, job_id: str) -> None:
        """Ask a job to end; it takes its time."""
        with self._translate_errors(job_id):
            self._client.stop_job(job_id)

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended."""
        with self._translate_errors(job_id):
            self._client.delete_job(job_id)

    def wait(self, job_id: str, timeout: float) -> Job:
        """The job when it has ended, or as it is after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (job := self.state(job_id)).live and time.monotonic() < deadline:
            time.sleep(0.3)
        return job

    @contextmanager
    def _translate_errors(self, job_id: str | None = None) -> Iterator[None]:
        """Translate errors of Ray's client, which has no exception types, into one line."""
        try:
            yield
        except (UserError, OperationalError):
            raise
        except Exception as error:
            words = " ".join(str(error).split()) or type(error).__name__
            if job_id and "status code 404" in words:
                raise user_error(job_id, f"{self.url} has no such job") from None
            raise OperationalError(self.url, words[:400]) from error


def connect(given: str | None) -> Cluster:
    """The cluster at the address that was given, else the one that the environment names.

    Raises:
        UserError: nothing is named.
        OperationalError: it does not answer, or refuses the token.
    """
    return Cluster(probe_auth(address_of(given, os.environ), os.environ).accepted())


def _job(details: Any) -> Job:
    def seconds(at: int | None) -> float | None:
        return None if at is None else at / 1000

    return Job(
        id=details.submission_id,
        state=str(getattr(details.status, "value", details.status)),
        code=details.driver_exit_code,
        began=seconds(details.start_time),
        ended=seconds(details.end_time),
        message=details.message or "",
        metadata=details.metadata or {},
    )


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Unset variables that would override the address given to Ray's client."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
