"""What ends a sweep before its budget does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from raysel.engine.signals import GRACE, Handlers, on_signals


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


def test_a_terminal_that_is_closed_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GRACE, raising=False)
    asked: list[str] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        with on_signals(asked.append):
            for _ in range(3):  # the kernel, the shell, and once more
                os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert asked == ["stopped by SIGHUP: the terminal was closed"]


def test_nohup_stays_in_force() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asked: list[str] = []
    try:
        with on_signals(asked.append):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not asked


def test_handlers_that_a_library_replaced_are_put_back() -> None:
    asked: list[str] = []
    with on_signals(asked.append):
        handlers = Handlers()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        handlers.restore()
        os.kill(os.getpid(), signal.SIGTERM)
    assert len(asked) == 1


def test_an_abort_that_rays_handler_ordered_is_cancelled() -> None:
    with on_signals(lambda _: None):
        signal.alarm(60)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.alarm(0) == 0


VERB = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
from raysel.cli import main as cli
def verb(arguments):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("cleared away", flush=True)
cli._main = verb
sys.exit(cli.main(["finetune"]))
"""


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_every_other_verb_clears_away_what_it_began(sign: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", VERB], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(sign)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "cleared away\n", "")
