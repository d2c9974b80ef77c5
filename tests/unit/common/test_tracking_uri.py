import pytest
from pydantic import ValidationError

from raysel.common.errors import UserError
from raysel.spec.reader import parse
from raysel.spec.sweep import TrackingSpec

FILE = """
name: x
task: {data: digits}
model: {name: test_resnet}
strategies: {full: }
"""


def reported(uri):
    with pytest.raises(UserError) as raised:
        parse(FILE, [f"tracking.uri={uri}"])
    (problem,) = raised.value.problems
    assert problem.path == "tracking.uri"
    return problem.message


@pytest.mark.parametrize(
    "uri",
    [
        "http://mlflow:5000",
        "https://mlflow.example.org/at",
        "sqlite:///mlflow.db",
        "postgresql://bob@host/mlflow",
        "postgresql+psycopg://host/mlflow?sslmode=require",
        "databricks",
        "databricks://profile",
    ],
)
def test_what_mlflow_takes_is_taken(uri):
    assert TrackingSpec(uri=uri).uri == uri


@pytest.mark.parametrize(
    ("uri", "way_out"),
    [
        ("http://bob:hunter2@host:5000", "MLFLOW_TRACKING_PASSWORD"),
        ("https://hunter2@host", "MLFLOW_TRACKING_USERNAME"),
        ("postgresql://bob:hunter2@host/db", "PGPASSWORD"),
        ("postgresql+psycopg://host/db?password=hunter2", "PGPASSWORD"),
    ],
)
def test_a_secret_is_refused_and_not_repeated(uri, way_out):
    message = reported(uri)
    assert way_out in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "uri",
    ["sqlite://", "sqlite:///", "'sqlite:///:memory:'", "sqlite:///file:x?mode=memory&uri=true"],
)
def test_a_database_in_memory_is_refused(uri):
    """raysel made a file called `:memory:`, and the command that it printed opened another."""
    assert "is a database in memory" in reported(uri)


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns"])
def test_a_folder_is_refused_with_what_to_give_instead(uri):
    assert "sqlite:///" in reported(uri)


def test_an_unknown_scheme_and_no_address_at_all():
    assert "redis" in reported("redis://host")
    assert "not an address" in reported("http://[host")


def test_a_library_user_cannot_pass_by():
    with pytest.raises(ValidationError):
        TrackingSpec(uri="http://bob:hunter2@host")


@pytest.mark.parametrize("port", ["99999", "port", "-1", "0"])
@pytest.mark.parametrize("uri", ["http://host:{}", "postgresql://bob@host:{}/mlflow"])
def test_a_port_that_is_none_is_refused(uri, port):
    assert "port" in reported(uri.format(port))
