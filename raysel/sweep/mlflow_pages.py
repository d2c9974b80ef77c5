"""The addresses of the newest sweeps in MLflow, for `make ui`.

python -m raysel.sweep.mlflow_pages STORAGE PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

from raysel.common.locations import mlflow_uri
from raysel.record.mlflow_page import FILE, noted_page

_SHOWN = 5


def pages(storage: Path, port: int) -> list[tuple[str, str]]:
    """Names of the sweeps and suites of a folder whose runs lie in its `mlflow.db`, and the pages
    that show their trials; the last one that ran comes first."""
    uri = mlflow_uri(storage / "mlflow.db")
    noted = [*storage.glob(f"*/{FILE}"), *storage.glob(f"*/*/{FILE}")]
    newest = sorted(noted, key=lambda file: file.stat().st_mtime, reverse=True)
    names = dict.fromkeys(file.relative_to(storage).parts[0] for file in newest)
    found = ((name, noted_page(storage / name, uri, port)) for name in names)
    return [(name, page) for name, page in found if page][:_SHOWN]


if __name__ == "__main__":
    for name, page in pages(Path(sys.argv[1]).absolute(), int(sys.argv[2])):
        sys.stdout.write(f"{name}  {page}\n")
