"""An exported model as ONNX or TorchScript, for who serves it without timm."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from raysel.common.errors import OperationalError, user_error
from raysel.common.user_files import any_error_as
from raysel.export import predict, predict_converted
from raysel.export.card import converted_card
from raysel.export.check import TOLERANCE, fixed_inputs, off_by
from raysel.export.predict_converted import ONNX, TORCHSCRIPT
from raysel.export.sums import write_sums
from raysel.export.timm_layout import CARD, CONFIG

Layout = Literal["timm", "onnx", "torchscript"]

_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
_FILES: Mapping[str, str] = {"onnx": ONNX, "torchscript": TORCHSCRIPT}


def missing_packages(layout: Layout) -> str | None:
    """What must be installed for a layout, in words; None where nothing is missing."""
    wanted = _PACKAGES.get(layout, ())
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f'{layout} needs {" and ".join(missing)}: pip install "raysel[{layout}]"'


def convert(folder: Path, layout: Layout, target: Path) -> None:
    """Write the model of a folder in another layout, and see that it answers as before.

    The folder gets the model, `config.json`, a card, and a `predict.py` that needs neither timm
    nor raysel. Batches may have any size. An ONNX model holds its classes and the way pictures are
    prepared in its metadata too.

    Raises:
        UserError: a package is missing.
        OperationalError: the model cannot be converted, or answers otherwise afterwards.
    """
    if missing := missing_packages(layout):
        raise user_error("--format", missing)
    model, _, _ = predict.load(folder)
    facts = predict.config(folder)
    channels, height, width = facts["pretrained_cfg"]["input_size"]
    inputs = fixed_inputs((channels, height, width))
    target.mkdir()
    file = target / _FILES[layout]
    with any_error_as(lambda why: OperationalError(file.name, f"cannot be made: {why}")), _silent():
        if layout == "onnx":
            _write_onnx(model, inputs, file, facts)
        else:
            _write_torchscript(model, inputs, file)
    (target / CONFIG).write_text(json.dumps(facts, indent=2), encoding="utf-8")
    (target / CARD).write_text(converted_card(facts, layout), encoding="utf-8")
    _refuse_other_answers(model, inputs, target)
    shutil.copyfile(predict_converted.__file__, target / "predict.py")
    shutil.copyfile(Path(__file__).with_name("read_picture.py"), target / "read_picture.py")
    write_sums(target)


def _refuse_other_answers(model: nn.Module, inputs: torch.Tensor, target: Path) -> None:
    """Ask both models the same, several inputs at once and one alone."""
    ask, _, _ = predict_converted.load(target)
    with torch.inference_mode():
        wanted = model(inputs).float()
    found = torch.from_numpy(np.concatenate([ask(inputs.numpy()), ask(inputs[:1].numpy())]))
    largest = float(off_by(found, torch.cat([wanted, wanted[:1]])).max())
    if not largest <= TOLERANCE:
        words = f"the converted model answers otherwise (logits off by {largest:.2g})"
        raise OperationalError(target.name, f"{words}; nothing was written")


def _write_onnx(
    model: nn.Module, inputs: torch.Tensor, file: Path, facts: Mapping[str, Any]
) -> None:
    import onnx  # noqa: PLC0415 (an extra)

    torch.onnx.export(
        model,
        (inputs,),
        str(file),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    written = onnx.load(str(file))
    described = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
    pictures = {name: facts["pretrained_cfg"][name] for name in described}
    properties = {
        "architecture": facts["architecture"],
        "label_names": json.dumps(facts["label_names"]),
        "preprocessing": json.dumps(pictures),
        "raysel": json.dumps(facts["raysel"]),
    }
    onnx.helper.set_model_props(written, properties)
    onnx.save(written, str(file))


def _write_torchscript(model: nn.Module, inputs: torch.Tensor, file: Path) -> None:
    with torch.no_grad():
        traced = torch.jit.trace(model, inputs)
    torch.jit.save(traced, str(file))


@contextmanager
def _silent() -> Iterator[None]:
    """The converters' progress and advice for developers is not shown."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
