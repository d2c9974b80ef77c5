"""A whole sweep by the command line while its tracker is away: nobody waits for it, and the
driver's process never even imports MLflow."""

import subprocess
import sys

import pytest

from raysel.record.events import Record, sqlite_url
from raysel.record.state import fold, fold_sweep

from .gate import Gate

pytestmark = [pytest.mark.slow, pytest.mark.ray]

SWEEP = """
name: lonely
task:
  data: digits
  source: 300
  shift: {kind: gaussian_noise, severity: 3}
  split: {train: 60, validation: 60, test: 60, seed: 3}
model: {name: test_resnet}
strategies: {full: , linear_probe: }
training: {epochs: 2, batch_size: 20}
search: {num_trials: 2, sampler: random}
pruner: {kind: none}
confirm: {seeds: 1}
"""

DRIVER = """
import sys
from raysel.cli import main as cli
status = cli.main(sys.argv[1:])
print("IMPORTED" if any(name.split(".")[0] == "mlflow" for name in sys.modules) else "CLEAN")
sys.exit(status)
"""


def test_b01_a_sweep_without_its_tracker_is_whole_and_says_what_is_not_sent(tmp_path):
    (tmp_path / "lonely.yaml").write_text(SWEEP)
    gate = Gate(9)  # shut for ever
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, "run", "lonely.yaml", "--set", f"tracking.uri={gate.uri}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CLEAN" in done.stdout
    reported = [line for line in done.stdout.splitlines() if line.startswith("mlflow   ")]
    record = Record(sqlite_url(tmp_path / "runs" / "lonely" / "sweep.db"))
    events = [stored.event for stored in record.events()]
    record.close()
    assert reported == [
        f"mlflow   {gate.uri} does not answer; the sweep goes on, records are kept and sent later",
        f"mlflow   {len(events)} records not sent yet: raysel reconcile lonely",
        f"mlflow   {gate.uri}",
    ]
    assert {trial.status for trial in fold(events).values()} == {"COMPLETE"}
    assert fold_sweep(events).status == "COMPLETE"
