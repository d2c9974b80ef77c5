"""The model that is meant by a name: an exported folder, a sweep's winner, another strategy's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysel.common.errors import UserError, user_error
from raysel.common.paths import A_SWEEP
from raysel.export.export_verb import export
from raysel.export.timm_layout import CONFIG
from raysel.record.layout import SweepFolder
from raysel.sweep.local_trial import Notify
from raysel.sweep.views import SweepView, read_sweep


@contextmanager
def model_folder(name: str, storage: str, notify: Notify) -> Iterator[Path]:
    """The folder of a model in timm's layout; what is made for it is gone at the end.

    Args:
        name: the path of an exported folder, or of a sweep's; a sweep's name (`suite/cell` of a
            cell), which means its winner; `SWEEP/STRATEGY`, whose weights are trained again where
            the winner is another.
        storage: where sweeps lie.

    Raises:
        UserError: there is neither a model nor a sweep of that name.
        OperationalError: the sweep has no model, or a damaged one.
    """
    path = Path(name)
    here = next((p for p in (path, SweepFolder(path, None).best) if (p / CONFIG).is_file()), None)
    if here is not None:
        yield here
        return
    view, strategy = _sweep_of(name, storage)
    with tempfile.TemporaryDirectory(prefix="raysel-model-") as scratch:
        yield export(view, strategy, Path(scratch) / "model", notify).folder


def _sweep_of(name: str, storage: str) -> tuple[SweepView, str | None]:
    """A sweep, and the strategy of it that is meant; None for its winner."""
    if not A_SWEEP.fullmatch(name):
        sweep, _, strategy = name.rpartition("/")
        if not A_SWEEP.fullmatch(sweep):
            raise user_error("MODEL", f'"{name}" holds no {CONFIG}, and is no sweep\'s name')
        return read_sweep(storage, sweep), strategy
    try:
        return read_sweep(storage, name), None
    except UserError:
        sweep, _, strategy = name.rpartition("/")
        if not sweep:
            raise
        return read_sweep(storage, sweep), strategy
