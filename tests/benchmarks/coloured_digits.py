"""Whether the worst group's error separates the arms as a spurious cue of the source grows.

    python tests/benchmarks/coloured_digits.py [FOLDER]

Runs `coloured_digits.yaml` (a cell for each strength of the cue) and writes a table and a
picture beside this file: test error of the worst group and over all, by arm and strength.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from raysel.sweep.results import ConfirmedStrategy, SweepResults
from raysel.sweep.verdict import interval

HERE = Path(__file__).parent
FILE = HERE / "coloured_digits.yaml"


def cells(folder: Path) -> dict[float, SweepResults]:
    """The results by the strength of the cue."""
    found = {}
    for path in folder.glob("coloured-digits/*/results.json"):
        results = SweepResults.model_validate_json(path.read_text(encoding="utf-8"))
        if results.complete:
            found[float(path.parent.name.removeprefix("coloured_digits"))] = results
    return dict(sorted(found.items()))


def measured(entry: ConfirmedStrategy, metric: str) -> tuple[float, float]:
    """Mean over the runs, and half its 95 % interval."""
    mean, _, high = interval([run.metric(metric) or 0.0 for run in entry.runs])
    return mean, (high or mean) - mean


def table(found: dict[float, SweepResults], metric: str) -> list[str]:
    """Arms by strengths, as lines of Markdown."""
    arms = [entry.strategy for entry in next(iter(found.values())).confirm]
    lines = ["| arm | " + " | ".join(f"{cue:.0%}" for cue in found) + " |"]
    lines += ["|---|" + "---|" * len(found)]
    for arm in sorted(arms):
        cellwise = []
        for results in found.values():
            entry = next(row for row in results.confirm if row.strategy == arm)
            mean, half = measured(entry, metric)
            cellwise.append(f"{mean:.3f} ± {half:.3f}")
        lines.append(f"| {arm} | " + " | ".join(cellwise) + " |")
    return lines


def draw(found: dict[float, SweepResults], path: Path) -> None:
    """The worst group's error of each arm against the strength of the cue."""
    figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for entry in sorted(next(iter(found.values())).confirm, key=lambda e: e.strategy):
        rows = [next(r for r in f.confirm if r.strategy == entry.strategy) for f in found.values()]
        values = [measured(row, "test/worst_group_error") for row in rows]
        means, halves = zip(*values, strict=True)
        axes.errorbar(list(found), means, halves, label=entry.strategy, marker="o", capsize=3)
    axes.set_xlabel("share of the source with its class's colour")
    axes.set_ylabel("worst-group test error")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def main(folder: Path) -> None:
    """Run the suite in a folder and write what it shows."""
    command = [sys.executable, "-m", "raysel", "run", str(FILE), "--quiet", "--resume-if-exists"]
    subprocess.run([*command, "--set", f"storage={folder}"], check=True)
    found = cells(folder)
    text = ["Worst group:", "", *table(found, "test/worst_group_error")]
    text += ["", "All test examples:", "", *table(found, "test/error")]
    (HERE / "coloured_digits.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    draw(found, HERE / "coloured_digits.png")
    print("\n".join(text))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
