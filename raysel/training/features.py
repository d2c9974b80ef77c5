"""What the frozen lowest layers give for each example: computed once a node, read by every epoch of
every trial that has those layers (`training.cache_features`, docs/algorithms.md, D43).

That is possible where these layers do in training what they do in evaluation (no batch statistics,
no dropout), and where their pictures come back: as they are, or mirrored, which are two views of
each. Logits from stored features are compared bit for bit with those of the whole model before a
trial uses them. Between two runs with stored features a trial's numbers are equal bit for bit;
between one with and one without they differ by no more than a convolution's or a matrix
product's sums owe to the number of examples that are computed together.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import raysel
from raysel.models import timm
from raysel.models.find_prefix import PROBED, checked_prefix
from raysel.models.frozen_prefix import CutModel, FrozenPrefix, NoPrefix
from raysel.spec.training import TrainingSettings
from raysel.training.batches import Batch, Data, LazyBatches, in_order, on_one_device
from raysel.training.feature_files import (
    VERSION,
    FeatureFile,
    FeatureSpec,
    NotStored,
    open_features,
)

READ = "cost/features_read"
"""Examples of an epoch whose frozen layers were read instead of computed."""

SECONDS = "cost/features_seconds"
"""Seconds of an epoch in which features were computed, waited for or checked."""

ROW_SHARE = {"cpu": 2.0, "cuda": 1.0}
"""The most bytes of an example's features, relative to its picture in float32: what the first few
modules give is large and soon computed, and a GPU has it brought over."""

_CHUNK = 64  # examples that are computed together: the same in every trial, so that bits are too


@dataclass(frozen=True)
class FeatureBatch(Batch):
    """A batch whose pictures were not read: it has no images.

    Attributes:
        features: what the frozen layers give for them, on the labels' device.
    """

    features: Tensor


@dataclass(frozen=True)
class FeatureData:
    """The examples of a part with their stored features.

    Attributes:
        data: the part itself.
        file: a row for each example and view, the views of an example side by side.
        views: 2 where pictures may be mirrored.
        read: called with the number of rows that were read.
        epoch: (a trial's seed, its epoch) where the part is augmented.
    """

    data: Data
    file: FeatureFile
    views: int
    read: Callable[[int], None]
    epoch: tuple[int, int] | None = None

    @property
    def labels(self) -> Tensor:
        """[n] on the device."""
        return self.data.labels

    def __len__(self) -> int:
        return len(self.data)

    def augmented(self, seed: int, epoch: int) -> FeatureData:
        """The examples as this epoch of a trial sees them."""
        return replace(self, epoch=(seed, epoch))

    def part(self, index: Tensor | slice) -> FeatureBatch:
        """Some of the examples."""
        if isinstance(index, slice):
            index = torch.arange(len(self))[index]
        return self._batch(self._rows(index), index)

    def batches(
        self, places: Sequence[Tensor], copies: Sequence[Tensor] | None = None
    ) -> Iterator[FeatureBatch]:
        """The examples at each of these places."""
        rows = map(self._rows, copies or places)
        return map(self._batch, rows, on_one_device(places, self.labels.device))

    def _rows(self, index: Tensor) -> Tensor:
        which = index.cpu().numpy()
        rows = which % len(self) * self.views
        if self.epoch is not None and self.views > 1:
            rows = rows + self.data.mirrored(which, *self.epoch)
        self.read(len(rows))
        features = self.file.read(rows)
        return features.pin_memory() if self.labels.is_cuda else features

    def _batch(self, features: Tensor, index: Tensor) -> FeatureBatch:
        device = self.labels.device
        labels = self.labels[index.to(device)]
        images = torch.empty(0, device=device)
        return FeatureBatch(images, labels, features.to(device, non_blocking=True))

    def only(self, index: Tensor) -> Data:
        """A subset, without features."""
        return self.data.only(index)

    def split(self, size: int) -> LazyBatches:
        """The examples in order and as they are, `size` at a time."""
        return in_order(self, torch.arange(len(self)), size)

    def view(self, index: Tensor, mirrored: bool) -> Batch:
        """Some of the pictures themselves."""
        return self.data.view(index, mirrored)

    def mirrored(self, which: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Which of the examples this epoch mirrors."""
        return self.data.mirrored(which, seed, epoch)

    def fingerprint(self) -> bytes:
        """Of the pictures."""
        return self.data.fingerprint()


class FeatureCache:
    """The stored features that a worker's trials use.

    Args:
        folder: of the files, on each node.
        threads: of torch, on which the last bits depend.

    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self.threads = folder, threads
        self._opened: dict[str, FeatureFile] = {}
        self._checked: dict[tuple[object, ...], FrozenPrefix | None] = {}
        self._model: nn.Module | None = None  # of what is checked
        self._notes: list[str] = []
        self._noted: set[str] = set()

    def open(
        self, spec: FeatureSpec, compute: Callable[[], Iterator[Tensor]]
    ) -> FeatureFile | None:
        """The features, made if they are not there; None where they cannot be kept."""
        opened = self._opened.get(spec.key)
        if opened is not None:
            opened.touch()
            return opened
        try:
            opened = open_features(self.folder, spec, compute)
        except NotStored as error:
            self.note(str(error))
            return None
        self._opened[spec.key] = opened
        return opened

    def prefix(
        self, model: nn.Module, precision: str, check: Callable[[], FrozenPrefix | None]
    ) -> FrozenPrefix | None:
        """Where a model is cut; checked once for the parameters that move and the modes of its
        modules, unless a part of the cut depends on the weights.

        Raises:
            NoPrefix: as `check` does.
        """
        moving = frozenset(n for n, p in model.named_parameters() if p.requires_grad)
        modes = tuple(module.training for module in model.modules())
        if model is not self._model:
            self._model, self._checked = model, {}
        key = (moving, modes, precision)
        if key in self._checked:
            return self._checked[key]
        found = check()
        if found is None or not found.has_values:
            self._checked[key] = found
        return found

    def note(self, why: str) -> None:
        """Remember why features are not used where they could be; each reason once a process."""
        if why not in self._noted:
            self._noted.add(why)
            self._notes.append(f"frozen layers are computed in every epoch: {why}")

    def take_notes(self) -> list[str]:
        """What was noted since the last call."""
        notes, self._notes = self._notes, []
        return notes


class TrialFeatures:
    """The stored features of one trial.

    Args:
        cache: of the worker.
        model: with the trial's weights, its modules in the modes that they train in; what never
            moves requires no gradient.
        settings: how the trial trains.
        computing: the context in which it computes (autocast).
        image: channels, height and width.
        layout: makes of images what the model takes.
    """

    def __init__(
        self,
        cache: FeatureCache,
        model: nn.Module,
        settings: TrainingSettings,
        computing: Callable[[], AbstractContextManager[object]],
        image: tuple[int, ...],
        layout: Callable[[Tensor], Tensor],
    ) -> None:
        self._cache, self._model, self._settings = cache, model, settings
        self._computing, self._image, self._layout = computing, image, layout
        self._device = next(model.parameters()).device
        self._served: dict[int, tuple[Data, Data]] = {}
        self._cut: CutModel | None = None
        self._key = b""
        self._read, self._seconds = 0, 0.0
        started = time.perf_counter()
        try:
            self._find_cut()
        except NoPrefix as error:
            cache.note(str(error))
        self._seconds += time.perf_counter() - started

    @property
    def in_use(self) -> bool:
        """Whether any of the trial's examples have stored features."""
        return any(data is not served for data, served in self._served.values())

    def of(self, data: Data) -> Data:
        """The examples with their features, or as they are where there are none."""
        known = self._served.get(id(data))
        if known is None:
            started = time.perf_counter()
            known = data, self._with_features(data)
            self._served[id(data)] = known
            self._seconds += time.perf_counter() - started
        elif isinstance(known[1], FeatureData):
            known[1].file.touch()
        return known[1]

    def logits(self, batch: FeatureBatch) -> Tensor:
        """The forward pass from the features on."""
        assert self._cut is not None
        logits: Tensor = self._cut.logits(self._model, batch.features)
        return logits

    def metrics(self) -> dict[str, float]:
        """`READ` and `SECONDS` since the last call; empty where no features are used."""
        if not self.in_use:
            return {}
        found = {READ: float(self._read), SECONDS: self._seconds}
        self._read, self._seconds = 0, 0.0
        return found

    def _find_cut(self) -> None:
        images = torch.randn((PROBED, *self._image), generator=torch.Generator().manual_seed(0))
        images = images.to(self._device)
        most_bytes = ROW_SHARE[self._device.type] * images[0].nbytes
        prefix = self._cache.prefix(
            self._model,
            self._settings.precision,
            lambda: checked_prefix(self._model, self._forward, images, most_bytes),
        )
        if prefix is None:
            return
        self._cut = CutModel(self._model, prefix, self._image)
        digest = hashlib.sha256(json.dumps(self._facts(prefix), sort_keys=True).encode())
        for name, tensor in _tensors_below(self._model, prefix):
            digest.update(name.encode())
            digest.update(_bytes(tensor))
        digest.update(_bytes(self._frozen_output(images)))  # whatever else determines them
        self._key = digest.digest()

    def _facts(self, prefix: FrozenPrefix) -> dict[str, object]:
        cuda = self._device.type == "cuda"
        where = torch.cuda.get_device_name(self._device) if cuda else "cpu"
        return {
            "version": VERSION,
            "versions": [raysel.__version__, torch.__version__, timm.__version__],
            "modules": [path for path, _ in prefix.calls],
            "output": [prefix.shape, prefix.order, str(prefix.dtype)],
            "settings": [self._settings.precision, self._settings.deterministic],
            "threads": self._cache.threads,
            "device": [where, torch.backends.cpu.get_cpu_capability()],
            "chunk": _CHUNK,
        }

    def _with_features(self, data: Data) -> Data:
        cut, views = self._cut, data.views
        if cut is None or views is None or not len(data):
            return data
        digest = hashlib.sha256(self._key + views.to_bytes(1, "little"))
        digest.update(data.fingerprint())
        prefix = cut.prefix
        shape, count = prefix.stored_shape, len(data) * views
        spec = FeatureSpec(digest.hexdigest()[:32], count, shape, prefix.dtype)
        file = self._cache.open(spec, lambda: self._rows(data, views))
        if file is None:
            return data
        return FeatureData(data, file, views, self._count)

    def _count(self, rows: int) -> None:
        self._read += rows

    def _rows(self, data: Data, views: int) -> Iterator[Tensor]:
        """The frozen layers' output of every example and view, a chunk at a time."""
        modes = {module: module.training for module in self._model.modules()}
        self._model.eval()
        try:
            for index in torch.arange(len(data)).split(_CHUNK):
                each = [
                    self._frozen_output(data.view(index, bool(view)).images)
                    for view in range(views)
                ]
                yield torch.stack(each, dim=1).flatten(0, 1)
        finally:
            for module, training in modes.items():
                module.training = training

    @torch.no_grad()
    def _frozen_output(self, images: Tensor) -> Tensor:
        assert self._cut is not None
        return self._cut.frozen_output(self._forward, images)

    def _forward(self, images: Tensor) -> Tensor:
        with self._computing():
            logits: Tensor = self._model(self._layout(images))
        return logits


def _tensors_below(model: nn.Module, prefix: FrozenPrefix) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the modules that are replaced, and those beside them that never move."""
    replaced = tuple(f"{path}." for path, _ in prefix.calls)
    moving = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, tensor in model.state_dict().items():
        owner = name.rpartition(".")[0]
        above = not owner or any(path.startswith(f"{owner}.") for path in replaced)
        if name.startswith(replaced) or (above and name not in moving):
            yield name, tensor


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
