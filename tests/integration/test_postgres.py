"""The server that other tests rely on."""

from pathlib import Path

import sqlalchemy as sa

from raysel.common.locations import sweep_url
from raysel.record.events import Record
from raysel.record.read_only import may_be_made


def count(url):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS kept (n int)"))
        connection.execute(sa.text("INSERT INTO kept VALUES (1)"))
        found = connection.scalar(sa.text("SELECT count(*) FROM kept"))
    engine.dispose()
    return found


def test_databases_are_apart_and_outlive_a_restart_and_a_crash(postgres):
    first, second = postgres.new_database(), postgres.new_database()
    assert count(first) == count(second) == 1
    postgres.restart()
    assert count(first) == 2
    postgres.stop(at_once=True)
    assert not postgres.expected_outputs()
    postgres.start()
    assert count(first) == 3


def test_the_doctor_asks_whether_a_record_may_be_made_there_and_makes_none(postgres):
    owner = postgres.new_database()
    url = sweep_url(owner, Path(), "digits")
    assert may_be_made(url)
    engine = sa.create_engine(owner)
    with engine.begin() as connection:
        assert "raysel_digits" not in sa.inspect(connection).get_schema_names()
        connection.execute(sa.text("CREATE ROLE reader LOGIN"))
    engine.dispose()
    theirs = str(sa.make_url(url).set(username="reader"))
    assert not may_be_made(theirs)
    Record(url).close()
    assert may_be_made(theirs)  # it is there
