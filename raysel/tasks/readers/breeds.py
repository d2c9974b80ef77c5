"""Living-17 and Entity-30: the target's pictures are of other kinds than the source's.

BREEDS (Santurkar, Tsipras and Madry 2021) groups ImageNet's classes into superclasses, which
are the classes; the source shows some kinds of each (newts and axolotls of the
salamanders), the target others. The automatic paper tunes on both, with the division `rand`
(docs/algorithms.md, BREEDS).

The pictures are ImageNet's own, in the root's folder `imagenet`: `train/<wnid>/*.JPEG` and
`val/<wnid>/*.JPEG`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml

from raysel.common.errors import user_error
from raysel.common.text import and_more
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_files import LeftOutFiles, images_in
from raysel.tasks.splits import Pool

SUBPOPULATIONS = ("living17", "entity30")
"""The names in a sweep file."""

_SEED = 2
_SHOWN = 5

FOLDER = "imagenet"


@dataclass(frozen=True)
class Superclass:
    """One class of the task: its ImageNet classes in the source and in the target, by wnid."""

    name: str
    source: tuple[str, ...]
    target: tuple[str, ...]


@cache
def superclasses(name: str) -> tuple[Superclass, ...]:
    """Which kinds the source and the target see of each superclass.

    One generator, seeded once, draws for the superclasses in their order: of each 2k classes,
    the first k for the source and the others for the target. That is the division `rand` of
    the release of BREEDS, whose kinds these are.

    Args:
        name: one of `SUBPOPULATIONS`.
    """
    text = files("raysel.tasks.readers").joinpath("breeds.yaml").read_text("utf-8")
    table = yaml.safe_load(text)[name]
    count, rng = int(table["subclasses"]), np.random.RandomState(_SEED)
    found = []
    for superclass, members in table["superclasses"].items():
        chosen = rng.choice(members, 2 * count, replace=False).tolist()
        found.append(Superclass(superclass, tuple(chosen[:count]), tuple(chosen[count:])))
    return tuple(found)


def missing(name: str, root: Path) -> str | None:
    """Which of ImageNet's folders are not there, and how to get them; None if all are.

    Args:
        name: one of `SUBPOPULATIONS`.
        root: the folder of the published data sets.
    """
    wanted = [folder for kind in superclasses(name) for folder, _ in _folders(root / FOLDER, kind)]
    absent = [folder for folder in wanted if not folder.is_dir()]
    if not absent:
        return None
    return (
        f"{name} is made of ImageNet's folders; of {len(wanted)} that it needs {len(absent)}"
        f" are missing: {and_more(absent, _SHOWN)}. Get ImageNet (ILSVRC2012) from image-net.org"
        f" and unpack it as {root / FOLDER}/train/<wnid> and {root / FOLDER}/val/<wnid>"
    )


def pictures(name: str, root: Path) -> ImageDataset:
    """The pictures of Living-17 or Entity-30; none is decoded.

    Its parts: `source` (training pictures of the source's kinds), `train` and `test` (training
    and validation pictures of the target's kinds).

    Args:
        name: one of `SUBPOPULATIONS`.
        root: the folder of the published data sets.

    Raises:
        UserError: folders are missing or empty (path `task.data`).
    """
    if problem := missing(name, root):
        raise user_error("task.data", problem)
    kinds = superclasses(name)
    found: list[tuple[Path, int, Pool]] = []
    empty: list[Path] = []
    left_out = LeftOutFiles(root / FOLDER)
    for label, kind in enumerate(kinds):
        for folder, pool in _folders(root / FOLDER, kind):
            there = images_in([folder], left_out)
            found += [(file, label, pool) for file in there]
            empty += [] if there else [folder]
    if empty:
        raise user_error("task.data", f"{and_more(empty, _SHOWN)} of {name} holds no picture")
    return ImageDataset(
        name=name,
        classes=tuple(kind.name for kind in kinds),
        labels=np.array([label for _, label, _ in found], np.int64),
        sources=[file for file, _, _ in found],
        official_splits=np.array([pool for _, _, pool in found]),
        left_out=left_out.by_reason(),
    )


def _folders(root: Path, kind: Superclass) -> list[tuple[Path, Pool]]:
    return [
        *((root / "train" / wnid, "source") for wnid in kind.source),
        *((root / "train" / wnid, "train") for wnid in kind.target),
        *((root / "val" / wnid, "test") for wnid in kind.target),
    ]
