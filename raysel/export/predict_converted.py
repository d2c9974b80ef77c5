"""What this model says to pictures. It needs NumPy, Pillow and onnxruntime (model.onnx), or torch
(model.torchscript.pt), and neither timm nor raysel.

    python predict.py PICTURE …                   the likeliest classes of each picture

    from predict import load, open_picture        with this file's folder on sys.path
    ask, transform, classes = load()
    logits = ask(transform(open_picture("photo.jpg"))[None])

Arrays are float32: `transform` gives [c, h, w], `ask` takes [n, c, h, w] and gives [n, classes].
`transform` does what timm's does for evaluation, as config.json describes it. `open_picture` reads
a file as it was read in training; `Image.open(...).convert("RGB")` gives other pixels for some.

(raysel copies this file, as predict.py, and read_picture.py beside every model that it converts.)
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent

if __package__:  # in raysel, where this file is copied from
    from raysel.export.read_picture import read_picture
else:
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    from read_picture import read_picture  # type: ignore[import-not-found,no-redef]

ONNX, TORCHSCRIPT = "model.onnx", "model.torchscript.pt"

_SHOWN = 3
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}

Array = np.ndarray[Any, np.dtype[np.float32]]
Ask = Callable[[Array], Array]


def config(folder: Path = FOLDER) -> dict[str, Any]:
    """The content of config.json."""
    content: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return content


def load(folder: Path = FOLDER) -> tuple[Ask, Callable[[Image.Image], Array], list[str]]:
    """The model, the way from a picture to what it takes, and the names of its classes in order."""
    facts = config(folder)
    ask = _onnx(folder / ONNX) if (folder / ONNX).exists() else _torchscript(folder / TORCHSCRIPT)
    return ask, lambda picture: transform(picture, facts["pretrained_cfg"]), facts["label_names"]


def open_picture(path: str | Path, folder: Path = FOLDER) -> Image.Image:
    """The picture in a file: RGB, or grey for the model of a folder that has one channel.

    Raises:
        Exception: whatever Pillow raises on a file that is damaged or no picture.
    """
    return read_picture(path, config(folder))


def transform(picture: Image.Image, data: dict[str, Any]) -> Array:
    """[c, h, w] float32: resized, cut at the centre, normalised.

    Args:
        data: `pretrained_cfg` of config.json, in timm's words.
    """
    height, width = data["input_size"][1:]
    resized = picture.resize(_size(picture, data), _RESAMPLING[data["interpolation"]])
    fill = tuple(round(255 * value) for value in data["mean"])
    cut = _centre(resized, width, height, fill if len(fill) > 1 else fill[0])
    values = np.asarray(cut, dtype=np.float32).reshape(height, width, -1) / np.float32(255)
    mean, std = (np.asarray(data[name], dtype=np.float32) for name in ("mean", "std"))
    return np.ascontiguousarray(((values - mean) / std).transpose(2, 0, 1))


def _size(picture: Image.Image, data: dict[str, Any]) -> tuple[int, int]:
    """Width and height to which a picture is resized before it is cut."""
    height, width = (math.floor(side / data["crop_pct"]) for side in data["input_size"][1:])
    if data["crop_mode"] == "squash":
        return width, height
    ratios = picture.width / width, picture.height / height
    if data["crop_mode"] == "border" or width != height:
        ratio = max(ratios) if data["crop_mode"] == "border" else min(ratios)
        return round(picture.width / ratio), round(picture.height / ratio)
    if picture.width <= picture.height:
        return width, int(width * picture.height / picture.width)
    return int(height * picture.width / picture.height), height


def _centre(
    picture: Image.Image, width: int, height: int, fill: int | tuple[int, ...]
) -> Image.Image:
    """The centre of a picture; a border around it where it is smaller."""
    missing = max(width - picture.width, 0), max(height - picture.height, 0)
    if any(missing):
        left, top = missing[0] // 2, missing[1] // 2
        border = (left, top, missing[0] - left, missing[1] - top)
        picture = ImageOps.expand(picture, border, fill=fill)
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))


def _onnx(file: Path) -> Ask:
    import onnxruntime  # noqa: PLC0415 (only where the model is one of ONNX)

    session = onnxruntime.InferenceSession(str(file))

    def ask(images: Array) -> Array:
        logits: Array = session.run(None, {"images": images})[0]
        return logits

    return ask


def _torchscript(file: Path) -> Ask:
    import torch  # noqa: PLC0415 (only where the model is one of TorchScript)

    model = torch.jit.load(str(file), map_location="cpu").eval()

    @torch.inference_mode()
    def ask(images: Array) -> Array:
        logits: Array = model(torch.from_numpy(images)).float().numpy()
        return logits

    return ask


def main(paths: list[str]) -> int:
    """Print the likeliest classes of each picture."""
    if not paths:
        print("usage: python predict.py PICTURE …", file=sys.stderr)
        return 2
    ask, transform, classes = load()
    failed = False
    for path in paths:
        try:
            picture = transform(open_picture(path))[None]
        except Exception as error:  # whatever Pillow raises on a damaged file
            print(f"{path}: cannot be read: {error}", file=sys.stderr)
            failed = True
            continue
        logits = ask(picture)[0]
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[:_SHOWN]
        parts = (f"{classes[index]} {shares[index]:.1%}" for index in best)
        print(f"{path}: {', '.join(parts)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
