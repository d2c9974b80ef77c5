"""The files of a data set that lies in one file or in several (shards), and the part of each."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from raysel.common.errors import user_error
from raysel.tasks.splits import POOL_OF_FOLDER, Pool

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST = 100_000


def is_pattern(file: str) -> bool:
    """Whether a path stands for several files: `data/train-*.parquet`, `shard-{000..009}.tar`."""
    return not Path(file).exists() and bool(_RANGE.search(file) or glob.has_magic(file))


def files_of(file: str) -> list[Path]:
    """The files that a path or a pattern names, in the order of their names.

    Raises:
        UserError: a pattern fits none, or one of its range is missing (path `task.data`).
    """
    if not is_pattern(file):
        return [Path(file)]
    found: list[Path] = []
    for one in _expanded(file):
        fitting = _fitting(Path(one)) if glob.has_magic(one) else [Path(one)]
        absent = [path for path in fitting if not path.is_file()]
        if absent or not fitting:
            raise user_error("task.data", f"there is no file {absent[0] if absent else one}")
        found += fitting
    return found


def _fitting(pattern: Path) -> list[Path]:
    anchor = Path(pattern.anchor)
    return sorted(anchor.glob(str(pattern.relative_to(anchor))))


def _expanded(file: str) -> list[str]:
    match = _RANGE.search(file)
    if match is None:
        return [file]
    first, last = match.groups()
    numbers = range(int(first), int(last) + 1)
    if not 0 < len(numbers) <= _MOST:
        raise user_error("task.data", f"{match[0]} of {file} is no range of up to {_MOST:,} files")
    head, rest = file[: match.start()], _expanded(file[match.end() :])
    return [f"{head}{number:0{len(first)}d}{tail}" for number in numbers for tail in rest]


def pools_of_files(files: Sequence[Path]) -> list[Pool] | None:
    """The part of each file by the first word of its name (`train-00000-of-00002.parquet`), or by
    its folder's; None where they name none, or no training part."""
    found = [
        POOL_OF_FOLDER.get(re.split(r"[-_.]", path.name.lower())[0])
        or POOL_OF_FOLDER.get(path.parent.name.lower())
        for path in files
    ]
    pools = [pool for pool in found if pool is not None]
    named = len(pools) == len(files) and "train" in pools and len(set(pools)) > 1
    return pools if named else None
