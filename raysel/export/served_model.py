"""The code of a registered model: MLflow copies this file as text and runs it where the model
is loaded, so it needs timm and no raysel.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class TimmModel(PythonModel):
    """Images [n, c, h, w], float32 in [0, 1], cut as config.json says, to logits [n, classes]."""

    def load_context(self, context: Any) -> None:
        """Load the weights from safetensors, by the predict.py beside them."""
        folder = Path(context.artifacts["timm"])
        spec = importlib.util.spec_from_file_location("raysel_predict", folder / "predict.py")
        if spec is None or spec.loader is None:
            raise FileNotFoundError(folder / "predict.py")
        predict = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(predict)
        config = predict.config()["pretrained_cfg"]
        self._mean, self._std = (
            np.asarray(config[name], dtype=np.float32).reshape(1, -1, 1, 1)
            for name in ("mean", "std")
        )
        self._model, _, _ = predict.load()

    # without types: MLflow reads them as a signature of its own
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """The logits of some images."""
        images = model_input["images"] if isinstance(model_input, dict) else model_input
        normalised = (np.asarray(images, dtype=np.float32) - self._mean) / self._std
        with torch.inference_mode():
            return self._model(torch.from_numpy(normalised)).float().numpy()


set_model(TimmModel())
