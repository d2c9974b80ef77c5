"""The database of a record: looked at before a sweep is started."""

from __future__ import annotations

import pytest
from cluster_kit import sweep

from raysel.service.doctor.checks import record as module
from raysel.service.doctor.checks.record import check_record

RECORD = "postgresql://me@127.0.0.1:1/db"


def test_without_a_server_nothing_is_said():
    assert check_record(sweep()) == []


def test_a_database_that_is_down_is_one_finding():
    (found,) = check_record(sweep(f"record={RECORD}"))
    assert found.level == "error" and "does not answer" in found.words
    assert "PGPASSWORD" in found.remedy and "\n" not in found.line()


@pytest.mark.parametrize(("allowed", "level"), [(True, "ok"), (False, "error")])
def test_a_user_that_may_make_no_schema_is_found(monkeypatch, allowed, level):
    monkeypatch.setattr(module, "may_be_made", lambda url: allowed)
    (found,) = check_record(sweep(f"record={RECORD}"))
    assert found.level == level
