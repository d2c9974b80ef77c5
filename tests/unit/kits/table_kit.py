"""Tables whose files are there, and what is said of those that are wrong."""

from pathlib import Path

import pytest

from raysel.common.errors import UserError
from raysel.tasks.readers.table import TableOptions, picture_table


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def table(tmp_path, text: str | bytes, classes=None, name="labels.csv", files=None, **options):
    """A table whose files (by default those of its first column, with commas) are there."""
    path = tmp_path / name
    content = text.encode() if isinstance(text, str) else text
    path.write_bytes(content)
    if files is None and isinstance(text, str):
        files = [line.split(",")[0].strip() for line in text.splitlines()[1:]]
    touch(tmp_path, *(file for file in files or () if file))
    return picture_table(path, tmp_path, TableOptions(classes=classes, **options))


def problem(tmp_path, text: str | bytes, *args, **options):
    with pytest.raises(UserError) as caught:
        table(tmp_path, text, *args, **options)
    (only,) = caught.value.problems
    return only


def reported(tmp_path, text: str | bytes, *args, **options) -> str:
    found = problem(tmp_path, text, *args, **options)
    assert found.path == "task.data"
    return found.message.replace(str(tmp_path / options.get("name", "labels.csv")), "FILE")
