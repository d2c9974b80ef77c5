"""An exported model in MLflow's registry: safetensors and a file of code, no pickle.

MLflow's own torch flavours pickle the module. What is registered here is a function
(`raysel.export.served_model`, copied as text) beside the folder of the exported model.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from raysel.common.errors import OperationalError
from raysel.common.text import first_line
from raysel.export.timm_layout import CONFIG
from raysel.mlflow_sync.error_messages import mlflow_errors
from raysel.mlflow_sync.process import environment
from raysel.mlflow_sync.runs import SWEEP_ID, TRIAL_ID
from raysel.mlflow_sync.store import check_store, ensure_store

_CODE, _ARTIFACT = "served_model.py", "timm"
"""Not imported: the file is run where the model is loaded."""

_NEEDS = ("torch", "torchvision", "timm", "safetensors", "numpy", "pillow")


@dataclass(frozen=True)
class Registered:
    """A version in the registry; `uri` loads it through `mlflow.pyfunc.load_model`."""

    name: str
    version: str
    uri: str


def register(folder: Path, name: str, tracking_uri: str, sweep_id: str, run: str) -> Registered:
    """Register an exported model.

    Args:
        folder: in timm's layout.
        sweep_id, run: become tags of the version; where MLflow has the sweep's parent run,
            the model belongs to it.

    Raises:
        OperationalError: MLflow cannot be reached, or refuses.
    """
    mlflow.set_tracking_uri(tracking_uri)
    tags = {SWEEP_ID: sweep_id, TRIAL_ID: run}
    with mlflow_errors(tracking_uri, name), _bounded():
        ensure_store(tracking_uri)
        check_store(tracking_uri)
        client = mlflow.MlflowClient()
        parent = _parent_run(client, sweep_id)
    try:
        with _quiet():
            info = Model.log(
                None,
                mlflow.pyfunc,
                name="model",
                run_id=parent,
                registered_model_name=name,
                python_model=str(Path(__file__).with_name(_CODE)),
                artifacts={_ARTIFACT: str(folder)},
                signature=signature(folder),
                pip_requirements=[f"{package}=={version(package)}" for package in _NEEDS],
                tags=tags,
            )
        number = str(info.registered_model_version)
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value)
    except (mlflow.MlflowException, OSError) as error:  # OSError: the artifact root
        raise OperationalError(tracking_uri, first_line(error)) from error
    return Registered(name, number, f"models:/{name}/{number}")


@contextmanager
def _bounded() -> Iterator[None]:
    """One try of ten seconds a request, where MLflow itself would go on for minutes; not while
    the model is sent, which may take as long as it takes."""
    before = dict(os.environ)
    os.environ.update(environment(os.environ))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence MLflow's hints on types, examples and progress; errors still raise."""
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        yield


def signature(folder: Path) -> ModelSignature:
    """Images [n, c, h, w] in [0, 1] to logits [n, classes], both float32."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    shape = config["pretrained_cfg"]["input_size"]
    number = np.dtype(np.float32)
    return ModelSignature(
        inputs=Schema([TensorSpec(number, (-1, *shape), "images")]),
        outputs=Schema([TensorSpec(number, (-1, config["num_classes"]), "logits")]),
    )


def _parent_run(client: Any, sweep_id: str) -> str | None:
    """MLflow's parent run of the sweep; None where it has none."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.`{SWEEP_ID}` = '{sweep_id}'"
    runs = client.search_runs(experiments, wanted, max_results=1000)
    parents = [run for run in runs if TRIAL_ID not in run.data.tags]
    return parents[0].info.run_id if parents else None
