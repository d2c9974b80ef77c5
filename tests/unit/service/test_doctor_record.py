"""The database of a record: looked at before a sweep starts, from where its driver would run."""

from __future__ import annotations

import pytest
from cluster_kit import cluster, found, sweep

from raysel.engine import node_probe
from raysel.service.doctor.examine import question
from raysel.service.doctor.finding import Finding
from raysel.service.doctor.sweep_checks import check_record

RECORD = "postgresql://me@127.0.0.1:1/db"


def of_record(answer: dict[str, str] | None, *overrides: str) -> list[Finding]:
    reported = cluster() | {"record": answer}
    return [one for one in found(reported, sweep(*overrides)) if one.about == "record"]


def test_without_a_server_nothing_is_asked_or_said():
    assert of_record(None) == []
    assert "record" not in question(sweep())


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        ({"error": "", "remedy": ""}, "ok"),
        ({"error": f"{RECORD} is down", "remedy": "Start it"}, "error"),
        ({"error": f"{RECORD} does not answer in time"}, "error"),
        (None, "warning"),
    ],
)
def test_what_the_head_reported_of_the_database_is_a_finding(answer, level):
    (one,) = of_record(answer, f"database_url={RECORD}")
    assert one.level == level and RECORD in one.words


def test_a_database_is_asked_in_a_process_of_its_own():
    asked = question(sweep(f"database_url={RECORD}"))["record"]
    (one,) = check_record(
        RECORD, node_probe.run_module("raysel.record.postgres_preflight", asked, 0)
    )
    assert one.level == "error" and "does not answer" in one.words
    assert "PGPASSWORD" in one.remedy and "\n" not in one.line()
