"""Whether PostgreSQL lets us in and lets us make a sweep's tables; none are made.

`python -m raysel.record.postgres_preflight RECORD SWEEP` prints the answer as a line of JSON: for
a node that is asked from afar, with the sweep's credentials sealed in its environment.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from raysel.common.credentials import open_sealed
from raysel.common.errors import OperationalError
from raysel.common.locations import sweep_url
from raysel.record.read_only import may_be_made


@dataclass(frozen=True)
class Admission:
    """What is so about the database.

    Attributes:
        trouble: why it takes no tables; empty where it does.
        remedy: what to do then.
    """

    trouble: str = ""
    remedy: str = ""


def admission(record: str, sweep: str) -> Admission:
    """Ask the database.

    Args:
        record: `database_url` of the sweep file.
        sweep: the sweep's name.
    """
    try:
        allowed = may_be_made(sweep_url(record, Path(), sweep))
    except OperationalError as trouble:
        return Admission(str(trouble), "Start it, or look at the address, PGPASSWORD and ~/.pgpass")
    except ModuleNotFoundError as lacking:
        return Admission(str(lacking), "pip install 'raysel[postgres]'")
    if not allowed:
        words = f"{record}: this user may make no schema there"
        return Admission(words, "GRANT CREATE ON DATABASE … TO that user")
    return Admission()


def main() -> None:
    """Answer on standard output."""
    open_sealed()
    print(json.dumps(asdict(admission(*sys.argv[1:3]))), flush=True)


if __name__ == "__main__":
    main()
