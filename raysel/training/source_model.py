"""The source model: trained once on the task's source part, then cached by its inputs."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

import raysel
from raysel.common.code_exits import as_exceptions
from raysel.common.errors import user_error
from raysel.models import timm
from raysel.models.build import ModelConfig, build
from raysel.models.layers import Partition, whole
from raysel.spec import user_code
from raysel.spec.source import SourceSpec
from raysel.spec.trial_config import TrialConfig
from raysel.tasks.data import Examples, Part, Task
from raysel.training.image_batches import on_device, threads_ahead
from raysel.training.loop import FineTuning, TrialData
from raysel.training.nonfinite import Diverged

Weights = Mapping[str, "np.ndarray[Any, Any]"]
"""Tensors by name."""


@dataclass(frozen=True)
class SourceTraining:
    """How a source model is trained: everything that determines it but model and data.

    Attributes:
        seed: of the initial weights and the order of the data.
        threads: of torch; the result depends on it.
        spec: the `source` of the sweep file.
        partition: the layers that `source.strategy` works on; not needed by `full`.
        initial: the weights to begin with, where they are not drawn; without a classifier where
            none fits, which then is drawn.
    """

    seed: int
    threads: int
    spec: SourceSpec = field(default_factory=SourceSpec)
    partition: Partition | None = None
    initial: Weights | None = None

    def facts(self) -> dict[str, Any]:
        """What is not as it always was: nothing, for a file without `source`."""
        given: dict[str, Any] = {}
        if self.spec.parameters:
            given["parameters"] = self.spec.parameters
        if self.partition is not None:
            layers = [[layer.name, layer.parameters] for layer in self.partition.layers]
            given["strategy"] = [self.spec.strategy, layers]
        if self.initial is not None:
            given["initial"] = _digest({n: torch.tensor(a) for n, a in self.initial.items()})
        return given


@dataclass(frozen=True)
class SourceModel:
    """Weights of the source model and how well it does on its own validation part.

    Attributes:
        weights: every tensor of the state dict, on the CPU.
        accuracy: on source validation, 0..1.
        seconds: of its training; 0 if it was kept from before.
    """

    weights: dict[str, Tensor]
    accuracy: float
    seconds: float


StepProgress = Callable[[int, int], None]
"""Called with the number of optimizer steps done and the total."""

LINE_SECONDS = 20.0
"""Seconds between two progress lines without a terminal."""


class TrainingClock:
    """Progress and remaining time of a training in a line, at a limited rate.

    Args:
        every: seconds between two lines, at least; the first and the last come at once.
    """

    def __init__(self, every: float, now: Callable[[], float] = time.monotonic) -> None:
        self._every, self._now = every, now
        self._began: tuple[int, float] | None = None
        self._last = -math.inf

    def line(self, done: int, total: int) -> str | None:
        """The line to show; None if it is too early for another one."""
        now = self._now()
        if now - self._last < self._every and done < total:
            return None
        self._last = now
        if self._began is None or done < self._began[0]:
            self._began = done, now
        first, began = self._began
        message = f"training on the source part: step {done:,} of {total:,} ({done / total:.0%})"
        if done <= first or done >= total:
            return message
        left = (now - began) / (done - first) * (total - done)
        return f"{message}, about {int(left // 60)}:{int(left % 60):02d} left"


def cached_source_model(
    task: Task, model_config: ModelConfig, training: SourceTraining, cache: Path
) -> SourceModel | None:
    """The cached source model for these inputs; None if there is none, or it is damaged."""
    return read_source_model(source_file(task, model_config, training, cache))


def read_source_model(path: Path) -> SourceModel | None:
    """The source model of a file of the cache; None if there is none, or it is damaged."""
    try:
        weights = safetensors.torch.load_file(path)
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata()
        accuracy = float(metadata["accuracy"])
        if metadata.get("sha256", (digest := _digest(weights))) != digest:
            return None
    except Exception:  # whatever a damaged file makes its reader raise
        return None
    return SourceModel(weights, accuracy, 0.0)


def source_model(
    task: Task,
    model_config: ModelConfig,
    training: SourceTraining,
    cache: Path,
    progress: StepProgress | None = None,
) -> SourceModel:
    """Train the source model and cache it.

    Args:
        task: must have a source part.
        model_config: the model.
        training: how.
        cache: folder of kept models, one safetensors file each.
        progress: called after every step.
    """
    started = time.perf_counter()
    torch.set_num_threads(training.threads)
    weights, accuracy = _train(task, model_config, training, progress)
    model = SourceModel(weights, accuracy, time.perf_counter() - started)
    cache_source_model(model, task, model_config, training, cache)
    return model


def cache_source_model(
    model: SourceModel,
    task: Task,
    model_config: ModelConfig,
    training: SourceTraining,
    cache: Path,
) -> None:
    """Write a source model where `cached_source_model` of the same inputs finds it; see
    `write_source_model`."""
    write_source_model(model, source_file(task, model_config, training, cache))


def write_source_model(model: SourceModel, path: Path) -> None:
    """Write a source model as a file of the cache.

    A full disk, or a folder that this user may not write, keeps none: it is trained again the next
    time.
    """
    partial = path.with_suffix(".partial")
    metadata = {"accuracy": repr(model.accuracy), "sha256": _digest(model.weights)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # tied tensors are written twice, views whole: safetensors takes neither
        tensors = {name: weight.contiguous().clone() for name, weight in model.weights.items()}
        safetensors.torch.save_file(tensors, partial, metadata=metadata)
        partial.replace(path)
    except Exception as error:  # safetensors has an exception of its own
        if not isinstance(error, OSError) and "(os error " not in str(error):
            raise
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 of names and values: a flipped bit would become a weight."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _train(
    task: Task, model_config: ModelConfig, training: SourceTraining, progress: StepProgress | None
) -> tuple[dict[str, Tensor], float]:
    assert task.source_train is not None and task.source_validation is not None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = training.spec
    arrays = training.initial
    initial = None if arrays is None else {n: torch.tensor(a) for n, a in arrays.items()}
    model = build(model_config.plain, training.seed, weights=initial).to(device)
    train, validation = (
        on_device(part, task.mean, task.std, device, threads_ahead(training.threads, device))
        for part in (task.source_train, task.source_validation)
    )
    config = TrialConfig(
        strategy=spec.strategy,
        parameters=dict(spec.parameters),
        training=spec.settings,
        seed=training.seed,
    )
    partition = training.partition or whole(model)
    trial = FineTuning(
        config,
        model,
        partition,
        TrialData(train, validation),
        fresh_head=training.initial is None or not set(partition.head) <= set(training.initial),
    )
    if progress is not None:
        total = trial.steps_per_epoch * spec.epochs
        trial.after_step = lambda done: progress(done, total)
    try:
        with as_exceptions():
            result = [trial.run_epoch() for _ in range(spec.epochs)][-1]
    except Diverged as error:
        given = f"{spec.learning_rate:g}"
        message = f"{given} is too large: the training of the source model diverged ({error})"
        hint = ", or its weights are not finite" if training.initial is not None else ""
        raise user_error("source.learning_rate", message + hint) from None
    except Exception as error:
        raise user_code.mistake(error) or error from error.__cause__
    weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    return weights, 1.0 - result.metrics["val/error"]


def source_file(
    task: Task, model_config: ModelConfig, training: SourceTraining, cache: Path
) -> Path:
    """The file of a source model: named by a hash of everything that determines it."""
    digest = hashlib.sha256()
    facts = {
        "blueprint": _facts_of(model_config),
        "settings": training.spec.settings.model_dump(mode="json"),
        "normalisation": [task.mean, task.std],
        "seed": training.seed,
        "threads": training.threads,
        "versions": [raysel.__version__, torch.__version__, timm.__version__],
        "cuda": torch.cuda.is_available(),
        **training.facts(),
    }
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for part in (task.source_train, task.source_validation):
        digest.update(_bytes(part))
    return cache / f"{digest.hexdigest()[:24]}.safetensors"


def _facts_of(model_config: ModelConfig) -> dict[str, Any]:
    """Without adapters, which a source model has none of; as before there were any."""
    facts = asdict(model_config.plain)
    del facts["adapter"]
    return facts


def _bytes(part: Part | None) -> bytes:
    if part is None:
        return b""
    if not isinstance(part, Examples):
        kept = [part.sha256, repr(part.geometry), part.augmentation]
        arrays = (part.rows, part.indices, part.labels)
        return b"".join([*map(str.encode, kept), *(array.tobytes() for array in arrays)])
    images, labels = (np.ascontiguousarray(array).tobytes() for array in (part.images, part.labels))
    return hashlib.sha256(images).digest() + hashlib.sha256(labels).digest()
