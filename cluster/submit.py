"""Hand a sweep file to the cluster: `ray submit cluster/local.yaml cluster/submit.py FILE`.

`ray submit` copies this one script to the head and runs it there. FILE is looked up in the
folder that the cluster file mounts (~/raysel); what follows it goes to `raysel submit` as it is
(`--set search.num_trials=10`, `--no-wait`). The sweep then is a job of the cluster: it goes on
when this terminal is closed, and `raysel status`, `logs` and `stop` know it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MOUNTED = Path(os.environ.get("RAYSEL_HOME", "~/raysel")).expanduser()
HEAD = os.environ.get("RAYSEL_HEAD", "http://127.0.0.1:8265")


def found(file: str) -> Path | None:
    """The sweep file: as given, or below the mounted folder under its path or its name."""
    given = Path(file)
    places = [given, MOUNTED / given, MOUNTED / "search_spaces" / given.name]
    return next((place.resolve() for place in places if place.is_file()), None)


def main(arguments: list[str]) -> int:
    """Submit it; the exit code is `raysel submit`'s."""
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    file = found(arguments[0])
    if file is None:
        print(f"error  {arguments[0]}: is not in {MOUNTED} on the head", file=sys.stderr)
        return 2
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if MOUNTED.is_dir():
        os.chdir(MOUNTED)  # where runs/ lies, and the git commit if there is one

    from raysel.cli.main import main as raysel  # noqa: PLC0415  (its absence is told by Python)

    return raysel(["submit", str(file), "--address", HEAD, *arguments[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
