"""A trial's model through `torch.compile` (`training.compile`, docs/algorithms.md, D95).

Forward and backward pass of a batch become one graph of generated code, in which what lies between
the matrix products is fused. Parameters, buffers, hooks and state stay those of the model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from raysel.common.text import first_line
from raysel.spec.training import TrainingSettings

_MOST_GRAPHS = 1_000
"""Beyond torch's limit of 8 a trial would go on uncompiled: its numbers would depend on where it
was resumed."""

_MISSING = {
    "InvalidCxxCompiler": "torch.compile found no C++ compiler; install g++, or name one in CXX",
    "TritonMissing": "torch.compile found no Triton; install the package triton",
    "CppCompileError": "the C++ compiler does not compile what torch.compile gives it",
}
"""What a machine lacks, by the name of torch's error."""


class CompileError(RuntimeError):
    """`torch.compile` does not take the trial's model; the message is one line."""


class CompiledModel:
    """The forward pass of a model: compiled for whole batches, the model's own for smaller ones.

    A graph holds for one batch size, one mode of the modules and one set of parameters that require
    a gradient; each other one is compiled when it comes first. The last, smaller batch of an epoch
    is not worth a graph of its own.

    Args:
        model: stays as it is.
        settings: of the trial.
        evaluated: examples that are evaluated at a time.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings, evaluated: int) -> None:
        # what other trials of this process compiled would count against the limit
        torch.compiler.reset()
        self._model, self._trained, self._evaluated = model, settings.batch_size, evaluated
        options = _options(settings.deterministic)
        self._compiled = torch.compile(model, dynamic=False, options=options)

    def __call__(self, images: Tensor) -> Tensor:
        """[n, classes] of images [n, c, h, w].

        Raises:
            CompileError: by a batch that is the first of its kind.
        """
        whole = self._trained if torch.is_grad_enabled() else self._evaluated
        if len(images) != whole:
            logits: Tensor = self._model(images)
            return logits
        try:
            with torch._dynamo.config.patch(
                recompile_limit=_MOST_GRAPHS, accumulated_recompile_limit=_MOST_GRAPHS
            ):
                logits = self._compiled(images)
        except torch._dynamo.exc.TorchDynamoException as error:
            *_, cause = _causes(error)
            raise CompileError(f"training.compile: {first_line(cause)}") from error
        return logits


def forward_of(
    model: nn.Module, settings: TrainingSettings, evaluated: int
) -> Callable[[Tensor], Tensor]:
    """How a trial computes logits [n, classes] of images: as the model is, or compiled.

    Args:
        evaluated: examples that are evaluated at a time.
    """
    return CompiledModel(model, settings, evaluated) if settings.compile else model


def of_the_compiler(error: BaseException | None) -> str | None:
    """What the machine lacks to compile any model, as a message; None if the error is another."""
    for each in _causes(error):
        if words := _MISSING.get(type(each).__name__):
            return f"training.compile: {words}"
        if "Failed to find C compiler" in str(each):  # Triton's
            return f"training.compile: {_MISSING['InvalidCxxCompiler']}"
    return None


def _options(deterministic: bool) -> dict[str, Any]:
    """Inductor's: dropout draws the numbers that it draws uncompiled, and the compiler has as many
    processes as the trial has threads."""
    options: dict[str, Any] = {
        "fallback_random": True,
        "compile_threads": torch.get_num_threads(),
    }
    if deterministic and "deterministic" in torch._inductor.list_options():  # not in torch 2.7
        options["deterministic"] = True
    return options


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it wraps and what led to it."""
    while error is not None:
        yield error
        inner = getattr(error, "inner_exception", None)
        error = inner or error.__cause__ or error.__context__
