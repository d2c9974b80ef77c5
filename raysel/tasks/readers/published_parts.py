"""The parts of a data set that another library keeps, by the names that it gives them."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.common.errors import user_error
from raysel.common.text import and_more
from raysel.tasks.splits import POOL_OF_FOLDER, Pool


def pools_of_splits(where: str, names: Sequence[str]) -> tuple[dict[str, Pool], tuple[str, ...]]:
    """The part that each split is, and notes; a split alone is all there is, by whatever name.

    Args:
        where: the data set, for messages.

    Returns:
        split -> part, of those that are read: others (`unlabeled`, `extra`) are left out, with a
        note.

    Raises:
        UserError: of several splits none is the training part, or two are one part.
    """
    if len(names) == 1:
        return {names[0]: "train"}, ()
    pools = {name: POOL_OF_FOLDER[name.lower()] for name in names if name.lower() in POOL_OF_FOLDER}
    if "train" not in pools.values():
        message = f"{where} has the splits {and_more(names)} and no train"
        raise user_error("task.data", message)
    if len(set(pools.values())) < len(pools):
        raise user_error("task.data", f"{where}: {and_more(list(pools))} name one part twice")
    others = [name for name in names if name not in pools]
    notes = (f"splits {and_more(others)} of {where} are no part and left out",) if others else ()
    return pools, notes
