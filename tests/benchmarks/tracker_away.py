"""What it costs a sweep that its tracker is away: whole sweeps, up and away in turn.

    python tests/benchmarks/tracker_away.py [--pairs 5] [--trials 12] [--epochs 6] [--folder DIR]

Both sides run the same file through `raysel run`: search, confirm, report, and the wait for
MLflow at the end. Away means that nothing listens at the server's port. The server (SQLite
behind it) runs in both, so that the machine does the same beside the sweep; where it is away
the sweep knows it by a port that is shut.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

SIDES = ("up", "away")
TARGET = 1.05

FILE = """
name: {name}
task:
  data: digits
  source: 300
  shift: {{kind: gaussian_noise, severity: 3}}
model: {{name: resnet10t}}
strategies: {{full: , bvg_ls: }}
training: {{epochs: {epochs}, batch_size: 32}}
search: {{num_trials: {trials}, sampler: random, seed: 1}}
pruner: {{kind: none}}
confirm: {{seeds: 1}}
tracking: {{uri: "{uri}"}}
"""


def main() -> None:
    """Run the pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--folder", type=Path, help="keep the runs here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        with _server(folder) as uri:
            places = {"up": uri, "away": f"http://127.0.0.1:{_free_port()}"}
            _sweep(folder, "warm-up", places["up"], 3, 1)  # the source model is kept from here
            ratios = []
            for number in range(1, arguments.pairs + 1):
                order = SIDES if number % 2 else SIDES[::-1]
                took = {
                    side: _sweep(
                        folder,
                        f"{side}-{number}",
                        places[side],
                        arguments.trials,
                        arguments.epochs,
                    )
                    for side in order
                }
                ratios.append(took["away"] / took["up"])
                print(
                    f"pair {number}: up {took['up']:.1f} s, away {took['away']:.1f} s, "
                    f"away/up {ratios[-1]:.3f}",
                    flush=True,
                )
    found = median(ratios)
    print(f"median of {len(ratios)} pairs: away/up {found:.3f} (target: at most {TARGET})")


def _sweep(folder: Path, name: str, uri: str, trials: int, epochs: int) -> float:
    """Seconds of one sweep, from the command to its end."""
    file = folder / f"{name}.yaml"
    file.write_text(FILE.format(name=name, uri=uri, trials=trials, epochs=epochs))
    command = [sys.executable, "-m", "raysel", "run", str(file), "--set", f"storage={folder}"]
    load = os.getloadavg()[0]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    (folder / f"{name}.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise SystemExit(f"{name} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    if ("does not answer" in done.stdout) != name.startswith("away"):
        raise SystemExit(f"{name}: the tracker was not as it should have been")
    print(f"  {name}: {seconds:.1f} s, load before {load:.1f}", flush=True)
    return seconds


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """An `mlflow server` over SQLite on loopback."""
    port = _free_port()
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
                *("--port", str(port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
