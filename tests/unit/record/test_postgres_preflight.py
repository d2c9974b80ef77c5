"""Whether a database takes a sweep's tables."""

from __future__ import annotations

import pytest

from raysel.record import postgres_preflight as module
from raysel.record.postgres_preflight import preflight

RECORD = "postgresql://me@127.0.0.1:1/db"


@pytest.mark.parametrize(("allowed", "error"), [(True, False), (False, True)])
def test_a_user_that_may_make_no_schema_is_found(monkeypatch, allowed, error):
    monkeypatch.setattr(module, "may_be_made", lambda url: allowed)
    assert bool(preflight(RECORD, "x").error) == error


def test_a_driver_that_is_not_installed_is_named(monkeypatch):
    def missing(url: str) -> bool:
        raise ModuleNotFoundError("psycopg is not installed")

    monkeypatch.setattr(module, "may_be_made", missing)
    assert preflight(RECORD, "x").remedy == "pip install 'raysel[postgres]'"
