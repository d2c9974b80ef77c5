"""Label smoothing, class weights, mixup and cutmix, against timm, torch and scikit-learn."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from every_strategy_kit import (
    CLASSES,
    Tiny,
    assert_same,
    data,
    images,
    seeded_model,
    tensors,
    trial,
)
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from raysel.models import timm
from raysel.spec.sweep import TrainingSettings
from raysel.training.batches import Batch
from raysel.training.recipe import Recipe, balanced_weights

EXAMPLES = data(8)
MIXED = {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1}


def recipe(model: torch.nn.Module | None = None, **settings: Any) -> Recipe:
    return trial("full", model or seeded_model(Tiny), EXAMPLES, **settings)._recipe


# --- against the libraries ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [{"mixup": 0.2}, {"cutmix": 1.0}, MIXED], ids=["mixup", "cutmix", "both, smoothed"]
)
def test_batches_are_mixed_as_timm_mixes_them(given):
    batch = images(6, 3, 8)
    timms = timm.data.Mixup(
        mixup_alpha=given.get("mixup", 0.0),
        cutmix_alpha=given.get("cutmix", 0.0),
        label_smoothing=given.get("label_smoothing", 0.0),
        num_classes=CLASSES,
    )
    mine = recipe(**given)
    with mine.random_numbers(5):
        found = [mine.mixed(batch) for _ in range(4)]
    np.random.seed(5)
    wanted = [timms(batch.images.clone(), batch.labels) for _ in range(4)]
    for (mixed, targets), (pictures, shares) in zip(found, wanted, strict=True):
        assert torch.equal(mixed.images, pictures) and torch.equal(targets, shares)
    assert torch.equal(batch.images, images(6, 3, 8).images)  # and the batch is as it was


def test_the_last_of_an_odd_batch_stays_as_it_is():
    batch, mine = images(5, 3, 8), recipe(**MIXED)
    with mine.random_numbers(1):
        mixed, targets = mine.mixed(batch)
    assert torch.equal(mixed.images[-1], batch.images[-1])
    assert targets.shape == (5, CLASSES)
    smoothed = torch.full((CLASSES,), 0.1 / CLASSES)
    smoothed[batch.labels[-1]] += 0.9
    assert torch.allclose(targets[-1], smoothed)
    assert torch.allclose(targets.sum(dim=1), torch.ones(5))
    alone, (share,) = mine.mixed(images(1, 3, 8))
    assert torch.equal(alone.images, images(1, 3, 8).images) and float(
        share.sum()
    ) == pytest.approx(1)


def test_the_loss_is_torchs_with_smoothing_and_by_hand_with_shares():
    generator = torch.Generator().manual_seed(2)
    logits, labels = torch.randn(7, CLASSES, generator=generator), torch.arange(7) % CLASSES
    found = recipe(label_smoothing=0.1).loss(logits, labels)
    assert torch.equal(found, functional.cross_entropy(logits, labels, label_smoothing=0.1))
    shares = torch.softmax(torch.randn(7, CLASSES, generator=generator), dim=1)
    wanted = -(shares * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert torch.allclose(recipe(**MIXED).loss(logits, shares), wanted, rtol=1e-6)


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.array([0] * 7 + [1] * 2 + [2] * 1)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    found = balanced_weights(torch.tensor(labels), 4)
    assert found[:3].tolist() == pytest.approx([w * 3 / 4 for w in wanted])  # of four classes
    assert found[3] == 0


def test_a_rare_class_weighs_more_in_the_loss():
    uneven = Batch(EXAMPLES.train.images, torch.tensor([0] * 9 + [1, 2, 3]))
    mine = Recipe(
        trial("full", seeded_model(Tiny), EXAMPLES, class_weights="balanced").settings,
        uneven,
        trial("full", seeded_model(Tiny), EXAMPLES).probe.model,
    )
    logits = torch.zeros(2, CLASSES)
    logits[0, 0] = logits[1, 1] = -1.0
    both = mine.loss(logits, torch.tensor([0, 1]))
    weights = torch.tensor([12 / (4 * 9), 12 / 4])
    each = functional.cross_entropy(logits, torch.tensor([0, 1]), reduction="none")
    assert float(both) == pytest.approx(float((weights * each).sum() / weights.sum()))


# --- in a trial ----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [MIXED, {"class_weights": "balanced"}], ids=["mixed", "weighted"])
def test_a_trial_resumed_with_it_ends_bit_identical(given):
    whole = trial("full", seeded_model(Tiny), EXAMPLES, **given)
    whole.run_epoch()
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    second = trial("full", seeded_model(Tiny), EXAMPLES, **given)
    second.load_state_dict(torch.load(file, weights_only=True))
    state = np.random.get_state()[1].copy()
    for run in (whole, second):
        run.run_epoch()
    assert_same(tensors(second.model), tensors(whole.model), "model")
    assert np.array_equal(np.random.get_state()[1], state)  # the process's numbers are as before


def test_a_trial_with_mixed_batches_is_another():
    mixed, plain = (trial("full", seeded_model(Tiny), EXAMPLES, **given) for given in (MIXED, {}))
    first, second = (run.run_epoch().metrics["train/loss"] for run in (mixed, plain))
    assert first != second


def test_settings_that_are_off_are_written_as_before_there_were_any():
    settings = trial("full", seeded_model(Tiny), EXAMPLES).settings
    for written in (settings.model_dump(), settings.model_dump(mode="json")):
        assert written.keys() == {
            *("epochs", "batch_size", "optimizer", "learning_rate", "momentum", "weight_decay"),
            *("schedule", "warmup_epochs", "batch_norm", "precision", "clip_norm", "shots"),
            *("gradient_accumulation_steps", "deterministic"),
        }
    mixed = settings.model_copy(update={"mixup": 0.2})
    assert mixed.model_dump()["mixup"] == 0.2
    assert TrainingSettings.model_validate(mixed.model_dump()) == mixed
