"""Whether an exported model is the one that was trained, and whether who has timm alone sees it
answer as it did in validation.

A trial's weights are gone when its sweep is complete. What its model answered to a few ready
tensors in memory, in the process that trained or loaded it, is therefore kept beside the best
model. The exported model is asked in a process of its own, in which raysel is not imported:
those tensors, and picture files of the validation part, which go through timm's transform.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from raysel.common.errors import OperationalError
from raysel.common.user_files import read_regular, reason
from raysel.export.check_pictures import ValidationPictures
from raysel.tasks.data import Task
from raysel.training.batches import seeded

_SECONDS = 1800
_MOST_BYTES = 256 * 2**20
"""For the model and its pictures to be read without raysel; what takes longer has hung."""

FILE = "check.json"
"""Beside a best model: what it answered before it was written."""

_PLACE = "the model"
"""In messages: it may lie in a folder that is gone when they are read."""

INPUTS = 4
_SEED = 20
TOLERANCE = 1e-4
"""|difference| <= T * max(1, |logit|): between processors; on one machine it is 0."""

_GREY_LEVEL = 1.01
"""Of 255, by which a pixel may be off, and then the logits with it: a strip of more than 16 times
its width is resized in parts, and its pixels rounded once more. All others are equal."""

_WITHOUT_RAYSEL = """
import sys
sys.path.insert(0, "")  # the folder of the model
from predict import load, open_picture
import torch
from safetensors.torch import load_file, save_file
inputs, outputs, *files = sys.argv[1:]
torch.set_num_threads(1)
model, transform, _ = load()
with torch.inference_mode():
    found = {"logits": model(load_file(inputs)["inputs"]).float()}
    if files:
        pictures = [transform(open_picture(file)) for file in files]
        found["pictures"] = torch.stack(pictures)
        logits = [model(one.unsqueeze(0)).float() for one in pictures]
        found["picture_logits"] = torch.cat(logits)
