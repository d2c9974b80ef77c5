"""What ends a sweep before its budget does."""

from __future__ import annotations

import os
import signal
import time

import pytest

from raysel.sweep.interruptions import GRACE, on_signals


def test_a_job_leaves_at_once_when_half_of_its_grace_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(GRACE, "1")
    asked: list[str] = []
    with on_signals(asked.append):
        os.kill(os.getpid(), signal.SIGINT)
        assert asked == ["the job was stopped"]
        deadline = time.monotonic() + 5
        while len(asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert len(asked) == 2


def test_a_person_asks_again_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GRACE, raising=False)
    asked: list[str] = []
    with on_signals(asked.append):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
    assert asked == ["stopped by SIGTERM"]
