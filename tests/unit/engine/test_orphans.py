"""Which processes are a dead driver's, and are ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from raysel.engine.orphans import DRIVER, end_orphans, marked, orphans
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
