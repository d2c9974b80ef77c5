"""The search phase through raysel and through a hand-written Ray Tune script, in pairs.

    python tests/benchmarks/search_phase.py [--pairs 3] [--no-pruning] [--folder DIR]

Each run has a process and a Ray of its own, which is up before the clock starts; so are the
source model, MLflow's empty database and, for raysel, its MLflow writer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from work import Outcome, load_work

SIDES = ("plain", "raysel")
TARGET = 3.0


def main() -> None:
    """Run the pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--no-pruning", action="store_true", help="every trial to its last epoch")
    parser.add_argument("--folder", type=Path, help="keep the runs here")
    parser.add_argument("--side", choices=SIDES, help="one run of one side, in this process")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.side:
            _run_here(arguments.side, folder, not arguments.no_pruning)
            return
        _prepare(folder)
        pairs = []
        for number in range(1, arguments.pairs + 1):
            pair = {
                side: _run(side, folder / f"{number}-{side}", arguments.no_pruning)
                for side in SIDES
            }
            _check_same_training(pair["plain"], pair["raysel"])
            pairs.append(pair)
            _print_pair(number, pair)
        _print_table(pairs)


def _prepare(folder: Path) -> None:
    """The source model and an empty MLflow database; both sides start from them."""
    load_work(folder / "none", folder / "source", pruning=True)
    if not (folder / "mlflow.db").exists():
        code = "import mlflow, sys; mlflow.MlflowClient(sys.argv[1]).search_experiments()"
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        subprocess.run([sys.executable, "-c", code, uri], check=True, capture_output=True)


def _run(side: str, folder: Path, no_pruning: bool) -> Outcome:
    """One run in a fresh process."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(folder.parent / "mlflow.db", folder / "mlflow.db")
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    load = os.getloadavg()[0]
    with (folder / "log.txt").open("w") as log:
        ended = subprocess.run(
            command + ["--no-pruning"] * no_pruning, stdout=log, stderr=subprocess.STDOUT
        )
    if ended.returncode:
        raise SystemExit(f"{side} failed: see {folder / 'log.txt'}")
    print(f"  {folder.name}: load before {load:.1f}", flush=True)
    return Outcome.load(folder / "outcome.json")


def _run_here(side: str, folder: Path, pruning: bool) -> None:
    import sides

    work = load_work(folder / "runs", folder.parent / "source", pruning)
    run = {"plain": sides.run_plain, "raysel": sides.run_raysel}[side]
    outcome = run(work, f"sqlite:///{folder / 'mlflow.db'}")
    outcome.save(folder / "outcome.json")


def _check_same_training(plain: Outcome, raysel: Outcome) -> None:
    """Trial for trial the same losses, bit for bit, over the epochs that both trained."""
    for number, (one, other) in enumerate(zip(plain.curves, raysel.curves, strict=True)):
        shared = min(len(one), len(other))
        if one[:shared] != other[:shared]:
            raise SystemExit(f"trial {number} is not the same on both sides: {one} {other}")


def _print_pair(number: int, pair: dict[str, Outcome]) -> None:
    for side, run in pair.items():
        facts = {
            "pair": number,
            "side": side,
            "seconds": round(run.seconds, 1),
            "drained": round(run.drained, 1),
            "epochs": run.epochs,
            "states": run.states,
            "training": round(run.training, 1),
            "processor": {role: round(seconds, 1) for role, seconds in run.processor.items()},
        }
        print(json.dumps(facts), flush=True)


def _print_table(pairs: list[dict[str, Outcome]]) -> None:
    plain, raysel = ([pair[side] for pair in pairs] for side in SIDES)
    ratios = [p.seconds / r.seconds for p, r in zip(plain, raysel, strict=True)]
    drained = [p.drained / r.drained for p, r in zip(plain, raysel, strict=True)]
    an_epoch = [
        (p.seconds / p.epochs) / (r.seconds / r.epochs) for p, r in zip(plain, raysel, strict=True)
    ]
    rows = [
        ("", "plain", "raysel", "ratio"),
        _row("search phase, s", plain, raysel, ratios, "seconds"),
        _row("until MLflow has all, s", plain, raysel, drained, "drained"),
        _row("epochs trained", plain, raysel, None, "epochs"),
        _row("training code itself, s", plain, raysel, None, "training"),
        ("seconds an epoch", "", "", f"{median(an_epoch):.2f}"),
    ]
    print(f"\nmedians of {len(pairs)} pairs; the target is a ratio of {TARGET:g}")
    for row in rows:
        print("{:<26}{:>9}{:>9}{:>9}".format(*row))


def _row(
    name: str, plain: list[Outcome], raysel: list[Outcome], ratios: list[float] | None, field: str
) -> tuple[str, str, str, str]:
    one, other = (median(getattr(run, field) for run in runs) for runs in (plain, raysel))
    return name, f"{one:.0f}", f"{other:.0f}", f"{median(ratios):.2f}" if ratios else ""


if __name__ == "__main__":
    main()
