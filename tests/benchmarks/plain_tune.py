"""The same search as a competent user writes it by hand from the documentation of Ray Tune:
a function trainable, OptunaSearch, ASHA, a checkpoint an epoch, MLflowLoggerCallback.

The model, the layer-selection strategies and the epoch itself are raysel's own code, so that
the two sides differ in nothing but who runs the trials.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from optuna.trial import Trial
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune import Checkpoint, ResultGrid
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search.optuna import OptunaSearch
from torch import Tensor

from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition
from raysel.spec.sweep import TrainingSettings
from raysel.spec.trial_config import TrialConfig
from raysel.training.loop import FineTuning, TrialData

EPOCHS = 15
LAYERS = ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
STRATEGIES = ["full", "linear_probe", "surgical", "bvg_ls", "bvg_ls_threshold"]


def search_space(trial: Trial) -> None:
    """Define by run: the strategy first, then its own values."""
    strategy = trial.suggest_categorical("strategy", STRATEGIES)
    trial.suggest_float(f"{strategy}.learning_rate", 1e-4, 1e-1, log=True)
    if strategy == "surgical":
        trial.suggest_categorical("surgical.block", LAYERS)
    if strategy == "bvg_ls":
        trial.suggest_float("bvg_ls.ema_decay", 0.5, 0.99)
    if strategy == "bvg_ls_threshold":
        trial.suggest_float("bvg_ls_threshold.threshold", 0.028, 0.224, log=True)


def trial_config(config: dict[str, Any]) -> TrialConfig:
    """What the training code wants to know."""
    strategy = config["strategy"]
    parameters = {
        "full": {},
        "linear_probe": {},
        "surgical": {"block": config.get("surgical.block")},
        "bvg_ls": {
            "ema_decay": config.get("bvg_ls.ema_decay"),
            "ema_init": "debiased",
            "update_layers": 1,
        },
        "bvg_ls_threshold": {
            "ema_decay": 0.9,
            "ema_init": "debiased",
            "threshold": config.get("bvg_ls_threshold.threshold"),
        },
    }
    settings = TrainingSettings(
        epochs=EPOCHS,
        batch_size=32,
        optimizer="sgd",
        learning_rate=config[f"{strategy}.learning_rate"],
        momentum=0.9,
        weight_decay=0.0,
        schedule="constant",
        warmup_epochs=0.0,
        batch_norm="train",
        precision="float32",
        clip_norm=None,
        gradient_accumulation_steps=1,
        deterministic=False,
    )
    return TrialConfig(
        strategy=strategy, parameters=parameters[strategy], training=settings, seed=0
    )


def train(
    config: dict[str, Any], model_config: ModelConfig, weights: dict[str, Tensor], data: TrialData
) -> None:
    """One trial."""
    torch.set_num_threads(1)
    model = build(model_config, seed=0)
    model.load_state_dict(weights)
    tuning = FineTuning(trial_config(config), model, partition(model), data)
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            tuning.load_state_dict(torch.load(Path(folder) / "checkpoint.pt", weights_only=True))
    while tuning.epoch < EPOCHS:
        result = tuning.run_epoch()
        with tempfile.TemporaryDirectory() as folder:
            torch.save(tuning.state_dict(), Path(folder) / "checkpoint.pt")
            tune.report(result.metrics, checkpoint=Checkpoint.from_directory(folder))


def search(
    model_config: ModelConfig,
    weights: dict[str, Tensor],
    data: TrialData,
    points: list[dict[str, Any]],
    concurrent: int,
    pruning: bool,
    storage: Path,
    tracking_uri: str,
) -> ResultGrid:
    """Run all points as trials on the connected Ray."""
    trainable = tune.with_parameters(train, model_config=model_config, weights=weights, data=data)
    asha = ASHAScheduler(max_t=EPOCHS, grace_period=3, reduction_factor=2)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            metric="val/error",
            mode="min",
            search_alg=OptunaSearch(
                search_space, metric="val/error", mode="min", points_to_evaluate=points
            ),
            scheduler=asha if pruning else FIFOScheduler(),
            num_samples=len(points),
            max_concurrent_trials=concurrent,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(storage),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            callbacks=[MLflowLoggerCallback(tracking_uri=tracking_uri, experiment_name="plain")],
        ),
    )
    return tuner.fit()
