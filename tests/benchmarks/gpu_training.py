"""Training on a GPU: timm's `train.py`, raysel's `full` and `bvg_ls`, in turn.

    python tests/benchmarks/gpu_training.py --train-py TIMM/train.py [FOLDER] [--rounds 3]

`--train-py` is the script of a checkout of the timm that is installed (`git clone --branch v1.0.31
https://github.com/huggingface/pytorch-image-models`). FOLDER holds a folder of photographs a class;
without one, JPEGs of about 500 x 375 pixels are made up. Model, first weights, files, crops, batch,
precision and optimizer are the same, see `training_sides.py`; each run is a process of its own. The
first epoch of each run is left out: there libraries are loaded and kernels chosen. A ratio is the
median over the rounds of (one side) / (the other in the same round).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import NoReturn

import numpy as np
import torch
from PIL import Image
from training_sides import BENCHMARKED, BVG_LS, FULL, TIMM, Outcome, Settings

from raysel.models import timm
from raysel.models.data_config import model_input

CLASSES = 10
"""Of made-up pictures."""

PICTURES = {".jpg", ".jpeg", ".png"}
SAMPLED_EVERY = 0.5
SIDES = {"cuda": (TIMM, FULL, BVG_LS, BENCHMARKED), "cpu": (TIMM, FULL, BVG_LS)}
TARGETS = (
    "the targets are 0.95 of timm's pictures a second and a utilisation above 90 % for full, and"
    " 1.03 of full's step for bvg_ls"
)
TRIAL = "--device cpu --model test_resnet --image-size 64 --batch 16 --pictures 256"

Samples = list[tuple[float, float]]
"""Times in seconds since 1970, and the device's utilisation there in percent."""


def main() -> None:
    """Run the rounds and print the table."""
    given = _arguments()
    _check(given)
    _print_versions(given)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.keep or temporary).absolute()
        settings = _prepare(given, folder)
        sides, rounds = SIDES[given.device], []
        for number in range(given.rounds):
            turn = number % len(sides)
            order = sides[turn:] + sides[:turn]
            rounds.append({side: _run(side, settings, folder / "run") for side in order})
            _print_round(number + 1, rounds[-1], settings)
    _print_table(sides, rounds, settings)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="a folder of photographs a class")
    parser.add_argument("--train-py", type=Path, required=True, help="timm's script")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pictures", type=int, default=12_800, help="of the training part")
    parser.add_argument("--epochs", type=int, default=4, help="of a run, with the first")
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument("--workers", type=int, default=cpus, help="that read, on both sides")
    parser.add_argument("--device", choices=SIDES, default="cuda")
    parser.add_argument(
        "--read-ahead",
        action="store_true",
        help="raysel reads pictures in threads, as of a set too large for the device's memory",
    )
    parser.add_argument("--keep", type=Path, help="keep pictures, logs and runs here")
    return parser.parse_args()


