"""Draw the selection trace of every strategy into docs/pictures/traces.

    .venv/bin/python .mkdocs/traces.py [STRATEGY …]

Each is the first trial that `search_spaces/strategies.yaml` gives the strategy, or `compare.yaml`
where it stands there alone, run in this process: two or three minutes in all. The pictures are
committed; draw them again where a strategy's choices changed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from raysel.mlflow_sync.trace_figure import draw
from raysel.search.validate import read
from raysel.strategies import registered
from raysel.sweep.finetune import finetune

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pictures" / "traces"


def main(names: list[str]) -> None:
    """Draw the traces of these strategies, or of all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as storage:
        files = (ROOT / "search_spaces" / file for file in ("strategies.yaml", "compare.yaml"))
        specs = [read(file, [f"storage={storage}"]) for file in files]
        for name in names or sorted(registered()):
            spec = next(spec for spec in specs if name in spec.strategies)
            done = finetune(spec, name, None, lambda _: None, lambda *_: None)
            if done.failure:
                sys.exit(f"{name}: {done.failure}")
            (parts,) = [path.parent for path in done.folder.rglob("epoch-0001.parquet")]
            picture = FOLDER / f"{name}.png"
            draw(parts, done.layers, picture, done.label)
            Image.open(picture).convert("RGB").quantize(64).save(picture, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
