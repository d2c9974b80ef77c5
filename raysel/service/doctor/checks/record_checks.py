"""PostgreSQL as the sweep's database, checked from where the driver would run."""

from __future__ import annotations

from collections.abc import Mapping

from raysel.service.doctor.finding import Finding, error, ok, warning


def check_record(record: str | None, found: Mapping[str, str] | None) -> list[Finding]:
    """Evaluate what `raysel.record.postgres_preflight` reported.

    Args:
        record: `database_url` of the sweep file; None for SQLite, of which nothing is said.
        found: None where it could not be asked.
    """
    if record is None:
        return []
    if found is None:
        remedy = "Install raysel there, or run doctor on the head"
        return [warning("record", f"{record} could not be tried on the head", remedy)]
    if found["error"]:
        remedy = found.get("remedy") or "Look at the network between the head and the database"
        return [error("record", found["error"], remedy)]
    return [ok("record", f"{record} takes the sweep's tables")]
