"""What MLflow's client does where a server takes something and not something else."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from raysel.mlflow_sync.client import MlflowStore
from raysel.record.state import SweepState

SWEEP = SweepState(id="a-1", name="a", metric="val/error", layers=("stem",))


def tagged(error: MlflowException | None) -> list[str]:
    """The tags that an experiment is given by a server that answers so to a saved view."""
    taken: list[str] = []

    def take(_: str, tag: str, value: str) -> None:
        if error is not None and "View" in tag:
            raise error
        taken.append(tag)

    store = object.__new__(MlflowStore)
    store._client, store._experiment = MagicMock(), "1"
    store._client.get_experiment.return_value = SimpleNamespace(tags={})
    store._client.set_experiment_tag = take
    store._tag_experiment(SWEEP, "a")
    return taken


def test_a_server_that_takes_no_saved_views_loses_nothing_else() -> None:
    refused = tagged(MlflowException("too long", INVALID_PARAMETER_VALUE))
    assert refused == [tag for tag in tagged(None) if "View" not in tag]
    assert len(refused) == 3


def test_a_server_that_is_away_is_asked_again() -> None:
    with pytest.raises(MlflowException, match="away"):
        tagged(MlflowException("away", TEMPORARILY_UNAVAILABLE))
