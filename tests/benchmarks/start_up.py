"""Seconds until the short commands answer, each in turn with `import torch, timm` alone.

    python tests/benchmarks/start_up.py [--rounds 5] [--set "task.data={folder: photos}" …]

Every round starts each command once as a process of its own, and then Python with the two imports,
which is what a command that builds a model cannot do without. `validate, first` begins with an
empty cache of layer names, `validate, known` is the same file again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

COMPATIBLE = "from raysel.common.torchvision_compat import ensure_importable as e; e()"
"""torchvision may be of another build than torch."""

IMPORTS = [sys.executable, "-c", f"{COMPATIBLE}; import torch, timm"]
FILE = """\
name: start
task: {data: digits, split: {train: 200, validation: 200, test: 400}}
model: {name: resnet18, weights: source}
strategies: {surgical: {block: search}, bvg_ls: {ema_decay: search}, auto_rgn: {}}
search: {num_trials: 8}
"""


def seconds(command: list[str], folder: Path) -> float:
    """How long it takes in `folder`, whose cache it uses; it must end well."""
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    return time.perf_counter() - begun


def commands(changes: list[str]) -> dict[str, list[str]]:
    """What is timed, in this order."""
    raysel = [sys.executable, "-m", "raysel"]
    validate = [*raysel, "validate", "start.yaml"]
    for change in changes:
        validate += ["--set", change]
    return {
        "--help": [*raysel, "--help"],
        "strategies": [*raysel, "strategies"],
        "schema": [*raysel, "schema"],
        "init": [*raysel, "init", "new.yaml"],
        "validate, first": validate,
        "validate, known": validate,
    }


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], help="for validate: KEY=VALUE")
    arguments = parser.parse_args()
    took: dict[str, list[float]] = defaultdict(list)
    imports: list[float] = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "start.yaml").write_text(FILE)
            for name, command in commands(arguments.set).items():
                took[name].append(seconds(command, folder))
            imports.append(seconds(IMPORTS, folder))
    print(f"load {os.getloadavg()[0]:.1f}, {arguments.rounds} rounds, medians\n")
    print("| command | seconds | of `import torch, timm` |\n|---|---|---|")
    for name, values in took.items():
        share = statistics.median(x / y for x, y in zip(values, imports, strict=True))
        print(f"| `{name}` | {statistics.median(values):.2f} | {share:.2f} |")
    print(f"| `import torch, timm` | {statistics.median(imports):.2f} | 1 |")


if __name__ == "__main__":
    main()
