"""`raysel` in a process of its own, with a Ray of its own and epochs that take long: however it is
stopped it ends in order, and every record says so."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from raysel.spec.sweep import Spec

from .drivers import epochs, wait_until
from .endings import check, statuses
from .helpers import states
from .puppet import puppet

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

RAYSEL = str(Path(sys.executable).with_name("raysel"))
START_SECONDS, END_SECONDS = 240.0, 240.0


class Running:
    """A sweep that runs in the first trial's second epoch."""

    def __init__(self, folder: Path, spec: Spec, process: subprocess.Popen[bytes]) -> None:
        self.spec, self.process, self._folder = spec, process, folder

    @property
    def output(self) -> str:
        return (self._folder / "output.txt").read_text(errors="replace")

    def raysel(self, *verb: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RAYSEL, *verb, "--storage", self.spec.storage], capture_output=True, text=True
        )

    def child(self, name: str) -> psutil.Process:
        """A process of its Ray."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in found if child.name() == name)

    def ended(self) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(END_SECONDS)

    def in_order(self, cause: str, epochs_more: int = 1) -> None:
        """It left with 130, without a word of Ray's, and every record has the cause."""
        assert self.ended() == 130, self.output
        lines = [line for line in self.output.splitlines() if "***" in line or "Stack" in line]
        assert not lines
        trials = check(self.spec, "INTERRUPTED", cause)
        assert statuses(trials) == ["INTERRUPTED"]
        assert {trial.cause for trial in trials.values()} == {cause}
        assert len(trials["0000"].epochs) == 1 + epochs_more


@contextmanager
def running(folder: Path, seconds: float, terminal: Terminal | None = None) -> Iterator[Running]:
    """A sweep of `raysel run`, whose epochs but the first one take so many seconds.

    Args:
        terminal: on which it leads a session.
    """
    spec = puppet(folder, folder / "runs", "long", f"if epoch > 1: time.sleep({seconds})")
    # this process has set Ray's variables already: a user's shell has not
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))}
    command = [RAYSEL, "run", str(folder / "long.yaml")]
    with (folder / "output.txt").open("wb") as output:
        stream = output if terminal is None else terminal.inside
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if terminal is None else terminal.inside,
            stdout=stream,
            stderr=stream,
            env=inherited,
            start_new_session=True,
            preexec_fn=None if terminal is None else terminal.take,
        )
    found = Running(folder, spec, process)
    try:
        wait_until(lambda: epochs(spec) or process.poll() is not None, START_SECONDS)
        assert process.poll() is None, found.output
        time.sleep(0.5)  # into the second epoch
        yield found
    finally:
        family = [psutil.Process(process.pid)] if process.poll() is None else []
        family += [child for one in family for child in one.children(recursive=True)]
        for one in family:
            one.kill()
        process.wait()


class Terminal:
    """A terminal whose window can be closed."""

    def __init__(self) -> None:
        self._outside, self.inside = pty.openpty()
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def take(self) -> None:
        """In a child that leads a session: its terminal is this one."""
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def _read(self) -> None:
        while not self._closed.is_set():  # or whoever writes would wait
            if select.select([self._outside], [], [], 0.1)[0]:
                os.read(self._outside, 4096)

    def close(self) -> None:
        """The kernel tells every process in the foreground."""
        self._closed.set()
        self._reader.join()
        os.close(self.inside)
        os.close(self._outside)


def send(sign: signal.Signals) -> Callable[[Running], None]:
    return lambda sweep: sweep.process.send_signal(sign)


def stop(sweep: Running) -> None:
    done = sweep.raysel("stop", "long")
    assert done.returncode == 0 and not done.stderr, done
    (line,) = done.stdout.splitlines()
    assert line.startswith("long has stopped (stopped by SIGTERM); go on with: raysel resume long")


@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize(
    ("how", "cause"),
    [
        (send(signal.SIGTERM), "stopped by SIGTERM"),
        (stop, "stopped by SIGTERM"),
        (send(signal.SIGINT), "stopped by Ctrl-C"),
    ],
    ids=["SIGTERM", "stop", "SIGINT"],
)
def test_however_it_is_stopped_the_epoch_of_10_seconds_is_ended(
    tmp_path: Path, how: Callable[[Running], None], cause: str, turn: int
) -> None:
    with running(tmp_path, 10.0) as sweep:
        how(sweep)
        sweep.in_order(cause)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_wait_for_the_epoch(tmp_path: Path, first: signal.Signals) -> None:
    with running(tmp_path, 120.0) as sweep:
        send(first)(sweep)
        time.sleep(1.0)
        began = time.monotonic()
        send(signal.SIGTERM)(sweep)
        cause = "stopped by SIGTERM" if first == signal.SIGTERM else "stopped by Ctrl-C"
        sweep.in_order(cause, epochs_more=0)
        assert time.monotonic() - began < 100


def test_a_terminal_that_is_closed_ends_it_in_order(tmp_path: Path) -> None:
    terminal = Terminal()
    with running(tmp_path, 10.0, terminal) as sweep:
        terminal.close()
        sweep.in_order("stopped by SIGHUP: the terminal was closed")


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_ray_that_dies_is_reported_in_one_line_at_once(tmp_path: Path, name: str) -> None:
    with running(tmp_path, 100.0) as sweep:
        sweep.child(name).kill()
        began = time.monotonic()
        assert sweep.ended() == 1
        assert time.monotonic() - began < 30
        (line,) = [line for line in sweep.output.splitlines() if line.startswith("error")]
        assert f"its {name} (process" in line and "go on with: raysel resume long" in line
        assert "core_worker" not in sweep.output and "[state-dump]" not in sweep.output
        trials = states(Path(sweep.spec.storage) / "long")
        assert statuses(trials) == ["INTERRUPTED"]
        listed = sweep.raysel("list").stdout
        assert f"Ray was lost: its {name}" in listed


def test_a_whole_group_that_is_terminated_is_stopped_and_not_lost(tmp_path: Path) -> None:
    with running(tmp_path, 100.0) as sweep:
        os.killpg(sweep.process.pid, signal.SIGTERM)  # as systemd does: Ray is hit too
        assert sweep.ended() == 130, sweep.output
        trials = check(sweep.spec, "INTERRUPTED", "stopped by SIGTERM")
        assert {trial.status for trial in trials.values()} == {"INTERRUPTED"}
        assert "killed" not in sweep.output  # whoever stops it has not run out of memory
