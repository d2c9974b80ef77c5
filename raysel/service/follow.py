"""Follow the output of a job, also over an unstable connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from raysel.common.errors import OperationalError
from raysel.service.jobs import Cluster, Job

PATIENCE_SECONDS = 60.0
"""How long to retry a cluster that does not answer any more."""

SILENCE_SECONDS = 60.0
"""How long a job may print nothing before it is asked whether it still runs: a connection whose
other end is gone says nothing either."""

_AGAIN_SECONDS = 1.0


def follow(cluster: Cluster, job_id: str, write: Callable[[str], None]) -> Job:
    """Write the job's output, each character once, until the job has ended.

    Raises:
        OperationalError: the cluster does not answer for longer than `PATIENCE_SECONDS`.
    """
    reader = _Reader(write)
    away_since: float | None = None
    while True:
        try:
            asyncio.run(reader.read(cluster, job_id))
            job = cluster.state(job_id)
            if not job.live:
                return job
            away_since = None
        except OperationalError:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > PATIENCE_SECONDS:
                raise
        time.sleep(_AGAIN_SECONDS)


class _Reader:
    """Skips output that an earlier connection has delivered."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._written = 0  # characters

    async def read(self, cluster: Cluster, job_id: str) -> None:
        """Read until the cluster says that it is the end, or nothing for long."""
        seen = 0
        chunks = cluster.tail(job_id)
        while True:
            try:
                chunk = await asyncio.wait_for(anext(chunks), SILENCE_SECONDS)
            except (StopAsyncIteration, asyncio.TimeoutError):
                return
            seen += len(chunk)
            if (new := seen - self._written) > 0:
                self._write(chunk[-new:])
                self._written = seen
