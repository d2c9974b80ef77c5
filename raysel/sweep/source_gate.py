"""Whether a source model is good enough for the sweep that adapts it."""

from __future__ import annotations

import math

from raysel.common.errors import OperationalError
from raysel.common.locations import resume_command
from raysel.spec.sweep import Spec
from raysel.training.source_model import SourceModel


def refuse_weak(model: SourceModel, spec: Spec) -> None:
    """Compare a source model with `source.gate`.

    Raises:
        OperationalError: it is worth less than the file asks for.
    """
    gate = spec.source.gate
    if gate is None or model.accuracy >= gate:
        return
    lower = f"source.gate={math.floor(100 * model.accuracy) / 100:g}"
    way_on = resume_command(spec.name, spec.storage, "--set", lower)
    raise OperationalError(
        "source.gate",
        f"the source model has {100 * model.accuracy:.1f} % validation accuracy, less than"
        f" {100 * gate:g} %; train it longer or otherwise (source.epochs, source.learning_rate) in"
        f" a new sweep, or go on with it: {way_on}",
    )
