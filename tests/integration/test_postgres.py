"""The server that other tests rely on."""

import sqlalchemy as sa


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
    assert not postgres.answers()
    postgres.start()
    assert count(first) == 3
