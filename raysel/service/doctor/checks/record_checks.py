"""PostgreSQL, where the sweep's record is to lie: asked from where the driver would run."""

from __future__ import annotations

from collections.abc import Mapping

from raysel.service.doctor.finding import Finding, error, ok, warning


def check_record(record: str | None, answer: Mapping[str, str] | None) -> list[Finding]:
    """What `raysel.record.postgres_preflight` told.

    Args:
        record: `database_url` of the sweep file; None for SQLite, of which nothing is said.
        answer: None where it could not be asked.
    """
    if record is None:
        return []
    if answer is None:
        remedy = "Install raysel there, or run doctor on the head"
        return [warning("record", f"{record} could not be tried on the head", remedy)]
    if answer["trouble"]:
        remedy = answer.get("remedy") or "Look at the network between the head and the database"
        return [error("record", answer["trouble"], remedy)]
    return [ok("record", f"{record} takes the sweep's tables")]
