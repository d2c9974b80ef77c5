"""raysel: which layers of a pretrained vision model to fine-tune, and how much.

The names below are the Python API. Each is imported when it is first used, so that importing
raysel alone imports neither torch nor Ray, Optuna or MLflow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Decision",
    "FineTuned",
    "LayerwiseAdamW",
    "LayerwiseSGD",
    "OperationalError",
    "Parameter",
    "Partition",
    "Results",
    "Spec",
    "Step",
    "Strategy",
    "UserError",
    "finetune",
    "load_spec",
    "partition",
    "register",
    "resume",
    "run",
]

if TYPE_CHECKING:
    from raysel.cli.python_api import finetune, resume, run
    from raysel.common.errors import OperationalError, UserError
    from raysel.models.partition import partition
    from raysel.models.partition_types import Partition
    from raysel.search.load_spec import load_spec
    from raysel.spec.sweep import Spec
    from raysel.strategies.base import Decision, Parameter, Step, Strategy
    from raysel.strategies.registry import register
    from raysel.sweep.finetune import FineTuned
    from raysel.sweep.loaded_results import Results
    from raysel.training.torch_optimizers import LayerwiseAdamW, LayerwiseSGD
else:
    _MODULES = {
        "raysel.cli.python_api": ("finetune", "resume", "run"),
        "raysel.common.errors": ("OperationalError", "UserError"),
        "raysel.models.partition_types": ("Partition",),
        "raysel.models.partition": ("partition",),
        "raysel.search.load_spec": ("load_spec",),
        "raysel.spec.sweep": ("Spec",),
        "raysel.strategies.base": ("Decision", "Parameter", "Step", "Strategy"),
        "raysel.strategies.registry": ("register",),
        "raysel.sweep.finetune": ("FineTuned",),
        "raysel.sweep.loaded_results": ("Results",),
        "raysel.training.torch_optimizers": ("LayerwiseAdamW", "LayerwiseSGD"),
    }

    def __getattr__(name: str) -> Any:
        for module, names in _MODULES.items():
            if name in names:
                globals()[name] = value = getattr(importlib.import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
