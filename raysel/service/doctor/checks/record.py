"""PostgreSQL, where the sweep's record is to lie: asked from where the driver would run."""

from __future__ import annotations

from pathlib import Path

from raysel.errors import Trouble
from raysel.places import sweep_url
from raysel.service.doctor.finding import Finding, error, ok
from raysel.spec import Spec
from raysel.tracking.reading import may_be_made


def check_record(spec: Spec) -> list[Finding]:
    """Whether the database lets us in and lets us make the sweep's tables; none are made."""
    if spec.record is None:
        return []
    try:
        allowed = may_be_made(sweep_url(spec.record, Path(), spec.name))
    except Trouble as trouble:
        remedy = "Start it, or look at the address, PGPASSWORD and ~/.pgpass"
        return [error("record", str(trouble), remedy)]
    except ModuleNotFoundError as lacking:
        return [error("record", str(lacking), "pip install 'raysel[postgres]'")]
    if not allowed:
        words = f"{spec.record}: this user may make no schema there"
        return [error("record", words, "GRANT CREATE ON DATABASE … TO that user")]
    return [ok("record", f"{spec.record} takes the sweep's tables")]
