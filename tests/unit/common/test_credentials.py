"""Passwords on their way to a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysel.common import credentials
from raysel.common.errors import UserError

VALUES = {"MLFLOW_TRACKING_PASSWORD": "planted", "AWS_SECRET_ACCESS_KEY": "planted too"}


def test_who_has_the_token_reads_them() -> None:
    assert credentials.unseal(credentials.seal(VALUES, "token"), "token") == VALUES


def test_without_the_token_they_say_nothing() -> None:
    sealed = credentials.seal(VALUES, "token")
    assert "planted" not in sealed and "MLFLOW" not in sealed
    with pytest.raises(ValueError, match="another token"):
        credentials.unseal(sealed, "tokem")


def test_the_same_values_are_never_sealed_alike() -> None:
    assert credentials.seal(VALUES, "token") != credentials.seal(VALUES, "token")


@pytest.mark.parametrize("damaged", ["", "x", "not sealed at all, only a text", "é" * 80])
def test_a_damaged_text_is_no_crash(damaged: str) -> None:
    with pytest.raises(ValueError):
        credentials.unseal(damaged, "token")


def test_what_the_environment_has_of_the_known_names_goes_along_and_nothing_else() -> None:
    here = VALUES | {"HOME": "/root", "OWN": "1", "PGPASSWORD": ""}
    assert credentials.found(here) == VALUES
    assert credentials.found(here, ["OWN"]) == VALUES | {"OWN": "1"}


def test_the_token_is_read_where_ray_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of the file\n")
    assert credentials.cluster_token({"RAY_AUTH_TOKEN_PATH": str(file)}) == "of the file"
    both = {"RAY_AUTH_TOKEN": "own", "RAY_AUTH_TOKEN_PATH": str(file)}
    assert credentials.cluster_token(both) == "own"
    assert credentials.cluster_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}) is None


@pytest.mark.parametrize("content", [b"s3cret\nsecond", b"\xff\xfes3cret", "s3crét".encode()])
def test_what_cannot_be_a_token_is_reported_without_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UserError) as refused:
        credentials.cluster_token({"RAY_AUTH_TOKEN_PATH": str(file)})
    assert str(refused.value).startswith(f"{file}: ") and "3cr" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_variable_that_cannot_be_a_token_is_reported_by_name() -> None:
    with pytest.raises(UserError, match=r"^RAY_AUTH_TOKEN: is not a token"):
        credentials.cluster_token({"RAY_AUTH_TOKEN": "s3cret\nsecond"})


def test_a_node_whose_token_is_none_says_so_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    credentials.open_sealed({"RAY_AUTH_TOKEN": "a\nb", credentials.VARIABLE: "sealed"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note     the submitter's credentials cannot be read: RAY_AUTH_TOKEN")


def test_a_process_of_the_job_opens_them_for_itself() -> None:
    here = {"RAY_AUTH_TOKEN": "token", credentials.VARIABLE: credentials.seal(VALUES, "token")}
    credentials.open_sealed(here)
    assert here.items() >= VALUES.items()


def test_a_node_with_another_token_says_so_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    here = {"RAY_AUTH_TOKEN": "other", credentials.VARIABLE: credentials.seal(VALUES, "token")}
    credentials.open_sealed(here)
    assert "MLFLOW_TRACKING_PASSWORD" not in here
    (line,) = capsys.readouterr().err.splitlines()
    assert "another token" in line and "planted" not in line
