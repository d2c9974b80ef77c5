"""Whether PostgreSQL accepts this user and lets it create a sweep's tables; none are created.

`python -m raysel.record.postgres_preflight RECORD SWEEP` prints the result as a line of JSON: for
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
class PreflightResult:
    """Result of the check of the database.

    Attributes:
        error: why tables cannot be created; empty if they can.
        remedy: what to do about it.
    """

    error: str = ""
    remedy: str = ""


def preflight(record: str, sweep: str) -> PreflightResult:
    """Check the database.

    Args:
        record: `database_url` of the sweep file.
        sweep: the sweep's name.
    """
    try:
        allowed = may_be_made(sweep_url(record, Path(), sweep))
    except OperationalError as error:
        return PreflightResult(
            str(error), "Start it, or look at the address, PGPASSWORD and ~/.pgpass"
        )
    except ModuleNotFoundError as missing:
        return PreflightResult(str(missing), "pip install 'raysel[postgres]'")
    if not allowed:
        words = f"{record}: this user may make no schema there"
        return PreflightResult(words, "GRANT CREATE ON DATABASE … TO that user")
    return PreflightResult()


def main() -> None:
    """Print the result on standard output."""
    open_sealed()
    print(json.dumps(asdict(preflight(*sys.argv[1:3]))), flush=True)


if __name__ == "__main__":
    main()
