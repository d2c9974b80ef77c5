"""What Optuna's study held beside the events goes into them; its tables go.

Until now the study was kept in the record's database. From here on it is rebuilt from the
events, which therefore hold what each value was suggested from, and what samplers and pruners
have noted.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from raysel.record.database import CorruptRecord
from raysel.record.events import checksum, payload_text

revision = "0001"
down_revision = None

STUDY_TABLES = (  # those that refer to others first
    "trial_heartbeats",
    "trial_intermediate_values",
    "trial_params",
    "trial_system_attributes",
    "trial_user_attributes",
    "trial_values",
    "trials",
    "study_directions",
    "study_system_attributes",
    "study_user_attributes",
    "studies",
    "version_info",
    "alembic_version",
)


def upgrade() -> None:
    """Write anew how each trial of the search began, then drop what is not read any more."""
    connection = op.get_bind()
    tables = set(sa.inspect(connection).get_table_names())
    study = _study(connection) if "trials" in tables else {}
    events = sa.table("events", *map(sa.column, ("sequence", *_PARTS, "checksum")))
    started = sa.select(events).where(events.c.kind == "started").order_by(events.c.sequence)
    for row in connection.execute(started).all():
        old = row._asdict()
        if old["checksum"] != checksum(old):
            raise CorruptRecord(f"event {row.sequence} is not the one that was written")
        payload = json.loads(row.payload)
        if payload["phase"] != "search":
            continue
        if payload["number"] not in study:
            raise CorruptRecord(f"Optuna's study lacks trial {row.trial}")
        new = old | {"payload": payload_text(payload | study[payload["number"]])}
        connection.execute(
            sa.update(events)
            .where(events.c.sequence == row.sequence)
            .values(payload=new["payload"], checksum=checksum(new))
        )
    for name in (*STUDY_TABLES, "record_version"):
        if name in tables:
            op.drop_table(name)


_OF_A_TRIAL = " JOIN trials USING (trial_id)"
_PARTS = ("trial", "kind", "epoch", "at", "payload")


def _study(connection: sa.Connection) -> dict[int, dict[str, Any]]:
    """By a trial's number: its distributions and system attributes."""
    numbers = connection.scalars(sa.text("SELECT number FROM trials"))
    found: dict[int, dict[str, Any]] = {n: {"distributions": {}, "attributes": {}} for n in numbers}
    params = "SELECT number, param_name, distribution_json FROM trial_params"
    for number, name, distribution in connection.execute(sa.text(params + _OF_A_TRIAL)):
        found[number]["distributions"][name] = distribution
    attributes = "SELECT number, key, value_json FROM trial_system_attributes"
    for number, key, value in connection.execute(sa.text(attributes + _OF_A_TRIAL)):
        found[number]["attributes"][key] = json.loads(value)
    return found
