"""The environment of a trial: its numbers are equal only on equal machines."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

import raysel
from raysel.models import timm


def facts(device: torch.device) -> dict[str, str]:
    """Facts that a trial's numbers depend on, besides its configuration.

    `device` (`cpu`, or the accelerator's name), `processor` (its model, and the widest
    instructions that torch uses), `threads` (of torch), the versions of what computes.
    """
    cuda = device.type == "cuda"
    adapters = sys.modules.get("peft")  # imported where a model has them
    return {
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "processor": f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "raysel": raysel.__version__,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
        **({} if adapters is None else {"peft": str(adapters.__version__)}),
    }


def note(path: Path, device: torch.device) -> None:
    """Write the facts into a file of a list: one entry for each kind of machine that the
    trial ran on. A file that cannot be written fails no trial."""
    known, mine = read(path), facts(device)
    if mine in known:
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        partial.write_text(json.dumps([*known, mine], indent=1), encoding="utf-8")
        partial.replace(path)


def read(path: Path) -> list[dict[str, str]]:
    """What `note` wrote; empty where nothing can be read."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except Exception:  # none, or damaged
        return []
    entries = listed if isinstance(listed, list) else []
    return [dict(entry) for entry in entries if isinstance(entry, dict)]


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The facts that both know and that differ: name -> (then, now)."""
    return {
        name: (str(then[name]), str(now[name]))
        for name in then
        if name in now and str(then[name]) != str(now[name])
    }


def _processor() -> str:
    """The processor's model name; its architecture if the system has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