assert "raysel" not in sys.modules
save_file({name: tensor.contiguous() for name, tensor in found.items()}, outputs)
"""
"""Run in the folder of a model."""


@dataclass(frozen=True)
class ExpectedOutputs:
    """What a model says to `INPUTS` fixed inputs: logits [n, classes]."""

    shape: tuple[int, int, int]
    logits: Tensor

    def save(self, folder: Path) -> None:
        """Write them into the folder of a model."""
        content = {"seed": _SEED, "shape": self.shape, "logits": self.logits.tolist()}
        (folder / FILE).write_text(json.dumps(content), encoding="utf-8")


@dataclass(frozen=True)
class CheckedPictures:
    """Picture files through timm's transform alone, against raysel's own validation.

    Attributes:
        kinds: how many of which kind, in words.
        grey_levels: how far a pixel is off at most, of 255.
        largest: how far a logit is off at most, relative where it is above 1.
        without: the shift that was left out, in words; "" where there is none.
    """

    files: int
    kinds: str
    grey_levels: float
    largest: float
    passed: bool
    without: str

    def __str__(self) -> str:
        shift = f", without {self.without}" if self.without else ""
        what = f"{self.files} validation files through timm alone ({self.kinds}{shift})"
        off = f"pixels off by {self.grey_levels:.2g} of 255 at most, logits by {self.largest:.2g}"
        return f"{what}: {off}" if self.passed else f"not as in validation: {what}: {off}"


@dataclass(frozen=True)
class Checked:
    """How far the logits of an exported model are off; `equal`: not at all, bit for bit.

    Attributes:
        pictures: None where there are no picture files to start from.
        note: why there are none; "" where there are.
    """

    inputs: int
    largest: float
    passed: bool
    pictures: CheckedPictures | None = None
    note: str = ""

    @property
    def equal(self) -> bool:
        """Bit for bit, on ready tensors."""
        return self.largest == 0.0

    def __str__(self) -> str:
        if self.equal:
            return f"equal logits on {self.inputs} inputs, bit for bit"
        off = f"the logits on {self.inputs} inputs are off by {self.largest:.2g} at most"
        right = self.largest <= TOLERANCE
        return f"equal to rounding: {off}" if right else f"not the trial's model: {off}"


def expected_outputs(model: nn.Module, task: Task) -> ExpectedOutputs:
    """What the model says; it is left on the CPU in eval mode."""
    height, width = task.image_size
    shape = (task.channels, height, width)
    return ExpectedOutputs(shape, logits_of(model.eval().cpu(), fixed_inputs(shape)))


def load_expected_outputs(folder: Path, way_on: str = "") -> ExpectedOutputs:
    """What `ExpectedOutputs.save` wrote.

    Args:
        way_on: for the message about a damaged file.

    Raises:
        OperationalError: there are none, or they cannot be read.
    """
    try:
        content = json.loads(read_regular(folder / FILE, _MOST_BYTES))
        channels, height, width = content["shape"]
        return ExpectedOutputs((channels, height, width), torch.tensor(content["logits"]))
    except FileNotFoundError:
        message = "was not kept by the raysel that ran the sweep: there is nothing to compare with"
        raise OperationalError(str(folder / FILE), message) from None
    except Exception as error:  # whatever a damaged file makes its reader raise
        words = f"cannot be read: {reason(error)}{way_on}"
        raise OperationalError(str(folder / FILE), words) from None


def check(
    folder: Path, expected: ExpectedOutputs, pictures: ValidationPictures | None = None
) -> Checked:
    """Load an exported model in a process without raysel and ask it.

    Raises:
        OperationalError: it cannot be loaded there.
    """
    files = [] if pictures is None else pictures.files
    outputs = _run_without_raysel(folder, fixed_inputs(expected.shape), files)
    largest = float(off_by(outputs["logits"], expected.logits).max())
    passed = largest <= TOLERANCE
    if pictures is None:
        return Checked(INPUTS, largest, passed)
    seen = _compare_pictures(outputs["pictures"], outputs["picture_logits"], pictures)
    return Checked(INPUTS, largest, passed and seen.passed, seen)


def _compare_pictures(
    given: Tensor, logits: Tensor, pictures: ValidationPictures
) -> CheckedPictures:
    count, infinite = len(pictures.files), torch.tensor(float("inf"))
    levels = infinite.repeat(count)  # [n] of 255
    if given.shape == pictures.inputs.shape:
        off = (given - pictures.inputs).abs() * pictures.std * 255
        levels = off.flatten(1).amax(1)
    differences = off_by(logits, pictures.logits)
    right = (levels <= _GREY_LEVEL) & ((differences <= TOLERANCE) | (levels > 0.5))
    return CheckedPictures(
        files=count,
        kinds=pictures.kinds,
        grey_levels=round(float(levels.max()), 3),
        largest=float(differences.max()),
        passed=bool(right.all()),
        without=pictures.without,
    )


def _run_without_raysel(folder: Path, inputs: Tensor, files: Sequence[Path]) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory(prefix="raysel-check-") as scratch:
        given, outputs = Path(scratch, "inputs"), Path(scratch, "outputs")
        safetensors.torch.save_file({"inputs": inputs}, given)
        arguments = [
            sys.executable,
            "-B",
            "-c",
            _WITHOUT_RAYSEL,
            *map(str, (given, outputs, *files)),
        ]
        try:
            done = subprocess.run(
                arguments, cwd=folder, capture_output=True, text=True, check=False, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            took = (
                f"timm alone, in a process without raysel, took more than {_SECONDS / 60:.0f} min"
            )
            raise OperationalError(
                _PLACE, f"the check was ended: {took}; export again, or without --check"
            ) from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise OperationalError(_PLACE, f"timm cannot load it: {last}")
        return safetensors.torch.load_file(outputs)


def off_by(logits: Tensor, expected: Tensor) -> Tensor:
    """[n] how far the logits of each input are off at most."""
    if logits.shape != expected.shape:
        return torch.full((len(expected),), float("inf"))
    return ((logits - expected).abs() / expected.abs().clamp(min=1.0)).amax(1)


def fixed_inputs(shape: tuple[int, int, int]) -> Tensor:
    """`INPUTS` images [n, c, h, w] of normal random numbers, the same wherever they are made."""
    with seeded(_SEED, torch.device("cpu")):
        return torch.randn(INPUTS, *shape)


@torch.inference_mode()
def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """The logits by one thread: the numbers depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        logits: Tensor = model(inputs).float()
    finally:
        torch.set_num_threads(before)
    return logits
