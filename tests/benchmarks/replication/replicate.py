"""Automatic fine-tuning's comparison on photographs: run what is not run yet, and sum up.

    python tests/benchmarks/replication/replicate.py FOLDER STORAGE [--only-sum-up]

FOLDER holds the photographs (train/<class>/*.jpg, test/<class>/*.jpg), STORAGE takes the
sweeps. For each shift it runs methods.yaml once, and a sweep of `surgical` for each block with
the same learning rates; "Cross-val" is the block with the least validation error. A run
that was interrupted is gone on with. The tables and pictures go beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt

HERE = Path(__file__).parent
SHIFTS = ("gaussian_noise", "gaussian_blur", "frost", "label_flip")
BLOCKS = ("stem+block1", "block2", "block3", "head")


def sweeps(shift: str) -> Iterator[tuple[str, list[str]]]:
    """Name and overrides of every sweep of a shift."""
    yield f"replication_{shift}", []
    for block in BLOCKS:
        only = ["strategies={surgical: {block: " + block + "}}", "search.num_trials=4"]
        yield f"replication_{shift}_{block.replace('+', '_')}", only


def run(folder: Path, storage: Path, name: str, shift: str, overrides: list[str]) -> None:
    values = [f"name={name}", f"storage={storage}", f"task.data.folder={folder}"]
    values += [f"task.shift.kind={shift}", *overrides]
    command = [sys.executable, "-m", "raysel", "run", str(HERE / "methods.yaml"), "--quiet"]
    command += ["--resume-if-exists", *(x for value in values for x in ("--set", value))]
    subprocess.run(command, check=True)


def outcome(storage: Path, name: str) -> dict[str, Any] | None:
    path = storage / name / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {"status": ""}
    return results if results["status"] == "complete" else None


def confirmed(storage: Path, name: str) -> list[dict[str, Any]]:
    results = outcome(storage, name)
    return results["confirm"] if results else []


def rows_of(storage: Path, shift: str) -> dict[str, dict[str, Any]]:
    """The confirmed result of every method and block of a shift that was run to its end."""
    (main, _), *single = sweeps(shift)
    rows = {row["strategy"]: row for row in confirmed(storage, main)}
    blocks = {
        block: row
        for block, (name, _) in zip(BLOCKS, single, strict=True)
        for row in confirmed(storage, name)
    }
    if len(blocks) == len(BLOCKS):
        best = min(blocks, key=lambda block: blocks[block]["validation_error"])
        rows["cross_val"] = blocks[best] | {"chosen": best}
    return rows | {f"only {block}": row for block, row in blocks.items()}


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown: a row a method, a column a shift; accuracy in percent with its 95 % interval."""
    names = list(dict.fromkeys(name for rows in found.values() for name in rows))
    lines = ["| method | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for name in names:
        cells = [accuracy(rows.get(name)) for rows in found.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def accuracy(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    error = row["test_error"]
    chosen = f" ({row['chosen']})" if "chosen" in row else ""
    return f"{100 * (1 - error['mean']):.1f} ± {50 * (error['high'] - error['low']):.1f}{chosen}"


def picture(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Accuracy of every method, a panel a shift, with full fine-tuning as a line."""
    figure, panels = plt.subplots(1, len(found), figsize=(3.4 * len(found), 5), sharey=True)
    for panel, (shift, rows) in zip(panels, found.items(), strict=True):
        names = list(rows)[::-1]
        means = [100 * (1 - rows[name]["test_error"]["mean"]) for name in names]
        spread = [
            50 * (rows[name]["test_error"]["high"] - rows[name]["test_error"]["low"])
            for name in names
        ]
        for name, mean, half in zip(names, means, spread, strict=True):
            colour = "#b07d2b" if name.startswith("only") else "#3b6ea5"
            panel.errorbar(mean, name, xerr=half, fmt="o", color=colour, ms=5, capsize=2, lw=1)
        panel.grid(axis="x", alpha=0.3)
        if "full" in rows:
            panel.axvline(100 * (1 - rows["full"]["test_error"]["mean"]), color="black", lw=0.6)
        panel.set_title(shift)
        panel.set_xlabel("test accuracy, %")
    figure.tight_layout()
    figure.savefig(HERE / "accuracy.png", dpi=110)


def machine() -> str:
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    return f"{os.cpu_count()} cores, {model or platform.machine()}, {platform.system()}"


def main() -> None:
    """Run and sum up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("storage", type=Path)
    parser.add_argument("--only-sum-up", action="store_true")
    options = parser.parse_args()
    folder, storage = options.folder.absolute(), options.storage.absolute()
    for shift in SHIFTS:
        for name, overrides in sweeps(shift):
            if not options.only_sum_up and outcome(storage, name) is None:
                run(folder, storage, name, shift, overrides)
    found = {shift: rows for shift in SHIFTS if (rows := rows_of(storage, shift))}
    picture(found)
    spent = sum(
        results["spent"]["seconds"]
        for shift in SHIFTS
        for name, _ in sweeps(shift)
        if (results := outcome(storage, name))
    )
    text = f"{table(found)}\n\n{spent / 60:.0f} minutes on {machine()}.\n"
    (HERE / "tables.md").write_text(text)
    numbers = {
        shift: {
            name: {"test_error": row["test_error"], "validation_error": row["validation_error"]}
            for name, row in rows.items()
        }
        for shift, rows in found.items()
    }
    (HERE / "results.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
