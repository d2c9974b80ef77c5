"""Run the probe on a cluster: by a job, or by the Ray that this process is
connected to."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from raysel.common import credentials
from raysel.common.credentials import cluster_token
from raysel.common.errors import OperationalError
from raysel.service.bundle import package_folder
from raysel.service.doctor import probe
from raysel.service.endpoint import ClusterEndpoint

_JOB_SECONDS = 180.0
"""From a job's submission to its end."""


def by_job(address: str, requires_token: bool, question: dict[str, Any]) -> dict[str, Any]:
    """Run the probe as a job of the cluster at `address` and return its facts.

    Args:
        requires_token: whether the cluster asks for a token.

    Raises:
        OperationalError: the job did not end in time, or without an answer.
    """
    from raysel.service.jobs import Cluster  # noqa: PLC0415

    token = cluster_token(os.environ) if requires_token else None
    cluster = Cluster(ClusterEndpoint(address, token))
    job = f"raysel-doctor-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="raysel-") as folder:
        shutil.copy(probe.__file__, folder)
        argument = shlex.quote(json.dumps(question | {"cluster": True}))
        command = f"exec python {Path(probe.__file__).name} {argument}"
        cluster.submit(job, command, _environment(folder, token), {"name": "raysel doctor"})
    ended = cluster.wait(job, _JOB_SECONDS)
    if ended.live:
        cluster.stop(job)
        raise OperationalError(address, f"the job {job} did not end in {_JOB_SECONDS:g} s")
    log = cluster.log(job)
    facts: dict[str, Any] | None = parse_facts(log)
    if facts is None:
        last = (log.strip().splitlines() or [ended.message or "its log is empty"])[-1]
        raise OperationalError(address, f"the job {job} failed ({last[:200]})")
    cluster.delete(job)
    return facts


def _environment(folder: str, token: str | None) -> dict[str, Any]:
    """The job's environment: raysel, which checks MLflow, and the sweep's credentials."""
    environment: dict[str, Any] = {"working_dir": folder, "py_modules": [str(package_folder())]}
    known = credentials.found(os.environ)
    if known and token:
        environment |= credentials.runtime_env(known, token)
    return environment


def here(question: dict[str, Any]) -> dict[str, Any]:
    """The same by tasks of the Ray that this process is connected to."""
    from ray import cloudpickle  # noqa: PLC0415

    # a node that lacks raysel must be able to say so
    cloudpickle.register_pickle_by_value(probe)
    try:
        return probe.cluster(question)
    finally:
        cloudpickle.unregister_pickle_by_value(probe)


def parse_facts(text: str) -> Any:
    """The probe's line of JSON in a job's output; None if there is none."""
    lines = [line for line in text.splitlines() if line.startswith(probe.MARK)]
    try:
        return json.loads(lines[-1][len(probe.MARK) :]) if lines else None
    except ValueError:
        return None
