"""What this model says to pictures. It needs torch, timm, Pillow and no raysel.

    python predict.py PICTURE …                   the likeliest classes of each picture

    from predict import load, open_picture        with this file's folder on sys.path
    model, transform, classes = load()
    logits = model(transform(open_picture("photo.jpg")).unsqueeze(0))

`transform` is timm's own for evaluation, as config.json describes it. `open_picture` reads a file
as it was read in training: turned as the camera noted, what is transparent on white, more than 8
bits scaled to 8. `Image.open(...).convert("RGB")` gives other pixels for such files.

(raysel copies this file, read_picture.py and torchvision_compat.py beside every model that it
writes.)
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
    from raysel.export.read_picture import read_picture
else:
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    from read_picture import read_picture  # type: ignore[import-not-found,no-redef]
    from torchvision_compat import ensure_importable  # type: ignore[import-not-found,no-redef]

ensure_importable()

import timm  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

_SHOWN = 3
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
    return read_picture(path, config(folder))


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
