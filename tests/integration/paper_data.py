"""What the papers' files name, data sets and weights, small, in their real formats and layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pictures_kit as kit
import pytest
import safetensors.torch
import torch
from files_kit import write_scenes
from PIL import Image

from raysel.models.build import ModelConfig, build
from raysel.tasks.readers.breeds import superclasses

SIZE = 32
"""Pixels a side of the models' input."""

CORRUPTIONS = (
    *("frost", "gaussian_blur", "gaussian_noise", "glass_blur", "impulse_noise"),
    *("jpeg_compression", "motion_blur", "pixelate", "saturate", "shot_noise", "snow"),
    *("spatter", "speckle_noise", "zoom_blur"),
)
"""The fourteen of CIFAR-10-C that the papers use."""

MODELS = {"resnet10t": (3,), "test_vit": (3,), "test_resnet": (3, 102), "test_convnext": (3,)}
"""Small models in the papers' place -> numbers of classes, of each a file of weights."""


def write_place(place: Path, patch: pytest.MonkeyPatch) -> None:
    """`data` as the files expect them, `weights`, and `photographs` of three classes."""
    kit.without_checksums(patch)
    write_data(place / "data", patch)
    write_weights(place)
    names = (f"species-{number % 3}/{number:02}.jpg" for number in range(36))
    write_scenes(place / "photographs", names, 40, 36)


def write_data(data: Path, patch: pytest.MonkeyPatch) -> None:
    """Every data set, with the counts that its reader then expects."""
    kit.counted(patch, "pets", 3, 36, 36)
    kit.pets(data, ("Abyssinian", "Bengal", "Birman"), each=12)
    kit.counted(patch, "cifar10", 10, 300, 60)
    kit.cifar10(data, each_batch=60)
    kit.cifar10c(data, CORRUPTIONS, each=80)
    for corruption in CORRUPTIONS:
        darken(data / "CIFAR-10-C" / f"{corruption}.npy")
    kit.counted(patch, "cifar100", 100, 300, 100)
    kit.cifar100(data, train=300, test=100)
    kit.counted(patch, "dtd", 3, 36, 36)
    kit.dtd(data, ("banded", "dotted", "woven"), each=12)
    kit.counted(patch, "aircraft", 3, 36, 36)
    kit.aircraft(data, ("Airbus", "Boeing", "McDonnell Douglas"), each=12)
    kit.counted(patch, "food101", 3, 36, 36)
    kit.food(data, ("apple_pie", "sushi", "waffles"), each=12)
    kit.counted(patch, "sun397", 3, 36, 36)
    kit.sun(data, ("abbey", "kitchen", "zoo"), each=24)
    kit.counted(patch, "caltech101", 3, 60, 0)
    kit.caltech(data, ("accordion", "airplanes", "anchor"), each=20)
    kit.counted(patch, "flowers102_all", 102, 510, 0)
    kit.counted(patch, "flowers102", 102, 204, 204)
    numbers = list(range(1, 511))
    kit.flowers(data, numbers[:204], numbers[204:408], numbers[408:], classes=102)
    for name, each in (("living17", 3), ("entity30", 2)):
        for kind in superclasses(name):
            for wnid in (*kind.source, *kind.target):
                light = 4 if wnid in kind.target else 1  # where nothing shifts surprise refuses
                for part in ("train", "val"):
                    folder = data / "imagenet" / part / wnid
                    folder.mkdir(parents=True, exist_ok=True)
                    for number in range(each):
                        image = Image.fromarray(kit.pixels(number, 40, 36) // light)
                        image.save(folder / f"{wnid}_{number}.JPEG")


def darken(images: Path) -> None:
    """Another distribution than the source's, without which surprise refuses to weigh."""
    np.save(images, np.load(images) // 4)


def write_weights(place: Path) -> None:
    """Random weights under the files' own names, and those of `MODELS`."""
    (place / "weights").mkdir()
    (place / "data" / "robustbench").mkdir()
    for name, counts in MODELS.items():
        for classes in counts:
            save(name, classes, place / "weights" / f"{name}-{classes}.safetensors")
    moco = build(ModelConfig("resnet10t", 128, 3, (SIZE, SIZE)), seed=0).state_dict()
    named = {f"module.encoder_q.{key}": tensor for key, tensor in moco.items()}
    queue = {"module.queue": torch.zeros(128, 16)}
    torch.save({"state_dict": named | queue}, place / "data" / "moco_v2_800ep_pretrain.pth.tar")
    wide = build(ModelConfig("cifar_wrn_16_2", 10, 3, (32, 32)), seed=0)
    torch.save({"state_dict": wide.state_dict()}, place / "data" / "robustbench" / "Standard.pt")


def save(name: str, classes: int, path: Path) -> None:
    """Write a model's random weights."""
    made = build(ModelConfig(name, classes, 3, (SIZE, SIZE)), seed=0)
    safetensors.torch.save_file(made.state_dict(), path)
