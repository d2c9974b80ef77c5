"""Living-17 and Entity-30: the target's pictures are of other kinds than the source's.

BREEDS (Santurkar, Tsipras and Madry 2021) groups ImageNet's classes into superclasses, which
are what is to be told apart; the source shows some kinds of each (newts and axolotls of the
salamanders), the target others. The automatic paper tunes on both, with the division `rand`
(algorithm notes 5.4).

The pictures are ImageNet's own: `root/train/<wnid>/*.JPEG` and `root/val/<wnid>/*.JPEG`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from raysel.errors import user_error
from raysel.tasks.data import Labels

SUBPOPULATIONS = ("living17", "entity30")
"""The names in a sweep file."""

_SEED = 2
_SHOWN = 5

Finder = Callable[[Path], Sequence[Path]]
"""From a class's folder to its pictures, in a fixed order."""


@dataclass(frozen=True)
class Superclass:
    """One class of the task: its ImageNet classes in the source and in the target, by wnid."""

    name: str
    source: tuple[str, ...]
    target: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Listing:
    """The pictures of a subpopulation shift; none is decoded.

    Attributes:
        classes: names of the superclasses.
        files: [n] where the pictures lie.
        labels: [n] their superclasses.
        pools: [n] `source` (ImageNet's training pictures of the source's kinds), `train` and
            `test` (training and validation pictures of the target's kinds).
    """

    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: Labels
    pools: NDArray[np.str_]


@cache
def superclasses(name: str) -> tuple[Superclass, ...]:
    """Which kinds the source and the target see of each superclass.

    One generator, seeded once, draws for the superclasses in their order: of each 2k classes,
    the first k for the source and the others for the target. That is the division `rand` of
    the release of BREEDS, whose kinds these are.

    Args:
        name: one of `SUBPOPULATIONS`.
    """
    text = files("raysel.tasks").joinpath("subpopulations.yaml").read_text("utf-8")
    table = yaml.safe_load(text)[name]
    count, draw = int(table["subclasses"]), np.random.RandomState(_SEED)
    drawn = []
    for superclass, members in table["superclasses"].items():
        chosen = draw.choice(members, 2 * count, replace=False).tolist()
        drawn.append(Superclass(superclass, tuple(chosen[:count]), tuple(chosen[count:])))
    return tuple(drawn)


def listing(name: str, root: Path, pictures: Finder) -> Listing:
    """The pictures of Living-17 or Entity-30 in ImageNet's folders.

    Args:
        name: one of `SUBPOPULATIONS`.
        root: ImageNet's folder, with `train` and `val`.
        pictures: lists what a class's folder holds.

    Raises:
        UserError: folders are missing or empty (path `task.data`).
    """
    kinds = superclasses(name)
    _check_folders(name, root, kinds)
    found: list[tuple[Path, int, str]] = []
    empty: list[Path] = []
    for label, kind in enumerate(kinds):
        for folder, pool in _folders(root, kind):
            files_there = pictures(folder)
            found += [(file, label, pool) for file in files_there]
            empty += [] if files_there else [folder]
    if empty:
        raise user_error("task.data", f"{_told(empty)} of {name} holds no picture")
    return Listing(
        classes=tuple(kind.name for kind in kinds),
        files=tuple(file for file, _, _ in found),
        labels=np.array([label for _, label, _ in found], np.int64),
        pools=np.array([pool for _, _, pool in found]),
    )


def _check_folders(name: str, root: Path, kinds: Sequence[Superclass]) -> None:
    wanted = [folder for kind in kinds for folder, _ in _folders(root, kind)]
    missing = [folder for folder in wanted if not folder.is_dir()]
    if missing:
        message = (
            f"{name} is made of ImageNet's folders; of {len(wanted)} that it needs {len(missing)}"
            f" are missing: {_told(missing)}. Get ImageNet (ILSVRC2012) from image-net.org and"
            f" unpack it as {root}/train/<wnid> and {root}/val/<wnid>"
        )
        raise user_error("task.data", message)


def _folders(root: Path, kind: Superclass) -> list[tuple[Path, Literal["source", "train", "test"]]]:
    return [
        *((root / "train" / wnid, "source") for wnid in kind.source),
        *((root / "train" / wnid, "train") for wnid in kind.target),
        *((root / "val" / wnid, "test") for wnid in kind.target),
    ]


def _told(folders: Sequence[Path]) -> str:
    more = f" and {len(folders) - _SHOWN} more" if len(folders) > _SHOWN else ""
    return ", ".join(map(str, folders[:_SHOWN])) + more
