"""Processor time of a report's figures, each as SVG and PNG: laid out once, against once a file.

python tests/benchmarks/report_figures.py STORAGE SWEEP
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from raysel.report import drawing, figures
from raysel.report.confusions import WithConfusions, read_confusions
from raysel.sweep.views import read_results

ROUNDS = 3


def seconds(results: WithConfusions, folder: Path) -> float:
    began = time.process_time()
    drawing.drawn(figures.FIGURES, results, folder)
    return time.process_time() - began


def main(storage: str, sweep: str) -> None:
    view, read = read_results(storage, sweep)
    confusion = read_confusions(read, view.folder.trials)
    results = WithConfusions(**{**dict(read), "confusion": confusion})
    each = {
        "_lay_out": lambda figure: None,
        "LOOK": {**drawing.LOOK, "axes.titley": None},
    }
    with tempfile.TemporaryDirectory() as folder:
        seconds(results, Path(folder))  # fonts and backends are loaded
        for _ in range(ROUNDS):
            with patch.multiple(drawing, **each):
                before = seconds(results, Path(folder))
            print(f"a file {before:.2f} s, once {seconds(results, Path(folder)):.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
