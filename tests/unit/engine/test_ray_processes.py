"""Which processes are a dead driver's, and are ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from raysel.common.errors import FAILED, INTERRUPTED
from raysel.engine.ray_processes import DRIVER, end_orphans, marked, orphans, watching, without_ray
from raysel.record.ownership import Holder
from raysel.service.doctor.examine import check_local

SLEEP = (sys.executable, "-c", "import time; print(flush=True); time.sleep(60)")


@contextmanager
def child(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps."""
    process = subprocess.Popen(SLEEP, stdout=subprocess.PIPE, env=os.environ | environment)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def dead() -> Holder:
    """A driver that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return replace(Holder.this_process(), pid=process.pid, born="1")


def mark(holder: Holder) -> dict[str, str]:
    return {DRIVER: json.dumps(asdict(holder))}


def test_what_a_dead_driver_left_is_ended() -> None:
    with child(mark(dead())) as left, child({}) as other:
        assert psutil.Process(left.pid) in orphans()
        end_orphans()
        left.wait(5)
        assert other.poll() is None


def test_a_later_process_of_the_same_pid_is_not_the_driver() -> None:
    with child(mark(replace(Holder.this_process(), born="1"))) as left:
        assert psutil.Process(left.pid) in orphans()


def test_what_belongs_to_a_driver_that_lives_is_left_alone() -> None:
    with marked(), child({}) as mine:
        assert DRIVER in psutil.Process(mine.pid).environ()
        assert psutil.Process(mine.pid) not in orphans()
    assert DRIVER not in os.environ


def test_a_driver_that_waits_as_a_zombie_is_dead() -> None:
    driver = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = replace(Holder.this_process(), pid=driver.pid)
    stat = Path(f"/proc/{driver.pid}/stat").read_text()
    born = stat.rpartition(")")[2].split()[19]
    with child(mark(replace(holder, born=born))) as left:
        assert psutil.Process(left.pid) not in orphans()
        driver.kill()
        os.waitid(os.P_PID, driver.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        assert psutil.Process(left.pid) in orphans()
    driver.communicate()


@pytest.mark.parametrize("text", ["", "1", "[]", '{"pid": 1}', "{"])
def test_a_mark_that_is_none_proves_nothing(text: str) -> None:
    with child({DRIVER: text}) as stranger:
        assert psutil.Process(stranger.pid) not in orphans()


def test_another_machine_s_driver_proves_nothing() -> None:
    with child(mark(replace(dead(), place="another"))) as stranger:
        assert psutil.Process(stranger.pid) not in orphans()


def test_the_doctor_reports_of_them() -> None:
    with child(mark(dead())) as left:
        found = [finding for finding in check_local(None) if finding.about == "processes"]
        assert [finding.level for finding in found] == ["warning"]
        assert str(left.pid) in found[0].remedy


LEAVE = """
import json, os, subprocess, sys
from dataclasses import asdict
from raysel.common.errors import OperationalError
from raysel.engine.ray_processes import marked
from raysel.engine.ray_processes import leave
with marked():
    child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
leave(OperationalError("ray", "its raylet has ended; go on with: raysel resume a"), 130)
"""


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_vital_process_that_ends_is_reported_once(tmp_path: Path, name: str) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    (tmp_path / name).symlink_to(sleep)
    process = subprocess.Popen([str(tmp_path / name), "60"])
    other = subprocess.Popen([sleep, "60"])
    reported: list[str] = []
    heard = threading.Event()

    def lost(words: str) -> None:
        reported.append(words)
        heard.set()

    try:
        with watching(lost):
            other.kill()  # a worker, say: Tune replaces it
            assert not heard.wait(0.5)
            process.kill()  # and it stays a zombie
            assert heard.wait(5)
    finally:
        for one in (process, other):
            one.kill()
            one.wait()
    assert reported == [
        f"its {name} (process {process.pid}) has ended: killed, for want of memory perhaps"
    ]


def test_it_leaves_in_one_line_and_takes_ray_with_it() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "error  ray: its raylet has ended; go on with: raysel resume a\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


WHAT = "its raylet (process 7) has ended: killed, for want of memory perhaps"


def test_a_ray_that_ends_by_itself_is_a_failure() -> None:
    cause, error, code = without_ray(None, "long", WHAT, "raysel resume long")
    assert code == FAILED and cause == f"Ray was lost: {WHAT}"
    assert str(error) == f"ray: {WHAT}; go on with: raysel resume long"


def test_a_ray_that_was_stopped_with_the_sweep_is_not_called_killed() -> None:
    stopped = "stopped by SIGTERM"
    cause, error, code = without_ray(stopped, "long", WHAT, "raysel resume long")
    assert code == INTERRUPTED and cause == stopped
    assert str(error).startswith(f"long: {stopped}; ") and "killed" not in str(error)
    assert str(error).endswith("go on with: raysel resume long")
