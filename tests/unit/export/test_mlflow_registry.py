"""An exported model on its way into MLflow's registry."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from raysel.common.errors import OperationalError
from raysel.export.mlflow_registry import register

BOUND = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


@pytest.fixture
def no_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MLflow's own memory of an address is as before."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    yield
    mlflow.set_tracking_uri(None)


@pytest.mark.timeout(30)
def test_an_mlflow_that_is_away_is_reported_at_once(
    tmp_path: Path, no_address: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BOUND, raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(OperationalError, match="does not answer") as reported:
        register(tmp_path, "model", uri, "digits-1a2b3c", "confirm-full-s0")
    assert "\n" not in str(reported.value)
    assert BOUND not in os.environ  # sending the model takes as long as it takes
