"""Run on the head by `raysel fetch`: packs a sweep's results and prints them as text.

    python results_stream.py FOLDER LIMIT_BYTES

The job's log is the only channel that every cluster offers. Needs Python only.
"""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import tarfile
from pathlib import Path

WANTED = ("results.json", "spec.yaml", "manifest.json", "report", "best")

SUITE = "suite.json"
"""In the folder of a suite, whose cells lie in folders of their own."""

BEGIN, END = "raysel-results-begin", "raysel-results-end"

LINE_BYTES = 6000
"""Of contents a line, a multiple of 3; base64 makes a third more of it."""


def wanted(folder: Path) -> list[str]:
    """What is sent of a sweep's folder, or of a suite's and its cells', by its path in it."""
    if not (folder / SUITE).is_file():
        return [name for name in WANTED if (folder / name).exists()]
    cells = sorted(path.name for path in folder.iterdir() if (path / "spec.yaml").is_file())
    of_cells = [f"{cell}/{name}" for cell in cells for name in wanted(folder / cell)]
    return [SUITE, *(name for name in ("report",) if (folder / name).exists()), *of_cells]


class Lines(io.RawIOBase):
    """A stream that prints what is written to it, in lines of base64."""

    def __init__(self) -> None:
        self._left = b""
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Print the full lines, keep the rest."""
        self._digest.update(data)
        left = self._left + bytes(data)
        full = len(left) - len(left) % LINE_BYTES
        for start in range(0, full, LINE_BYTES):
            print(base64.b64encode(left[start : start + LINE_BYTES]).decode())
        self._left = left[full:]
        return len(data)

    def finish(self) -> str:
        """Print the rest; the sha256 of all."""
        if self._left:
            print(base64.b64encode(self._left).decode())
        return self._digest.hexdigest()


def main(arguments: list[str]) -> int:
    """Print the stream; 1 if there is nothing to send, or too much."""
    folder, limit = Path(arguments[0]), int(arguments[1])
    there = [folder / name for name in wanted(folder)]
    if not any((folder / name).is_file() for name in ("spec.yaml", SUITE)):
        print(f"there is no sweep in {folder} on the head", file=sys.stderr)
        return 1
    files = [f for path in there for f in (path.rglob("*") if path.is_dir() else [path])]
    size = sum(file.stat().st_size for file in files if file.is_file())
    if size > limit:
        print(
            f"{folder} has {size / 2**20:.0f} MiB of results, more than {limit / 2**20:.0f}: "
            "copy it from the head (ray rsync-down, kubectl cp)",
            file=sys.stderr,
        )
        return 1
    print(BEGIN)
    lines = Lines()
    with tarfile.open(fileobj=lines, mode="w|gz") as stream:
        for path in there:
            stream.add(path, arcname=path.relative_to(folder).as_posix())
    print(END, lines.finish(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
