"""A log is handed on whole and once, also where the line breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from raysel.common.errors import OperationalError
from raysel.service import follow as module
from raysel.service.follow import follow
from raysel.service.jobs import Cluster, Job


class Breaking(Cluster):
    """A cluster whose line breaks after so many pieces, each time anew."""

    def __init__(self, pieces: list[str], breaks: list[int], away: bool = False) -> None:
        self._pieces, self._breaks, self._away = pieces, breaks, away

    async def tail(self, job_id: str) -> AsyncIterator[str]:
        upto = self._breaks.pop(0) if self._breaks else None
        for index, piece in enumerate(self._pieces):
            if index == upto:
                raise OperationalError("http://cluster", "went away")
            yield piece

    def state(self, job_id: str) -> Job:
        if self._away:
            raise OperationalError("http://cluster", "does not answer")
        return Job(job_id, "SUCCEEDED", 0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.0)


@pytest.mark.parametrize("breaks", [[], [0], [2, 1, 3]])
def test_every_character_comes_once(breaks: list[int]) -> None:
    written: list[str] = []
    job = follow(Breaking(["one\n", "two", "\nthree\n", "four\n"], breaks), "j", written.append)
    assert "".join(written) == "one\ntwo\nthree\nfour\n"
    assert job.exit_code == 0


def test_a_cluster_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(OperationalError, match="does not answer"):
        follow(Breaking([], [], away=True), "j", print)


def test_a_line_that_fell_silent_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Breaking):
        async def tail(self, job_id: str) -> AsyncIterator[str]:
            yield "one\n"
            if self._breaks:
                self._breaks.pop()
                await asyncio.sleep(60.0)
            yield "two\n"

        def state(self, job_id: str) -> Job:
            return Job(job_id, "SUCCEEDED" if len(written) == 2 else "RUNNING", 0)

    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.05)
    written: list[str] = []
    follow(Silent([], [1]), "j", written.append)
    assert written == ["one\n", "two\n"]
