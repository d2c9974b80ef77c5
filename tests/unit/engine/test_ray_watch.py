"""The end of a vital process of Ray's is noticed, and the way in which the driver leaves then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from raysel.common.errors import FAILED, INTERRUPTED
from raysel.engine.ray_watch import watching, without_ray

LEAVE = """
import json, os, subprocess, sys
from dataclasses import asdict
from raysel.common.errors import OperationalError
from raysel.engine.orphans import marked
from raysel.engine.ray_watch import leave
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
