"""A suite of 12 cells of 4 short trials against the same cells as single sweeps in a loop.

    python tests/benchmarks/suite_cells.py [FOLDER]

Prints the wall time of both, and for the suite the busy share of its workers: the time between
their first and their last event in which trials ran, over workers × that time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from raysel.record.events import Kind, sqlite_url
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events

WORKERS = 2
SHOTS, SEVERITIES = (3, 4, 5, 6), (1, 3, 5)
FILE = """\
name: cells
task:
  data: digits
  source: 300
  shift: {kind: gaussian_noise, severity: 3}
  split: {train: 80, validation: 100, test: 100, seed: 3}
model: {name: resnet10t}
strategies: {full: , linear_probe: }
training: {epochs: 6, batch_size: 10, learning_rate: {float: [1e-3, 1e-1], log: true}}
search: {num_trials: 4}
pruner: {kind: none}
confirm: {splits: 1, seeds: 1}
resources: {max_concurrent_trials: 2}
"""


def raysel(*arguments: str) -> float:
    """Run a command; its seconds."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "raysel", *arguments, "--quiet"],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    return time.perf_counter() - began


def busy(folder: Path) -> tuple[float, float]:
    """Seconds in which trials of the suite ran, added up, and from the first start to the last
    end."""
    spans = []
    for record in sorted(folder.glob("*/sweep.db")):
        events = read_events(sqlite_url(SweepFolder(record.parent).record))
        began = {e.trial: e.at for e in events if e.kind == Kind.STARTED}
        spans += [(began[e.trial], e.at) for e in events if e.kind == Kind.ENDED]
    return sum(b - a for a, b in spans), max(b for _, b in spans) - min(a for a, _ in spans)


def main(root: Path) -> dict[str, float]:
    """Both sides, the suite first."""
    suite, alone = root / "suite", root / "alone"
    axes = f"axes: {{task.shift.severity: {list(SEVERITIES)}, training.shots: {list(SHOTS)}}}\n"
    (root / "suite.yaml").write_text(f"{FILE}storage: {suite}\n{axes}", encoding="utf-8")
    (root / "alone.yaml").write_text(f"{FILE}storage: {alone}\n", encoding="utf-8")
    together = raysel("run", str(root / "suite.yaml"))
    one_by_one = 0.0
    for severity in SEVERITIES:
        for shots in SHOTS:
            sets = (f"task.shift.severity={severity}", f"training.shots={shots}")
            name = f"name=s{severity}-{shots}"
            given = [word for one in (*sets, name) for word in ("--set", one)]
            one_by_one += raysel("run", str(root / "alone.yaml"), *given)
    worked, span = busy(suite / "cells")
    return {
        "suite_seconds": together,
        "loop_seconds": one_by_one,
        "times_as_fast": one_by_one / together,
        "busy_share": worked / (WORKERS * span),
        "span_seconds": span,
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(main(Path(sys.argv[1])), indent=1))
    else:
        with tempfile.TemporaryDirectory(prefix="raysel-") as scratch:
            print(json.dumps(main(Path(scratch)), indent=1))
