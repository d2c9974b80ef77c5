"""Credentials in addresses are found, refused and never repeated."""

import pytest
from few_kit import crossed

from raysel.cli import main
from raysel.common.errors import OperationalError, Problem
from raysel.common.urls import masked, secret_in

SECRETS = [
    "s3://b/x?access_key=AKIA&secret_key=hunter2",
    "s3://b/x?secret%5Fkey=hunter2",
    "s3://b/x?session_token=hunter2",
    "s3://AKIA:hunter2@b/x",
    "s3://b/x?endpoint_override=bob:hunter2@host:9000&scheme=http",
    "s3://b/x?endpoint_override=http://bob:hunter2@host",
    "gs://b/x?credentials=hunter2",
    "postgresql://bob:hunter2@host/db",
    "postgresql://bob:hun/ter2@host/db",
    "postgresql://bob@host/db?password=hunter2",
    "postgresql://bob@host/db?sslpassword=hunter2",
    "postgresql://bob@host/db?PASSWORD=hunter2",
    "mysql+pymysql://bob:hunter2@host/db",
    "http://bob:hunter2@host:5000",
    "https://host/x?X-Amz-Credential=AKIA&X-Amz-Signature=hunter2",
    "https://host/x#token=hunter2",
    "https://host/x?api_key=hunter2",
    "http://bob:hunter2@[::1",
]

PLAIN = [
    "s3://b/x?region=eu-west-1&endpoint_override=host:9000&scheme=http",
    "s3://anonymous@b/x",
    "postgresql://bob@host:5432/db?sslmode=require&sslkey=/k&passfile=/p",
    "http://host:5000/a@b",
    "http://[::1]:8265",
    "sqlite:////tmp/a@b/c:d.db",
    "runs/a=b",
    "user@host:/path",
]


@pytest.mark.parametrize("address", SECRETS)
def test_a_secret_is_found_and_masked(address):
    assert secret_in(address)
    for part in ("hunter2", "ter2"):
        assert part not in masked(f'"{address}" is odd')
    assert "is odd" in masked(f'"{address}" is odd')


@pytest.mark.parametrize("address", PLAIN)
def test_what_is_no_secret_stays(address):
    assert secret_in(address) is None
    assert masked(address) == address


def test_no_message_repeats_a_secret():
    address = "postgresql://bob:hunter2@host/db"
    for reported in (
        Problem("database_url", f'"{address}" is odd'),
        OperationalError(address, f"{address} is away"),
    ):
        assert "hunter2" not in str(reported)


FILE = """
name: x
task: {data: digits}
model: {name: test_resnet}
strategies: {full: }
"""


PLACES = ["storage", "record", "tracking.uri", "task.root", "name"]


@pytest.mark.parametrize(("key", "address"), crossed(PLACES, SECRETS))
def test_validate_refuses_a_secret_wherever_it_stands(tmp_path, monkeypatch, capsys, key, address):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(FILE)
    assert main.main(["validate", "x.yaml", "--set", f'{key}="{address}"']) == 2
    reported = capsys.readouterr()
    assert reported.err.startswith(f"error  {key}: ")
    assert reported.err.count("\n") == 1
    assert "ter2" not in reported.err + reported.out


@pytest.mark.parametrize("address", [a for a in SECRETS if a.startswith(("s3", "gs"))])
def test_the_option_storage_refuses_a_secret(capsys, address):
    assert main.main(["list", "--storage", address]) == 2
    reported = capsys.readouterr().err
    assert reported.startswith("error  --storage: holds ") and "ter2" not in reported


@pytest.mark.parametrize(
    ("address", "verb"),
    crossed(
        ["http://bob:hunter2@host:8265", "bob:hunter2@host:8265", "http://h:1?token=hunter2"],
        [["list"], ["status", "x"], ["doctor"], ["stop", "x"]],
    ),
)
def test_the_option_address_refuses_a_secret(capsys, verb, address):
    assert main.main([*verb, "--address", address]) == 2
    reported = capsys.readouterr().err
    assert reported.startswith("error  --address: holds ") and "hunter2" not in reported


def test_an_unknown_option_of_a_bucket_is_reported(capsys):
    assert main.main(["list", "--storage", "s3://b/x?regoin=eu"]) == 2
    assert 'has no option "regoin"; did you mean "region"?' in capsys.readouterr().err


@pytest.mark.parametrize("piece", ["a", "://", "://a:b", "a="])
def test_a_very_long_text_is_masked_in_time_that_grows_with_its_length(piece):
    text = piece * 100_000  # a search that goes back for each letter would take an hour
    assert len(masked(text)) <= len(text)
