"""What this model says to pictures. It needs torch, timm, Pillow and no raysel.

    python predict.py PICTURE …                   the likeliest classes of each picture

    from predict import load, open_picture        with this file's folder on sys.path
    model, transform, classes = load()
    logits = model(transform(open_picture("photo.jpg")).unsqueeze(0))

`transform` is timm's own for evaluation, as config.json describes it. `open_picture` reads a file
as it was read in training: turned as the camera noted, what is transparent on white, more than 8
bits scaled to 8. `Image.open(...).convert("RGB")` gives other pixels for such files.

(raysel copies this file and torchvision_compat.py beside every model that it writes.)
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent

# timm imports torchvision, whose import fails beside a torch of another build
if __package__:  # in raysel, where this file is copied from
    from raysel.common.torchvision_compat import ensure_importable
else:
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    from torchvision_compat import ensure_importable  # type: ignore[import-not-found,no-redef]

ensure_importable()

import numpy as np  # noqa: E402
import timm  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

_SHOWN = 3
_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_DEPTHS = (8, 10, 12, 14, 16)  # bits

Transform = Callable[[Image.Image], Tensor]
"""From a picture to what the model takes: [c, h, w]."""


def config(folder: Path = FOLDER) -> dict[str, Any]:
    """The content of config.json."""
    content: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return content


def load(folder: Path = FOLDER) -> tuple[nn.Module, Transform, list[str]]:
    """The model in eval mode, timm's transform for it, and the names of its classes in order."""
    facts = config(folder)
    if _is_timms_own(facts):
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
        data = timm.data.resolve_model_data_config(model)
    else:
        model = _built(facts, folder)
        data = timm.data.resolve_data_config({}, pretrained_cfg=facts["pretrained_cfg"])
    transform = timm.data.create_transform(**data, is_training=False)
    return model.eval(), transform, list(facts["label_names"])


def open_picture(path: str | Path, folder: Path = FOLDER) -> Image.Image:
    """The picture in a file: RGB, or grey for the model of a folder that has one channel.

    Raises:
        Exception: whatever Pillow raises on a file that is damaged or no picture.
    """
    facts = config(folder)
    with Image.open(path) as image:
        image.load()
        turn = _TURNS.get(_orientation(image))
        picture = _rgb(image, facts["raysel"].get("ranges") or {})
    picture = picture if turn is None else picture.transpose(turn)
    return picture.convert("L") if facts["pretrained_cfg"]["input_size"][0] == 1 else picture


def _orientation(image: Image.Image) -> int:
    """As EXIF gives it; 1 of a TIFF, which Pillow has turned, and where metadata are damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever a damaged tag makes Pillow raise
        return 1


def _rgb(image: Image.Image, ranges: dict[str, Any]) -> Image.Image:
    """Any of Pillow's modes as RGB with 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bit(image, ranges).convert("RGB")
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image, ranges: dict[str, Any]) -> Image.Image:
    """By the values that were black and white in training; by the picture's own where training
    had no such picture."""
    pixels, real = np.asarray(image), image.mode == "F"
    known = ranges.get("real" if real else "whole")
    if image.format in ("PPM", "JPEG2000") and not real:
        black, white = 0.0, 65535.0  # Pillow has scaled it
    elif known:
        black, white = known["black"], known["white"]
    elif pixels.min() < 0:
        black, white = float(pixels.min()), float(pixels.max())
    else:
        depths = [1.0] * real + [2.0**bits - 1 for bits in _DEPTHS]
        highest = float(pixels.max())
        black, white = 0.0, next((depth for depth in depths if highest <= depth), highest)
    scaled = (pixels.astype(np.float64) - black) * (255.0 / (white - black or 1.0))
    return Image.fromarray(np.clip(np.round(scaled), 0, 255).astype(np.uint8))


def _is_timms_own(facts: dict[str, Any]) -> bool:
    """Whether timm alone can build it: neither the architecture nor the head is another's."""
    return not facts["raysel"].get("code") and not facts["raysel"].get("head")


def _built(facts: dict[str, Any], folder: Path) -> nn.Module:
    """A model that timm alone cannot build: the code of its architecture lies in this folder, or
    its classifier has two layers."""
    for name in facts["raysel"].get("code", ()):
        _run(folder / "code" / Path(name).name)
    model: nn.Module = timm.create_model(
        facts["architecture"], pretrained=False, **facts["model_args"]
    )
    for head in facts["raysel"].get("head", ()):
        _put_head(model, head)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model


def _run(path: Path) -> None:
    """Run a file that enters its architecture into timm's registry."""
    name = f"raysel_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _put_head(model: nn.Module, head: dict[str, Any]) -> None:
    """The two dense layers in place of the classifier (`model.head: mlp`)."""
    dense: type[nn.Module] = nn.Conv2d if head["kind"] == "conv" else nn.Linear
    size = (1,) if head["kind"] == "conv" else ()
    parent, _, name = head["path"].rpartition(".")
    first = dense(head["features"], head["hidden"], *size)
    last = dense(head["hidden"], head["classes"], *size)
    layers = nn.Sequential(first, nn.ReLU(), nn.Dropout(head["dropout"]), last)
    setattr(model.get_submodule(parent), name, layers)
    if hasattr(model, "pre_logits") and head["without_dense_layers"]:
        model.pre_logits = nn.Identity()


@torch.inference_mode()
def main(paths: list[str]) -> int:
    """Print the likeliest classes of each picture."""
    if not paths:
        print("usage: python predict.py PICTURE …", file=sys.stderr)
        return 2
    model, transform, classes = load()
    failed = False
    for path in paths:
        try:
            picture = transform(open_picture(path)).unsqueeze(0)
        except Exception as error:  # whatever Pillow raises on a damaged file
            print(f"{path}: cannot be read: {error}", file=sys.stderr)
            failed = True
            continue
        shares = model(picture).softmax(1)[0]
        best = shares.topk(min(_SHOWN, len(classes)))
        likely = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        parts = (f"{classes[index]} {share:.1%}" for share, index in likely)
        print(f"{path}: {', '.join(parts)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
