"""The sides of the GPU training benchmark; each run of one is a process of its own.

    python tests/benchmarks/training_sides.py SIDE SETTINGS.json

Both sides are called as a user calls them (`train.py`'s own `main`, `raysel.finetune`) and begin
with the same weights. What is timed is an epoch without its validation.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch

from raysel.common.torchvision_compat import ensure_importable

ensure_importable()

TIMM, FULL, BVG_LS = "timm's train.py", "raysel full", "raysel bvg_ls"
BENCHMARKED = "raysel full, cudnn.benchmark"
STRATEGIES = {FULL: "full", BVG_LS: "bvg_ls", BENCHMARKED: "full"}
LEARNING_RATE, MOMENTUM = 0.01, 0.9
EVALUATED = 256
"""Pictures of a batch of validation: raysel's."""


@dataclass(frozen=True)
class Settings:
    """What both sides train on and how.

    Attributes:
        train_py: timm's script.
        folder: of the benchmark, with `pictures` (train, val and test), the weights and what the
            runs leave.
        weights: that both begin with.
        model: timm's name.
        interpolation: by which crops are resized.
        size: pixels a side.
        batch: pictures a step.
        pictures: of the training part, whole batches of them.
        workers: processes of timm's loader, threads of raysel's; torch's threads.
        device: `cuda` or `cpu`.
        read_ahead: raysel keeps no pictures on the device.
    """

    train_py: str
    folder: str
    weights: str
    model: str
    interpolation: str
    classes: int
    size: int
    batch: int
    pictures: int
    workers: int
    epochs: int
    device: str
    read_ahead: bool


@dataclass(frozen=True)
class Epoch:
    """The training part of one epoch.

    Attributes:
        begin, end: of the part, in seconds since 1970.
        seconds: of the epoch without its validation; of raysel with what comes after that.
        loss: mean training loss.
    """

    begin: float
    end: float
    seconds: float
    loss: float


@dataclass(frozen=True)
class Outcome:
    """One run of one side.

    Attributes:
        epochs: of the run, the first too.
        reading: where raysel has its pictures from; empty of timm.
        utilisation: mean of the device, in percent, over the epochs but the first; None where
            nvidia-smi does not say.
    """

    epochs: list[Epoch]
    reading: str = ""
    utilisation: float | None = None

    @classmethod
    def load(cls, path: Path) -> Outcome:
        """Read what a side's process wrote."""
        read = json.loads(path.read_text(encoding="utf-8"))
        return cls(**read | {"epochs": [Epoch(**epoch) for epoch in read["epochs"]]})


