"""Whether an exported model is the one that was trained: equal logits on a few inputs.

A trial's weights are gone when its sweep is complete. What its model answered in memory, in
the process that trained or loaded it, is therefore kept beside the best model: a few numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from raysel.errors import Trouble
from raysel.models import timm
from raysel.tasks.data import Task
from raysel.training.batches import seeded

FILE = "check.json"
"""Beside a best model: what it answered before it was written."""

INPUTS = 4
_SEED = 20
_TOLERANCE = 1e-4
"""|difference| <= T * max(1, |logit|): between processors; on one machine it is 0."""


@dataclass(frozen=True)
class Answers:
    """What a model says to `INPUTS` fixed inputs: logits [n, classes]."""

    shape: tuple[int, int, int]
    logits: Tensor

    def save(self, folder: Path) -> None:
        """Write them into the folder of a model."""
        content = {"seed": _SEED, "shape": self.shape, "logits": self.logits.tolist()}
        (folder / FILE).write_text(json.dumps(content), encoding="utf-8")


@dataclass(frozen=True)
class Checked:
    """How far the logits of an exported model are off; `equal`: not at all, bit for bit."""

    inputs: int
    largest: float
    passed: bool

    @property
    def equal(self) -> bool:
        """Bit for bit."""
        return self.largest == 0.0

    def __str__(self) -> str:
        if self.equal:
            return f"equal logits on {self.inputs} inputs, bit for bit"
        off = f"the logits on {self.inputs} inputs are off by {self.largest:.2g} at most"
        return f"equal to rounding: {off}" if self.passed else f"not the trial's model: {off}"


def answers(model: nn.Module, task: Task) -> Answers:
    """What the model says; it is left on the CPU in eval mode."""
    height, width = task.image_size
    shape = (task.channels, height, width)
    return Answers(shape, _logits(model.eval().cpu(), shape))


def load_answers(folder: Path) -> Answers:
    """What `Answers.save` wrote.

    Raises:
        Trouble: there are none, or they cannot be read.
    """
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        channels, height, width = content["shape"]
        return Answers((channels, height, width), torch.tensor(content["logits"]))
    except FileNotFoundError:
        message = "was not kept by the raysel that ran the sweep: there is nothing to compare with"
        raise Trouble(str(folder / FILE), message) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Trouble(str(folder / FILE), f"cannot be read: {error}") from None


def check(folder: Path, expected: Answers) -> Checked:
    """Load an exported model through timm and ask it.

    Raises:
        Trouble: timm cannot load it.
    """
    try:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except Exception as error:  # whatever a file that was tampered with makes timm raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Trouble(str(folder), f"timm cannot load it: {first}") from error
    logits = _logits(model.eval(), expected.shape)
    if logits.shape != expected.logits.shape:
        return Checked(INPUTS, float("inf"), False)
    off = (logits - expected.logits).abs() / expected.logits.abs().clamp(min=1.0)
    largest = float(off.max())
    return Checked(INPUTS, largest, largest <= _TOLERANCE)


@torch.inference_mode()
def _logits(model: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    with seeded(_SEED, torch.device("cpu")):
        inputs = torch.randn(INPUTS, *shape)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the numbers depend on it
    try:
        logits: Tensor = model(inputs).float()
    finally:
        torch.set_num_threads(before)
    return logits