def _check(given: argparse.Namespace) -> None:
    """Refuse what cannot be run, before anything is computed."""
    if given.device == "cuda" and not torch.cuda.is_available():
        _refuse(f"no CUDA device is at hand; for a trial of this script: {TRIAL}")
    if not given.train_py.is_file():
        _refuse(f"--train-py: {given.train_py} is no file; give train.py of a checkout of timm")
    if given.folder is not None and not given.folder.is_dir():
        _refuse(f"{given.folder} is no folder; give one with a folder of photographs a class")
    if given.pictures < given.batch or given.pictures % given.batch:
        whole = max(given.pictures // given.batch, 1) * given.batch
        _refuse(f"--pictures: {given.pictures} is not whole batches of {given.batch}; {whole} is")
    if given.epochs < 2:
        _refuse("--epochs: the first one is left out; give at least 2")
    if min(given.rounds, given.workers) < 1:
        _refuse("--rounds and --workers: give at least 1")


def _refuse(message: str) -> NoReturn:
    print(f"gpu_training: {message}", file=sys.stderr)
    raise SystemExit(2)


def _print_versions(given: argparse.Namespace) -> None:
    on_a_gpu = given.device == "cuda"
    device = torch.cuda.get_device_name() if on_a_gpu else "CPU"
    print(f"{device}, {given.workers} workers, torch {torch.__version__}, timm {timm.__version__}")
    beside = given.train_py.absolute().parent / "timm" / "version.py"
    text = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    found = re.search(r"__version__ = ['\"](.+?)['\"]", text)
    script = given.train_py
    if found is None:
        print(f"the version of {script} is not known: there is no timm/version.py beside it")
    elif found[1] != timm.__version__:
        print(f"{script} is of timm {found[1]}, and not of the installed {timm.__version__}")
    if not on_a_gpu:
        print("no CUDA device is used: a trial of this script, whose figures mean nothing")
    elif _utilisation() is None:
        print("nvidia-smi does not tell the device's utilisation: it is not measured")


def _prepare(given: argparse.Namespace, folder: Path) -> Settings:
    """Pictures and weights, from which all runs of both sides start."""
    pictures = folder / "pictures"
    shutil.rmtree(pictures, ignore_errors=True)
    parts = {"train": given.pictures, "val": 2 * CLASSES, "test": 2 * CLASSES}
    if given.folder is None:
        classes = _make_up(pictures, parts)
    else:
        classes = _link(given.folder, pictures, parts)
    torch.manual_seed(0)
    weights = folder / "weights.pth"
    torch.save(timm.create_model(given.model, num_classes=classes).state_dict(), weights)
    return Settings(
        train_py=str(given.train_py.absolute()),
        folder=str(folder),
        weights=str(weights),
        model=given.model,
        interpolation=model_input(given.model).interpolation,
        classes=classes,
        size=given.image_size,
        batch=given.batch,
        pictures=given.pictures,
        workers=given.workers,
        epochs=given.epochs,
        device=given.device,
        read_ahead=given.read_ahead,
    )


def _make_up(pictures: Path, parts: dict[str, int]) -> int:
    """JPEGs of a fixed seed, about as large on disk as photographs; the number of classes."""
    paths = [
        pictures / part / f"class{place % CLASSES}" / f"{place:06d}.jpg"
        for part, count in parts.items()
        for place in range(count)
    ]
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(_make_one, range(len(paths)), paths))
    return CLASSES


def _make_one(number: int, path: Path) -> None:
    _made_up(number).save(path, quality=90)


def _made_up(number: int) -> Image.Image:
    """Noise of four scales, about 80 kB as JPEG."""
    generator = np.random.default_rng([0, number])
    width, height = (int(side * generator.uniform(0.9, 1.1)) for side in (500, 375))
    whole = np.full((height, width, 3), 128.0)
    for pixels, deviation in ((64, 50), (16, 20), (4, 12), (1, 15)):
        shape = (height // pixels + 1, width // pixels + 1, 3)
        small = generator.normal(128, deviation, shape).clip(0, 255).astype(np.uint8)
        large = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        whole += np.asarray(large, dtype=float) - 128
    return Image.fromarray(whole.clip(0, 255).astype(np.uint8))


def _link(source: Path, pictures: Path, parts: dict[str, int]) -> int:
    """Parts of links to a folder's photographs, of all classes in turn; the number of classes."""
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    files = [sorted(filter(_is_picture, folder.iterdir())) for folder in folders]
    there, wanted = sum(map(len, files)), sum(parts.values())
    if there < wanted:
        fewer = max(there - wanted + parts["train"], 0)
        _refuse(f"{source} has {there} pictures and {wanted} are needed: --pictures {fewer}")
    found = _in_turn(files)
    for part, count in parts.items():
        for path in islice(found, count):
            link = pictures / part / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.absolute())
    return len(list((pictures / "train").iterdir()))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and path.is_file()


