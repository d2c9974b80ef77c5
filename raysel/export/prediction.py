"""What a model says to picture files, read ahead in threads and asked in batches.

Files become tensors by the code of the `predict.py` that lies beside every exported model, so that
who runs that file, and who runs `raysel predict`, get the same answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from raysel.common.errors import OperationalError, user_error
from raysel.common.text import one_line
from raysel.common.user_files import any_error_as, irregular, reason
from raysel.export import predict
from raysel.export.predict_converted import ONNX, TORCHSCRIPT
from raysel.export.read_picture import read_picture
from raysel.export.timm_layout import damage_of
from raysel.tasks.image_io import image_formats, without_warnings
from raysel.training.failures import is_out_of_memory

_BATCH = 32
"""Pictures at a time; half of it, and so on, where the memory does not hold them."""
_THREADS = 4


@dataclass(frozen=True)
class Prediction:
    """What the model says to one file.

    Attributes:
        classes: the likeliest first.
        shares: their probabilities by softmax (0..1).
        problem: why the file cannot be read; None where it was.
    """

    file: Path
    classes: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    problem: str | None = None


class Predictor:
    """A model of an exported folder, asked on the GPU where there is one.

    Attributes:
        classes: names in the order of the model's outputs.
        shift: the shift that it was trained under, which its pictures must have; None without.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: with `config.json`, `model.safetensors` and what else `raysel export` writes.

        Raises:
            UserError: the model was converted: another way asks it.
            OperationalError: the folder holds no such model, or a damaged one.
        """
        if other := next((f for f in (ONNX, TORCHSCRIPT) if (folder / f).exists()), None):
            words = f"holds {other}: ask it by python {folder / 'predict.py'} PICTURE"
            raise user_error(str(folder), words)
        if damage := damage_of(folder):
            raise OperationalError(str(folder), f"holds no model that can be used: {damage}")
        image_formats()  # registers the readers of further formats
        with any_error_as(lambda why: OperationalError(str(folder), f"cannot be loaded: {why}")):
            self._facts = predict.config(folder)
            shift = self._facts["raysel"].get("shift")
            model, self._transform, self.classes = predict.load(folder)
        self.shift: str | None = None if shift is None else str(shift["kind"])
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device)

    def predict(self, files: Sequence[Path], top: int) -> Iterator[Prediction]:
        """The answer to each file, in their order; the `top` likeliest classes."""
        with without_warnings():
            for part, read in _read_ahead(files, self._read):
                inputs = [one for one in read if isinstance(one, Tensor)]
                rows = iter(self.logits(torch.stack(inputs)).softmax(1).cpu() if inputs else ())
                for file, one in zip(part, read, strict=True):
                    if isinstance(one, str):
                        yield Prediction(file, problem=one)
                    else:
                        yield self._prediction(file, next(rows), top)

    @torch.inference_mode()
    def logits(self, inputs: Tensor) -> Tensor:
        """[n, classes] float32 of [n, c, h, w]; by halves where the memory does not hold them."""
        try:
            logits: Tensor = self._model(inputs.to(self._device)).float()
            return logits
        except Exception as error:
            if len(inputs) == 1 or not is_out_of_memory(error):
                raise
        return torch.cat([self.logits(half) for half in inputs.tensor_split(2)])

    def _read(self, file: Path) -> Tensor | str:
        """[c, h, w], or why the file cannot be read."""
        try:
            if kind := irregular(file):
                return f"is {kind} and no picture"
            return self._transform(read_picture(file, self._facts))
        except Exception as error:  # whatever Pillow raises on a damaged file
            return one_line(reason(error))

    def _prediction(self, file: Path, shares: Tensor, top: int) -> Prediction:
        best = shares.topk(min(top, len(self.classes)))
        names = tuple(self.classes[index] for index in best.indices.tolist())
        return Prediction(file, names, tuple(best.values.tolist()))


def _read_ahead(
    files: Sequence[Path], read: Callable[[Path], Tensor | str]
) -> Iterator[tuple[Sequence[Path], list[Tensor | str]]]:
    """Batches of files with what was read of each; the next one is read beside the model's work."""
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        ahead = pool.map(read, files[:_BATCH])
        for start in range(0, len(files), _BATCH):
            now, end = ahead, start + _BATCH
            ahead = pool.map(read, files[end : end + _BATCH])
            yield files[start:end], list(now)


@dataclass(frozen=True)
class FolderLabels:
    """Pictures whose folders have the names of classes, and how many were taken for another."""

    pictures: int
    wrong: int

    def __str__(self) -> str:
        share = self.wrong / self.pictures
        return (
            f"{self.wrong:,} of the {self.pictures:,} pictures in folders with a class's name are"
            f" taken for another class: error {share:.3f}"
        )


def compared_with_folders(
    rows: Sequence[Prediction], classes: Sequence[str]
) -> FolderLabels | None:
    """How often the model names the folder that a picture lies in; None where no folder has a
    class's name."""
    known = set(classes)
    matched = [row for row in rows if row.problem is None and row.file.parent.name in known]
    if not matched:
        return None
    wrong = sum(row.classes[0] != row.file.parent.name for row in matched)
    return FolderLabels(len(matched), wrong)
