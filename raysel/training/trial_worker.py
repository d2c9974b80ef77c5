"""What a process keeps from trial to trial: inputs of the phase, the model, data on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raysel.common.object_store import Bucket
from raysel.models.build import ModelConfig, build
from raysel.models.layers import Partition
from raysel.spec import user_code
from raysel.spec.objective import SOURCE_ERROR, ObjectiveSpec
from raysel.spec.sweep import Diagnostic
from raysel.spec.trial_config import TrialConfig
from raysel.tasks.data import DrawnSplit, Part
from raysel.tasks.shots import first_shots
from raysel.training.batches import Data
from raysel.training.device_images import trial_data
from raysel.training.features import FeatureCache
from raysel.training.loop import TrialData
from raysel.training.trial_files import TrialFiles, sees


@dataclass(frozen=True)
class PhaseContext:
    """Inputs that all trials of a phase share; sent to a node once, through the object store.

    Attributes:
        weights: the initial weights; without the classifier where each trial draws its own.
        test: the test examples, in the confirm phase only.
        source_validation: validation examples of the source whose model, head included, the
            runs begin with; in the confirm phase, and where their error is an objective.
        keep_best: test the best epoch by validation instead of the last.
        test_every_epoch: measure the test examples after every epoch too.
        threads: of torch; a trial's result depends on it.
        gpus: what a trial has of them: 0, 1, or a share of one.
        folder: the sweep's; a trial's own files lie in `trials/<id>` below it.
        bucket: the sweep's, which has the checkpoints then, in `trials/<id>` as well.
        token: what lies in the driver's folder (see `trial_files`); None where no other node
            runs trials.
        classes: their names, for the confusion matrix.
        code: the user's own files; their strategies are made known before a trial begins.
        draws: training and validation part of each split of the confirm phase; empty where it
            takes the search's own.
        more_weights: initial weights of the second source model, the third and so on.
        features: folder of the frozen layers' stored output on each node; None keeps none.
        by_model: of a sweep of several models the context of each, whose trials name theirs; the
            phase's own then is that of the first.
    """

    model_config: ModelConfig
    partition: Partition
    weights: dict[str, np.ndarray]
    train: Part
    validation: Part
    source: Part | None
    test: Part | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    objective: ObjectiveSpec
    keep_best: bool
    trace_every: int
    threads: int
    folder: Path
    gpus: float = 0
    classes: tuple[str, ...] = ()
    code: tuple[user_code.Source, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    bucket: Bucket | None = None
    token: str | None = None
    test_every_epoch: bool = False
    draws: tuple[DrawnSplit, ...] = ()
    source_validation: Part | None = None
    more_weights: tuple[dict[str, np.ndarray], ...] = ()
    features: Path | None = None
    by_model: Mapping[str, PhaseContext] = field(default_factory=dict)

    def of_model(self, model: str) -> PhaseContext:
        """That of a trial's model, by its name; of a sweep of one model, the phase's."""
        return self.by_model[model] if self.by_model else self

    def located(self, bucket: Bucket | None, token: str | None) -> PhaseContext:
        """The same with the place of the sweep's files, for each model."""
        every = {model: own.located(bucket, token) for model, own in self.by_model.items()}
        return replace(self, bucket=bucket, token=token, by_model=every)

    def initial_weights(self, config: TrialConfig) -> dict[str, np.ndarray]:
        """Those that a trial begins with."""
        return (self.weights, *self.more_weights)[config.source_seed]


