"""cluster/slurm.sbatch: checked by shellcheck, and run with stand-ins for Slurm, Ray and raysel."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "cluster" / "slurm.sbatch"

# each logs its arguments; srun and Ray then run what follows their own options
STANDINS = {
    "scontrol": "echo node1; sleep 0.2; echo node2",  # whoever reads one line breaks the pipe
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; "$@"; exit $?',
    "ray": 'while [ "$1" != -- ]; do shift; done; shift; "$@"; exit $?',
    "raysel": (
        'echo "$RAY_ADDRESS $RAY_AUTH_MODE ${#RAY_AUTH_TOKEN}" >>"$LOGS/raysel"\n'
        'trap "exit 130" TERM\n'
        'for _ in $(seq "${STEPS:-0}"); do sleep 0.1; done; exit "${CODE:-0}"'
    ),
}


def shellcheck(text: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed: apt-get install shellcheck")
    command = [program, "--shell=bash", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def test_shellcheck_has_no_finding():
    done = shellcheck(SCRIPT.read_text("utf-8"))
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_sees_a_mistake():
    text = SCRIPT.read_text("utf-8")
    assert '"$nodes" --ntasks' in text
    assert shellcheck(text.replace('"$nodes" --ntasks', "$nodes --ntasks")).returncode == 1


@pytest.fixture
def job(tmp_path: Path):
    """Starts the script as Slurm would."""
    stubs, logs = tmp_path / "bin", tmp_path / "logs"
    stubs.mkdir()
    logs.mkdir()
    for name, body in STANDINS.items():
        stub = stubs / name
        stub.write_text(f'#!/bin/bash\necho "$@" >>"$LOGS/{name}"\n{body}\n', encoding="utf-8")
        stub.chmod(0o755)
    (tmp_path / "sweep.yaml").write_text("name: s\n", encoding="utf-8")
    slurm = {"SLURM_JOB_ID": "40007", "SLURM_JOB_NODELIST": "node[1-2]", "LOGS": str(logs)}
    path = {"PATH": f"{stubs}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(tmp_path)}

    def started(*arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            cwd=tmp_path,
            env={**os.environ, **slurm, **path, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return started


def logged(tmp_path: Path, name: str) -> list[str]:
    file = tmp_path / "logs" / name
    return file.read_text("utf-8").splitlines() if file.exists() else []


def test_one_node_listens_on_loopback_and_hands_its_arguments_to_raysel(job, tmp_path):
    process = job("sweep.yaml", "--set", "search.num_trials=3", CODE="1")
    process.communicate(timeout=60)
    assert process.returncode == 1  # raysel's own
    assert logged(tmp_path, "scontrol") == []
    assert logged(tmp_path, "raysel") == [
        "run sweep.yaml --set search.num_trials=3 --resume-if-exists",
        "127.0.0.1:20007 token 64",
    ]
    assert list(tmp_path.glob("tmp.*")) == []


def test_several_nodes_are_started_on_each_and_meet_at_the_first(job, tmp_path):
    process = job("sweep.yaml", SLURM_JOB_NUM_NODES="2")
    process.communicate(timeout=60)
    assert process.returncode == 0
    (line,) = logged(tmp_path, "srun")
    assert line.startswith("--nodes=2 --ntasks=2 --ntasks-per-node=1 ")
    assert "ray symmetric-run --address node1:20007 --min-nodes 2 " in line
    assert logged(tmp_path, "raysel")[1].startswith("node1:20007 ")


def test_the_signal_before_the_time_is_over_reaches_the_sweep_and_is_waited_for(job, tmp_path):
    process = job("sweep.yaml", STEPS="600")
    deadline = time.monotonic() + 30
    while len(logged(tmp_path, "raysel")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # its trap is set by then
    process.send_signal(signal.SIGUSR1)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "asked to stop" in out


def test_without_a_sweep_file_the_usage_is_printed(job):
    process = job("missing.yaml")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "usage: sbatch" in out
