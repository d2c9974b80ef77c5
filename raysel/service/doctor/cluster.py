"""The probe's questions, carried to a cluster: by a job, or by the Ray that this process is
connected to."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raysel.errors import Trouble
from raysel.service.doctor import probe

_JOB_SECONDS = 120
_ENVIRONMENT = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Either would beat the address that was given."""

_SENT = {"RAY_AUTH_MODE": "token"}


def by_job(address: str, question: dict[str, Any]) -> dict[str, Any]:
    """Run the probe as a job of the cluster at `address`; what it told.

    Raises:
        Trouble: the job did not end in time, or without an answer.
    """
    from ray.job_submission import JobStatus, JobSubmissionClient  # noqa: PLC0415

    with _addressed(), tempfile.TemporaryDirectory() as folder:
        shutil.copy(probe.__file__, folder)
        client = JobSubmissionClient(address)
        argument = shlex.quote(json.dumps(question | {"cluster": True}))
        job = client.submit_job(
            entrypoint=f"python {Path(probe.__file__).name} {argument}",
            runtime_env={"working_dir": folder},
            metadata={"name": "raysel doctor"},
        )
        deadline = time.monotonic() + _JOB_SECONDS
        while not (status := client.get_job_status(job)).is_terminal():
            if time.monotonic() > deadline:
                client.stop_job(job)
                raise Trouble(address, f"the doctor's job {job} did not end in {_JOB_SECONDS} s")
            time.sleep(0.5)
        logs = client.get_job_logs(job)
        if status == JobStatus.SUCCEEDED:
            with contextlib.suppress(RuntimeError):
                client.delete_job(job)
    answer = answer_in(logs)
    if answer is None:
        last = (logs.strip().splitlines() or ["its log is empty"])[-1]
        raise Trouble(address, f"the doctor's job {job} failed ({last[:200]}): ray job logs {job}")
    return answer


def here(question: dict[str, Any]) -> dict[str, Any]:
    """The same by tasks of the Ray that this process is connected to."""
    from ray import cloudpickle  # noqa: PLC0415

    # a node that lacks raysel must be able to say so
    cloudpickle.register_pickle_by_value(probe)
    try:
        return probe.cluster(question)
    finally:
        cloudpickle.unregister_pickle_by_value(probe)


def answer_in(text: str) -> Any:
    """The probe's answer among whatever else was printed; None where there is none."""
    lines = [line for line in text.splitlines() if line.startswith(probe.MARK)]
    try:
        return json.loads(lines[-1][len(probe.MARK) :]) if lines else None
    except ValueError:
        return None


@contextlib.contextmanager
def _addressed() -> Iterator[None]:
    """The environment in which Ray's client takes the address that it is given, and shows the
    token."""
    before = {name: os.environ.pop(name, None) for name in _ENVIRONMENT}
    before |= {name: os.environ.get(name) for name in _SENT}
    os.environ.update(_SENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
