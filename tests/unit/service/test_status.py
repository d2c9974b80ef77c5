"""How a submitted sweep stands, by its log."""

from __future__ import annotations

from typing import Any

import pytest

from raysel.service.jobs import Cluster, Job
from raysel.service.progress import Progress
from raysel.service.status import LOG_LINES, JobStatus, job_status
from raysel.spec.reader import parse

SWEEP_FILE = """
name: digits
task: {data: digits}
model: {name: resnet10t}
strategies: {full: }
search: {num_trials: 6}
"""

OF_THE_LOG = Progress("search", 0, 6, 2, "0:10")


class Logged(Cluster):
    """A cluster that has a log and nothing else."""

    def __init__(self) -> None: ...

    def log(self, job_id: str) -> str:
        return f"{OF_THE_LOG.line()}\n"


def job(*overrides: str, state: str = "RUNNING", **more: Any) -> Job:
    text = parse(SWEEP_FILE, overrides).to_yaml()
    reported = {"raysel.name": "digits", "raysel.sweep": "digits-1a", "raysel.spec": text}
    return Job("digits-1a-r1", state, metadata=reported, **more)


@pytest.mark.parametrize("given", [job(), Job("raysubmit_1", "RUNNING")])
def test_the_log_tells_how_far_it_is(given: Job) -> None:
    assert job_status(Logged(), given).progress == OF_THE_LOG


@pytest.mark.parametrize(
    ("state", "code", "reported"),
    [
        ("RUNNING", None, ("RUNNING", None)),
        ("SUCCEEDED", 0, ("SUCCEEDED", 0)),
        ("STOPPED", None, ("INTERRUPTED", 130)),
        ("FAILED", 130, ("INTERRUPTED", 130)),
        ("FAILED", 2, ("FAILED", 2)),
    ],
)
def test_the_state_says_whether_it_can_be_resumed(
    state: str, code: int | None, reported: tuple[str, int | None]
) -> None:
    found = JobStatus(job(state=state, code=code), None).to_dict()
    assert (found["state"], found["exit_code"]) == reported


def test_nothing_runs_in_a_job_that_has_ended() -> None:
    found = job_status(Logged(), job(state="STOPPED"))
    assert found.progress is not None and found.progress.running == 0


def test_a_job_that_failed_at_its_import_shows_the_end_of_its_log() -> None:
    class Failed(Logged):
        def log(self, job_id: str) -> str:
            lines = [f"  line {number}" for number in range(30)]
            return "\n".join(
                ["Traceback", *lines, "", "ModuleNotFoundError: No module named 'x'\n"]
            )

    found = job_status(Failed(), job(state="FAILED", code=1))
    assert found.log[-1] == "ModuleNotFoundError: No module named 'x'"
    assert len(found.log) == LOG_LINES and found.to_dict()["log"] == list(found.log)
    assert found.exit_code == 1


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("RUNNING", None, 0),
        ("SUCCEEDED", 0, 0),
        ("STOPPED", None, 0),  # it can be resumed
        ("FAILED", 130, 0),
        ("FAILED", 1, 1),
        ("FAILED", 2, 2),
        ("FAILED", None, 1),  # killed, or never begun
        ("FAILED", 127, 1),
    ],
)
def test_the_verb_fails_where_the_job_did(state: str, code: int | None, expected: int) -> None:
    assert job_status(Logged(), job(state=state, code=code)).exit_code == expected


def test_a_failure_is_reported_by_its_last_line() -> None:
    message = "Job entrypoint command failed with exit code 2, last logs:\nnote\nerror  task: no\n"
    assert (
        JobStatus(job(state="FAILED", code=2, message=message), None).message == "error  task: no"
    )
