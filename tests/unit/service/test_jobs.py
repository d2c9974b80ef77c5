"""What a job's end means, and which cluster is asked."""

from __future__ import annotations

import socket

import pytest
from dashboard_kit import dashboard

from raysel.common.errors import OperationalError, UserError
from raysel.service import jobs as module
from raysel.service.jobs import Cluster, Job, connect


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 1, 1),
        ("FAILED", 2, 2),
        ("FAILED", 130, 130),
        ("FAILED", 137, 1),
        ("FAILED", -9, 1),
        ("FAILED", None, 1),
        ("STOPPED", None, 130),
    ],
)
def test_the_exit_code_is_the_one_of_raysel_run(
    state: str, code: int | None, expected: int
) -> None:
    assert Job("j", state, code).exit_code == expected


def test_the_address_given_beats_rays_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    with dashboard() as url:
        assert connect(url).jobs() == []


class Known(Cluster):
    """A cluster whose jobs are given."""

    def __init__(self, *jobs: Job) -> None:
        self._known = list(jobs)

    @property
    def url(self) -> str:
        return "http://cluster"

    def jobs(self) -> list[Job]:
        return self._known


def job(job_id: str, name: str) -> Job:
    return Job(job_id, "STOPPED", metadata={"raysel.name": name, "raysel.sweep": job_id[:-3]})


def test_a_sweep_is_found_by_its_name_its_id_and_its_jobs() -> None:
    first, second = job("digits-1a-r1", "digits"), job("digits-1a-r2", "digits")
    cluster = Known(first, second, job("pets-2b-r1", "pets"))
    assert cluster.job("digits") == second
    assert cluster.job("digits-1a") == second
    assert cluster.job("digits-1a-r1") == first


def test_an_unknown_job_is_a_mistake_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match='did you mean "digits"'):
        Known(job("digits-1a-r1", "digits")).job("digit")


def test_what_rays_client_raises_is_one_line() -> None:
    with dashboard() as url:
        cluster = connect(url)
    with pytest.raises(OperationalError) as refused:
        cluster.jobs()
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.timeout(30)
def test_a_head_that_fell_silent_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with dashboard() as url:
        cluster = connect(url)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, answers nothing
        cluster._client._address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(module, "REQUEST_SECONDS", 0.2)
        with pytest.raises(OperationalError, match="timed out"):
            cluster.stop("digits-1a-r1")


@pytest.mark.parametrize(("given", "attempt"), [("3", 3), ("abc", 1), ("", 1), ("-2", 1)])
def test_an_attempt_that_is_no_number_is_the_first(given: str, attempt: int) -> None:
    assert Job("j", "RUNNING", metadata={"raysel.attempt": given}).attempt == attempt
