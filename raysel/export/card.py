"""The model card beside an exported model: what it is, and how to ask it without raysel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from raysel.common.text import and_more

_SHOWN = 20

_TEMPLATE = """---
library_name: timm
pipeline_tag: image-classification
tags: [timm, image-classification]
---

# {architecture}, fine-tuned

{classes} classes: {names}. Made by raysel in the sweep `{sweep}` (run `{run}`).{adapted}

{sections}## Predict

    python predict.py photo.jpg

```python
from predict import load, open_picture  # predict.py lies in this folder; no raysel is needed

model, transform, classes = load()
logits = model(transform(open_picture("photo.jpg")).unsqueeze(0))
print(classes[int(logits.argmax())])
```

## Load with timm

{loading}

## Convert

```python
import torch
from predict import load  # as above

model, _, _ = load()
torch.onnx.export(  # needs the packages onnx and onnxscript
    model,
    (torch.zeros(2, {channels}, {height}, {width}),),
    "model.onnx",
    input_names=["images"],
    output_names=["logits"],
    dynamic_shapes=({{0: torch.export.Dim("batch")}},),
    dynamo=True,
)
```

## Pictures

{pictures}
"""

_TIMMS_OWN = """```python
import torchvision_compat  # of this folder; for a CPU build of torch beside PyPI's torchvision

torchvision_compat.ensure_importable()
import timm

model = timm.create_model("local-dir:.", pretrained=True).eval()  # or another path of this folder
data = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**data, is_training=False)
```"""

_BY_PREDICT = """timm alone cannot build it ({why}): take `load()` of `predict.py`."""

_PREPARED = """Resized with {interpolation} to {resized} pixels ({how}), of which the centre of
{size} x {size} is taken; values in [0, 1], less {mean}, over {std}. `open_picture` turns a picture
as the camera noted, lays what is transparent on white and scales what has more than 8
bits to 8;
`Image.open(...).convert("RGB")` does none of it and gives other pixels for such files."""

_HOW = {
    "center": "the shorter side",
    "squash": "both sides, whatever the shape",
    "border": "the longer side, with a border of the mean colour",
}

_ARRAYS = """Trained on embedded arrays of {channels} x {height} x {width} in [0, 1], less {mean},
over {std}. A picture in a file is first resized to that by repeating pixels."""

_ADAPTED = """
What moved beside the classifier are adapters ({}); they are merged into the weights."""

_SHIFT = """
Trained and validated under the shift `{kind}` (severity {severity}): it expects pictures, or
labels, that differ so; the transform does not make them."""


def card(config: Mapping[str, Any], sections: str = "") -> str:
    """The text of a README.md in Markdown.

    Args:
        config: the content of `config.json`.
        sections: what the sweep says of the model, each section with an empty line at its end.
    """
    channels, height, width = config["pretrained_cfg"]["input_size"]
    return _TEMPLATE.format(
        **_described(config),
        loading=_loading(config["raysel"]),
        sections=sections,
        channels=channels,
        height=height,
        width=width,
    )


def _described(config: Mapping[str, Any]) -> dict[str, Any]:
    """What every card says."""
    names, origin = config["label_names"], config["raysel"]
    return {
        "architecture": config["architecture"],
        "classes": len(names),
        "names": and_more([f"`{plain(name)}`" for name in names], _SHOWN),
        "sweep": plain(str(origin.get("sweep", ""))),
        "run": plain(str(origin.get("run", ""))),
        "adapted": _ADAPTED.format(plain(adapter)) if (adapter := origin.get("adapter")) else "",
        "pictures": _pictures(config),
    }


_CONVERTED = """# {architecture}, fine-tuned, as {layout}

{classes} classes: {names}. Made by raysel in the sweep `{sweep}` (run `{run}`).{adapted}

    python predict.py photo.jpg

```python
from predict import load, open_picture  # predict.py lies in this folder; no timm is needed

ask, transform, classes = load()
logits = ask(transform(open_picture("photo.jpg"))[None])
print(classes[int(logits.argmax())])
```

{file} takes `images`, float32 [n, c, h, w] with any n, and gives `logits` [n, classes]. It needs
{needs}.

## Pictures

{pictures}
"""

_NEEDS = {
    "onnx": ("`model.onnx`", "onnxruntime, NumPy and Pillow"),
    "torchscript": ("`model.torchscript.pt`", "torch, NumPy and Pillow"),
}


def converted_card(config: Mapping[str, Any], layout: str) -> str:
    """The text of a README.md beside a model that was converted to ONNX or TorchScript."""
    file, needs = _NEEDS[layout]
    return _CONVERTED.format(**_described(config), layout=layout, file=file, needs=needs)


def _loading(origin: Mapping[str, Any]) -> str:
    why = [
        *(["its classifier has two layers"] if origin.get("head") else []),
        *([f"its architecture is in code/{name}" for name in origin.get("code", ())]),
    ]
    return _BY_PREDICT.format(why=" and ".join(why)) if why else _TIMMS_OWN


def _pictures(config: Mapping[str, Any]) -> str:
    data, origin = config["pretrained_cfg"], config["raysel"]
    channels, height, width = data["input_size"]
    mean, std = (", ".join(f"{v:g}" for v in data[key]) for key in ("mean", "std"))
    if origin["pictures"]:
        text = _PREPARED.format(
            interpolation=data["interpolation"],
            resized=int(height / data["crop_pct"]),
            how=_HOW[data["crop_mode"]],
            size=height,
            mean=mean,
            std=std,
        )
    else:
        text = _ARRAYS.format(channels=channels, height=height, width=width, mean=mean, std=std)
    return text + (_SHIFT.format(**origin["shift"]) if origin.get("shift") else "")


def plain(text: str) -> str:
    """Without what would end a code span or a line."""
    return " ".join(text.replace("`", "'").split())


def escaped(text: str) -> str:
    """As text outside of a code span: no mark-up of Markdown or HTML."""
    return re.sub(r"([\\\[\]*|])", r"\\\1", plain(text)).replace("<", "&lt;")