def _in_turn(files: list[list[Path]]) -> Iterator[Path]:
    for place in range(max(map(len, files))):
        yield from (own[place] for own in files if place < len(own))


def _run(side: str, settings: Settings, folder: Path) -> Outcome:
    """One run in a fresh process, with the device's utilisation beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path, log = folder / "settings.json", folder / "log.txt"
    path.write_text(json.dumps(asdict(settings)), encoding="utf-8")
    script = Path(__file__).with_name("training_sides.py")
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if settings.device == "cpu" else {}
    with log.open("w") as output, _Sampler(_utilisation) as sampler:
        ended = subprocess.run(
            [sys.executable, str(script), side, str(path)],
            env=os.environ | hidden,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if ended.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        raise SystemExit("\n".join([*last, f"{side} failed"]))
    outcome = Outcome.load(folder / "outcome.json")
    return replace(outcome, utilisation=_in_epochs(sampler.samples, outcome))


class _Sampler:
    """Asks for the utilisation while a side runs."""

    def __init__(self, ask: Callable[[], float | None]) -> None:
        self.samples: Samples = []
        self._ask, self._ended = ask, threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLED_EVERY):
            found = self._ask()
            if found is None:
                return
            self.samples.append((time.time(), found))


def _utilisation() -> float | None:
    """Of the first CUDA device, in percent; None where nvidia-smi does not tell."""
    if not torch.cuda.is_available():
        return None
    uuid = str(torch.cuda.get_device_properties(0).uuid).removeprefix("GPU-")
    asked = [
        "nvidia-smi",
        f"--id=GPU-{uuid}",
        "--query-gpu=utilization.gpu",
        "--format=csv,noheader,nounits",
    ]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10)
        return float(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _in_epochs(samples: Samples, outcome: Outcome) -> float | None:
    """The mean within the training parts of the epochs but the first."""
    counted = outcome.epochs[1:]
    within = [
        found for at, found in samples if any(epoch.begin <= at <= epoch.end for epoch in counted)
    ]
    return mean(within) if within else None


def _seconds(outcome: Outcome) -> float:
    """Of the training part of an epoch."""
    return median(epoch.seconds for epoch in outcome.epochs[1:])


def _print_round(number: int, runs: dict[str, Outcome], settings: Settings) -> None:
    for side, run in runs.items():
        facts = {
            "round": number,
            "side": side,
            "pictures a second": round(settings.pictures / _seconds(run), 1),
            "seconds an epoch": [round(epoch.seconds, 2) for epoch in run.epochs],
            "loss": [round(epoch.loss, 3) for epoch in run.epochs],
            "utilisation": run.utilisation and round(run.utilisation, 1),
        }
        print(json.dumps(facts | ({"reading": run.reading} if run.reading else {})), flush=True)


def _print_table(
    sides: tuple[str, ...], rounds: list[dict[str, Outcome]], settings: Settings
) -> None:
    steps = settings.pictures // settings.batch
    print(f"\n{settings.model} {settings.size}, batch {settings.batch}, {steps} steps an epoch,")
    print(f"bfloat16; medians of the rounds ({len(rounds)}); {TARGETS}\n")
    print("| side | pictures a second | to timm | ms a step | step to full's | utilisation |")
    print("|---|---|---|---|---|---|")
    for side in sides:
        seconds = [_seconds(runs[side]) for runs in rounds]
        faster, slower = (
            median(_seconds(runs[TIMM]) / _seconds(runs[side]) for runs in rounds),
            median(_seconds(runs[side]) / _seconds(runs[FULL]) for runs in rounds),
        )
        sampled = [found for runs in rounds if (found := runs[side].utilisation) is not None]
        utilisation = f"{median(sampled):.0f} %" if sampled else "–"
        print(
            f"| {side} | {settings.pictures / median(seconds):.1f} | {faster:.3f}"
            f" | {1e3 * median(seconds) / steps:.1f} | {slower:.3f} | {utilisation} |"
        )


if __name__ == "__main__":
    main()
