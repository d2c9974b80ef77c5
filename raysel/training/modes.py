"""Which parts of the model run in training mode (docs/algorithms.md, D4), and how torch computes.

`train`: everything; batch norm uses and updates batch statistics, moved or not.
`eval`: nothing; running statistics are frozen everywhere, dropout is off.
`frozen_eval`: what has no parameter that may move runs in eval, the rest in training mode.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from raysel.spec.training import BatchNorm, Precision, TrainingSettings

_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


def set_training_mode(model: nn.Module, mode: BatchNorm, batch_size: int) -> None:
    """Put every module into its mode; to be called before each epoch's training part.

    Args:
        batch_size: with a single image a batch norm has no batch statistics, so those
            layers stay in eval then.
    """
    model.train(mode != "eval")
    if mode == "frozen_eval":
        _eval_frozen_modules(model)
    if batch_size == 1:
        for module in model.modules():
            if isinstance(module, _BATCH_NORMS):
                module.eval()


def _eval_frozen_modules(model: nn.Module) -> None:
    """Eval for every module under which nothing may move.

    A module without parameters (dropout) goes with the parent that holds it.
    """
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


@contextmanager
def computing(settings: TrainingSettings) -> Iterator[None]:
    """How a trial's training and its measurements compute (`training.precision`,
    `training.deterministic`)."""
    with deterministic_algorithms(settings.deterministic), arithmetic(settings.precision):
        yield


@contextmanager
def arithmetic(precision: Precision) -> Iterator[None]:
    """How a GPU multiplies float32 numbers: `tf32` rounds them to 10 bits of mantissa before
    (`training.precision`). Elsewhere torch's own settings hold, which use TF32 for convolutions
    and not for matrix products. A CPU has no TF32.
    """
    if precision != "tf32":
        yield
        return
    backends: tuple[Any, Any] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = True
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def memory_format(
    model: nn.Module, device: torch.device, precision: Precision
) -> torch.memory_format:
    """How images and weights are to be laid out: a pixel's channels side by side, where that is
    faster. On a GPU and in bfloat16 it is for every convolutional model; a single convolution (a
    transformer's patch embedding) does not make one. In float32 on a CPU it is for grouped and
    depthwise convolutions (`tests/benchmarks/memory_format.py`)."""
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if device.type != "cuda" and precision != "bfloat16":
        convolutions = [convolution for convolution in convolutions if convolution.groups > 1]
    return torch.channels_last if len(convolutions) > 1 else torch.contiguous_format


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Let torch use nothing whose result differs from run to run (`training.deterministic`).

    cuBLAS reads its variable when the process first uses the device.

    Raises:
        RuntimeError: within the block, by an operation that has no such implementation.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
