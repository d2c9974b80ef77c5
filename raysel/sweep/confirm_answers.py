"""What the confirm runs answered to the test examples: of the runs that the record has, and of no
others.

Nothing in `answers.npz` says whose it is. A file of another run gives another test error than the
record has, and a file of another test part other labels than the other runs have.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from raysel.sweep.results import ConfirmRun
from raysel.training.answers import Answers, read_answers

_ROUNDING = 1e-9


def answers_of(
    runs: Iterable[ConfirmRun], folder: Callable[[str], Path]
) -> dict[str, Answers | None]:
    """The answers by run id; None where they cannot be read, or are not the run's.

    Args:
        folder: of a run, by its id.
    """
    read = {run.id: _own(run, read_answers(folder(run.id))) for run in runs}
    labels = Counter(found.labels.tobytes() for found in read.values() if found is not None)
    if len(labels) < 2:
        return read
    ((most, _),) = labels.most_common(1)
    return {
        run: found if found is not None and found.labels.tobytes() == most else None
        for run, found in read.items()
    }


def _own(run: ConfirmRun, found: Answers | None) -> Answers | None:
    recorded = run.metric("test/error")
    if found is None or recorded is None:
        return found
    return found if math.isclose(found.wrong.mean(), recorded, abs_tol=_ROUNDING) else None
