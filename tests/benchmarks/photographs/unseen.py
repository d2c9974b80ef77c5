"""The winner of a sweep, asked about photographs that it never saw, in three ways.

    python tests/benchmarks/photographs/unseen.py SWEEP FOLDER

FOLDER/<class>/*.jpg. The model is exported twice and asked by `raysel predict`, by timm alone (a
process that has not imported raysel) and by onnxruntime (a process that has imported neither
raysel, nor torch, nor timm). Prints how many photographs each way gets wrong, and how far the three
agree; exit 1 where a class differs, or a log-probability by more than 1e-4 of its size (of 1, where
it is smaller).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TOLERANCE = 1e-4

TIMM = """
import sys
sys.path.insert(0, sys.argv[1])
import torchvision_compat; torchvision_compat.ensure_importable()
import json, timm, torch
from PIL import Image, ImageOps
torch.set_num_threads(1)
model = timm.create_model(f"local-dir:{sys.argv[1]}", pretrained=True).eval()
transform = timm.data.create_transform(
    **timm.data.resolve_model_data_config(model), is_training=False
)
said = []
with torch.inference_mode():
    for file in json.load(sys.stdin):
        picture = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        said.append(model(transform(picture)[None])[0].log_softmax(0).tolist())
assert "raysel" not in sys.modules
print(json.dumps(said))
"""

ONNX = """
import sys
sys.path.insert(0, sys.argv[1])
import json
import numpy as np
from predict import load, open_picture
ask, transform, classes = load()
said = []
for file in json.load(sys.stdin):
    logits = ask(transform(open_picture(file))[None])[0].astype(np.float64)
    shifted = logits - logits.max()
    said.append((shifted - np.log(np.exp(shifted).sum())).tolist())
assert not {"raysel", "torch", "timm"} & set(sys.modules)
print(json.dumps(said))
"""


def output(*command: str | Path, given: str | None = None) -> str:
    """What a process prints."""
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def asked_by_raysel(model: Path, folder: Path, classes: list[str]) -> tuple[list[str], np.ndarray]:
    """The files and their log-probabilities [n, classes]."""
    raysel = ("-m", "raysel", "predict", model, folder, "--json", "--top", str(len(classes)))
    rows = json.loads(output(*raysel))["pictures"]
    shares = [{one["name"]: one["probability"] for one in row["classes"]} for row in rows]
    with np.errstate(divide="ignore"):  # float32 has no smaller probability than 1e-45
        logs = np.log([[one[name] for name in classes] for one in shares])
    return [row["file"] for row in rows], logs


def main(sweep: str, folder: Path) -> int:
    with tempfile.TemporaryDirectory() as there:
        timm, onnx = Path(there, "timm"), Path(there, "onnx")
        output("-m", "raysel", "export", sweep, "--to", timm)
        output("-m", "raysel", "export", sweep, "--to", onnx, "--format", "onnx")
        classes = json.loads((timm / "config.json").read_text())["label_names"]
        files, ours = asked_by_raysel(timm, folder, classes)
        listed = json.dumps(files)
        said = {
            "raysel predict": ours,
            "timm alone": np.array(json.loads(output("-c", TIMM, timm, given=listed))),
            "onnxruntime": np.array(json.loads(output("-c", ONNX, onnx, given=listed))),
        }
    labels = np.array([classes.index(Path(file).parent.name) for file in files])
    agreed = True
    print("| asked by | photographs | wrong | error | other class | largest difference |")
    print("|---|---|---|---|---|---|")
    for name, logs in said.items():
        taken = logs.argmax(1)
        wrong, other = int((taken != labels).sum()), int((taken != ours.argmax(1)).sum())
        likely = ours > np.log(1e-6)  # of a tiny probability float32 keeps few digits
        sizes = np.maximum(1, np.abs(ours[likely]))
        furthest = float((np.abs(logs[likely] - ours[likely]) / sizes).max())
        agreed &= not other and furthest < TOLERANCE
        cells = (name, len(labels), wrong, f"{wrong / len(labels):.3f}", other, f"{furthest:.1e}")
        print("|", " | ".join(map(str, cells)), "|")
    return 0 if agreed else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