class TrialWorker:
    """Runs one trial after another (`raysel.training.trial`).

    The model is built and the data are put on the device before the first epoch of the first
    trial, where a failure is that trial's own.

    Args:
        step_limit: end each trial after so many optimizer steps, for a quick look; None: at its
            last epoch.

    Attributes:
        shared: inputs of the last trial's model.
        away: the driver does not see the sweep's folder from here.
        features: the frozen layers' stored output; None where none is kept.
    """

    def __init__(self, shared: PhaseContext, step_limit: int | None = None) -> None:
        self._phase, self.shared, self.step_limit = shared, shared, step_limit
        self.away = not sees(shared.folder, shared.token)
        self._last: TrialFiles | None = None
        self._data: tuple[int, TrialData] | None = None  # of the split of the last trial
        self._model: tuple[float, nn.Module] | None = None  # with its rate of drop path
        self.features: FeatureCache | None = None
        if shared.features is not None and step_limit is None:
            self.features = FeatureCache(shared.features, shared.threads)
        torch.set_num_threads(shared.threads)
        user_code.load(shared.code)

    def take(self, config: TrialConfig) -> None:
        """Turn to a trial's model: what is kept of another one is given up, so that there are not
        two of them at a time."""
        shared = self._phase.of_model(config.model)
        if shared is self.shared:
            return
        self.shared, self._model, self._data = shared, None, None
        for kept in ("test", "source_validation", "_source"):
            self.__dict__.pop(kept, None)

    def files_of(self, trial: str) -> TrialFiles:
        """The files of the next trial; those of the last one are left behind."""
        if self._last is not None and self.shared.test is None:
            self._last.leave()  # of confirm runs one makes the best model
        bucket = self.shared.bucket and self.shared.bucket.below(f"trials/{trial}")
        self._last = TrialFiles(self.shared.folder / "trials" / trial, bucket, self.away)
        return self._last

    @property
    def lost_sight(self) -> bool:
        """Whether the driver's folder was visible here, and no longer is."""
        return not self.away and not sees(self.shared.folder, self.shared.token)

    @property
    def has_fresh_head(self) -> bool:
        """Whether each trial draws its own head."""
        return not set(self.shared.partition.head) <= set(self.shared.weights)

    def model(self, config: TrialConfig) -> nn.Module:
        """The worker's model with a trial's initial weights; a head that they lack and adapters are
        drawn from the trial's seed."""
        shared, weights = self.shared, self.shared.initial_weights(config)
        state = {name: torch.tensor(array) for name, array in weights.items()}
        if self.has_fresh_head or shared.model_config.adapter is not None:
            state = build(shared.model_config, config.seed, weights=state).state_dict()
        model = self._built(config.training.drop_path)
        model.load_state_dict(state)
        return model

    def data(self, config: TrialConfig) -> TrialData:
        """A trial's data: of the training part no more than its shots."""
        if self._data is None or self._data[0] != config.split:
            self._data = config.split, self._of_split(config.split)
        data, shots = self._data[1], config.training.shots
        if shots is None:
            return data
        chosen = first_shots(data.train.labels.cpu().numpy(), shots)
        return replace(data, train=data.train.only(torch.from_numpy(chosen)))

    @cached_property
    def test(self) -> Data | None:
        """The test examples, where this phase may read them."""
        return None if self.shared.test is None else self._on_device(self.shared.test)

    @cached_property
    def source_validation(self) -> Data | None:
        """The source's validation examples, where what is forgotten is measured."""
        part = self.shared.source_validation
        return None if part is None else self._on_device(part)

    def _built(self, drop_path: float) -> nn.Module:
        """The model with weights that are to be replaced; built anew where its rate changes."""
        if self._model is None or self._model[0] != drop_path:
            self._model = None  # not two of them at a time
            model = build(self.shared.model_config, 0, drop_path=drop_path)
            self._model = drop_path, model.to(self._device)
        return self._model[1]

    @cached_property
    def _source(self) -> Data | None:
        return None if self.shared.source is None else self._on_device(self.shared.source)

    def _of_split(self, split: int) -> TrialData:
        """The data of a split: a number from 1, or 0 for the search's own."""
        parts = self.shared.draws[split - 1] if split else self.shared
        train, validation = self._on_device(parts.train), self._on_device(parts.validation)
        forgotten = SOURCE_ERROR in self.shared.objective.metrics
        kept = self.source_validation if forgotten else None
        return TrialData(train, validation, self._source, parts.validation.groups, kept)

    @property
    def _device(self) -> torch.device:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def _on_device(self, part: Part) -> Data:
        shared = self.shared
        return trial_data(part, shared.mean, shared.std, self._device, shared.threads)
