"""cluster/slurm.sbatch on one node with the real Ray, and without Slurm's daemon: `srun` is a
stand-in that runs its command here.

In namespaces of its own: `ray symmetric-run` ends with `ray stop`, which ends every Ray that it
sees.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.ray]

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sbatch"

FILE = """
name: on-slurm
task:
  data: digits
  source: 300
  split: {train: 60, validation: 60, test: 60, seed: 3}
model: {name: test_resnet}
strategies: {full: , linear_probe: }
training: {epochs: 2, batch_size: 20, learning_rate: 0.01}
search: {num_trials: 2}
pruner: {kind: none}
confirm: {seeds: 1}
"""


ALONE = ["unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "--kill-child"]
INSIDE = 'ip link set lo up; bash "$@"; code=$?; pgrep -x gcs_server >left; exit $code'


@pytest.fixture(autouse=True)
def alone() -> None:
    tried = subprocess.run(
        [*ALONE, "ip", "link", "set", "lo", "up"], capture_output=True, text=True
    )
    if tried.returncode:
        pytest.skip(f"no namespaces here: {tried.stderr.strip()}")


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    stubs = tmp_path / "bin"
    stubs.mkdir()
    bodies = {
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
        "raysel": f'exec {sys.executable} -m raysel "$@"',
    }
    for name, body in bodies.items():
        (stubs / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (stubs / name).chmod(0o755)
    found = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    path = os.pathsep.join([str(stubs), str(Path(sys.executable).parent), found["PATH"]])
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "here"}
    ray_folder = tempfile.mkdtemp(prefix="ray")  # short: Ray's sockets have their paths in it
    here = {"PATH": path, "RAYSEL_VENV": str(tmp_path / "none"), "RAY_TMPDIR": ray_folder}
    yield {**found, **slurm, **here}
    shutil.rmtree(ray_folder, ignore_errors=True)


def test_a_sweep_runs_to_its_verdict_and_leaves_no_ray(tmp_path, environment):
    (tmp_path / "sweep.yaml").write_text(FILE, encoding="utf-8")
    done = subprocess.run(
        [*ALONE, "sh", "-c", INSIDE, "sh", str(SCRIPT), "sweep.yaml", "--quiet"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "runs" / "on-slurm" / "results.json").read_text("utf-8"))
    assert [trial["status"] for trial in results["trials"]] == ["COMPLETE", "COMPLETE"]
    assert results["verdict"]["winner"] in ("full", "linear_probe")
    assert (tmp_path / "left").read_text("utf-8") == ""
