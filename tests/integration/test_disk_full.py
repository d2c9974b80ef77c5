"""A disk that fills up ends the sweep with one line, and costs nothing once there is space."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .disks import mounted
from .drivers import here, live, one_line, same, write

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 24 MiB."""
    with mounted(tmp_path / "disk", "24m") as place:
        yield place


@pytest.mark.parametrize(
    ("moment", "count"),
    [
        ("after epoch", 3),
        ("after started", 1),
        ("before results", 1),
    ],
)
def test_a_full_disk_is_one_line_and_after_space_is_made_nothing_is_lost(
    tmp_path: Path,
    storage: Path,
    small_disk: Path,
    moment: str,
    count: int,
    tiny_reference: list[object],
) -> None:
    more = {"tracking.uri": f"sqlite:///{tmp_path}/mlflow.db"}
    file, spec = write(tmp_path / "f.yaml", "full-disk", small_disk, **more)
    code, _, err = live(
        *("run", str(file), "--quiet"),
        moment=moment,
        count=count,
        action="fill",
        DISK=str(small_disk),
    )
    assert code == 1
    line = one_line(err)
    assert "disk" in line and "raysel resume full-disk" in line, line
    (small_disk / "ballast").unlink()
    code, out, err = here("resume", "full-disk", "--storage", str(small_disk), "--quiet")
    assert code == 0, out + err
    assert same(spec, tiny_reference)