def _now() -> float:
    """The time when the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.time()


def run_timm(settings: Settings) -> Outcome:
    """`train.py` from its command line on; its `train_one_epoch` is timed."""
    script = _script(settings.train_py)
    epochs: list[Epoch] = []
    train = script.train_one_epoch

    def timed(epoch: int, model: Any, loader: Any, *rest: Any, **named: Any) -> Any:
        assert len(loader) * settings.batch == settings.pictures, "not the same pictures"
        begin = _now()
        metrics = train(epoch, model, loader, *rest, **named)
        end = _now()
        epochs.append(Epoch(begin, end, end - begin, float(metrics["loss"])))
        return metrics

    script.train_one_epoch = timed  # type: ignore[attr-defined]
    sys.argv = [settings.train_py, *timm_options(settings)]
    script.main()
    return Outcome(epochs)


def _script(path: str) -> ModuleType:
    """`train.py` as a module: the timm that it imports is the installed one."""
    spec = importlib.util.spec_from_file_location("timm_train", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def timm_options(settings: Settings) -> list[str]:
    """`train.py`'s options: what raysel's side does, and nothing else that timm has by default."""
    folder = Path(settings.folder)
    without = folder / "timm.yaml"
    without.write_text("color_jitter: null\n", encoding="utf-8")  # has no value for "off"
    options = {
        "config": without,
        "data-dir": folder / "pictures",
        "train-split": "train",
        "val-split": "val",
        "model": settings.model,
        "initial-checkpoint": settings.weights,
        "num-classes": settings.classes,
        "img-size": settings.size,
        "batch-size": settings.batch,
        "validation-batch-size": EVALUATED,
        "device": settings.device,
        "amp-dtype": "bfloat16",
        "opt": "sgd",  # Nesterov's
        "lr": LEARNING_RATE,
        "momentum": MOMENTUM,
        "weight-decay": 0,
        "sched": "step",
        "decay-epochs": 1000,  # a constant rate
        "warmup-epochs": 0,
        "epochs": settings.epochs,
        "train-interpolation": settings.interpolation,
        "reprob": 0,
        "smoothing": 0,
        "hflip": 0.5,
        "workers": settings.workers,
        "checkpoint-hist": 1,
        "output": folder / "timm",
        "experiment": "run",
    }
    listed = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    several = ["--scale", "0.08", "1.0", "--ratio", "0.75", str(4 / 3)]
    return [*listed, *several, "--amp", "--channels-last", "--pin-mem"]


def run_raysel(settings: Settings, side: str) -> Outcome:
    """`raysel.finetune` of one strategy; an epoch is timed around its validation."""
    import raysel
    from raysel.training import device_images
    from raysel.training.loop import FineTuning
    from raysel.training.validated import ValidatedWeights

    clock = _RayselClock()
    validate, run_epoch = ValidatedWeights.validate, FineTuning.run_epoch

    def timed_validation(*given: Any, **named: Any) -> Any:
        clock.validation_begins = _now()
        metrics = validate(*given, **named)
        clock.validation_ends = _now()
        return metrics

    def timed_epoch(tuning: FineTuning) -> Any:
        assert tuning.steps_per_epoch * settings.batch == settings.pictures, "not the same pictures"
        assert tuning.memory_format == torch.channels_last
        clock.reading = _reading(tuning.data.train)
        begin = _now()
        result = run_epoch(tuning)
        clock.ended(begin, _now(), result.metrics["train/loss"])
        return result

    torch.backends.cudnn.benchmark = side == BENCHMARKED
    with ExitStack() as stack:
        stack.enter_context(patch.object(ValidatedWeights, "validate", timed_validation))
        stack.enter_context(patch.object(FineTuning, "run_epoch", timed_epoch))
        if settings.read_ahead:
            stack.enter_context(patch.object(device_images, "MEMORY_SHARE", 0.0))
        tuned = raysel.finetune(sweep(settings), STRATEGIES[side])
    if tuned.failure:
        raise SystemExit(tuned.failure)
    return Outcome(clock.epochs, clock.reading)


@dataclass
class _RayselClock:
    """Times of the epoch under way, and the epochs until then."""

    validation_begins: float = 0.0
    validation_ends: float = 0.0
    reading: str = ""
    epochs: list[Epoch] = field(default_factory=list)

    def ended(self, begin: float, end: float, loss: float) -> None:
        """Note an epoch."""
        part_ends = self.validation_begins
        seconds = part_ends - begin + end - self.validation_ends
        self.epochs.append(Epoch(begin, part_ends, seconds, loss))


def _reading(train: Any) -> str:
    from raysel.training.device_images import DeviceImages

    if isinstance(train, DeviceImages):
        return "pictures live on the device"
    if train.threads:
        return f"pictures are read ahead by {train.threads} threads"
    return "pictures are read when they are asked for"


def sweep(settings: Settings) -> dict[str, Any]:
    """The sweep whose trials raysel's sides are."""
    folder = Path(settings.folder)
    training = {"precision": "bfloat16", "batch_norm": "train", "weight_decay": 0.0}
    training |= {"epochs": settings.epochs, "batch_size": settings.batch, "optimizer": "sgd"}
    training |= {"learning_rate": LEARNING_RATE, "momentum": MOMENTUM, "schedule": "constant"}
    return {
        "name": "gpu-training",
        "storage": str(folder / "runs"),
        "task": {
            "data": {"folder": str(folder / "pictures")},
            "image_size": settings.size,
            "augmentation": "random_resized_crop",
            "duplicates": "keep",
            "cache": str(folder / "decoded"),
        },
        "model": {"name": settings.model, "weights": settings.weights},
        "strategies": {"full": {}, "bvg_ls": {"ema_decay": MOMENTUM}},
        "training": training,
        "resources": {"cpus": settings.workers, "gpus": int(settings.device == "cuda")},
    }


def main() -> None:
    """Run one side and write what came of it beside the settings."""
    side, path = sys.argv[1], Path(sys.argv[2])
    settings = Settings(**json.loads(path.read_text(encoding="utf-8")))
    torch.set_num_threads(settings.workers)
    outcome = run_timm(settings) if side == TIMM else run_raysel(settings, side)
    (path.parent / "outcome.json").write_text(json.dumps(asdict(outcome)), encoding="utf-8")


if __name__ == "__main__":
    main()
