"""A sweep whose record or checkpoints were damaged: one line tells it, and the way out works."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from raysel.common.locations import sweep_url
from raysel.record import database
from raysel.spec.reader import load
from raysel.spec.sweep import Spec
from raysel.training import checkpoint

from .drivers import check_agreement, events_of, here, live, one_line, same, write
from .helpers import without_clocks

pytestmark = [pytest.mark.slow, pytest.mark.ray]

NAME = "hurt"
LEFT = "0001"
"""The trial that the killed driver left, after its second epoch."""


@pytest.fixture(scope="module")
def template(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a sweep whose driver was killed in its second trial."""
    where = tmp_path_factory.mktemp("hurt")
    file, spec = write(where / "f.yaml", NAME, where, **{"pruner.kind": "none"})
    code, out, err = live("run", str(file), "--quiet", moment="after epoch", count=5, action="die")
    assert code == -9, out + err
    assert [e.trial for e in events_of(spec) if e.kind == "epoch"] == ["0000"] * 3 + [LEFT] * 2
    return where


@pytest.fixture(scope="module")
def undisturbed(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """What the sweep gives that nobody killed or damaged."""
    where = tmp_path_factory.mktemp("whole")
    file, spec = write(where / "f.yaml", "whole", where, **{"pruner.kind": "none"})
    code, out, err = here("run", str(file), "--quiet")
    assert code == 0, out + err
    return sorted(map(without_clocks, check_agreement(spec).values()))


@pytest.fixture
def hurt(template: Path, tmp_path: Path) -> Path:
    """A copy of the template."""
    shutil.copytree(template, tmp_path / "runs", ignore=shutil.ignore_patterns("mlartifacts"))
    return tmp_path / "runs"


def resume(storage: Path, *more: str) -> tuple[int, str, str]:
    return here("resume", NAME, "--storage", str(storage), "--quiet", *more)


def spec_in(storage: Path) -> Spec:
    return load(storage / NAME / "spec.yaml").model_copy(update={"storage": str(storage)})


# --- the record ----------------------------------------------------------------------------------


def truncate(record: Path) -> None:
    with sqlite3.connect(record) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = record.read_bytes()
    record.write_bytes(content[: len(content) // 2])


def flip(record: Path) -> None:
    with sqlite3.connect(record) as connection:
        payload = "replace(payload, '\"val/error\": 0.', '\"val/error\": 0.1')"
        connection.execute(f"UPDATE events SET payload = {payload} WHERE kind = 'epoch'")
        assert connection.total_changes


def empty(record: Path) -> None:
    record.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip,
        empty,
        Path.unlink,
    ],
)
def test_a_damaged_record_is_reported_and_its_copy_goes_on(
    hurt: Path, damage: Callable[[Path], None], undisturbed: list[object]
) -> None:
    damage(hurt / NAME / "sweep.db")
    code, out, err = resume(hurt)
    line = one_line(err)
    assert code == 1 and not out and f"raysel resume {NAME} --from-backup" in line, line
    code, out, err = resume(hurt, "--from-backup")
    assert code == 0, out + err
    assert sorted(map(without_clocks, check_agreement(spec_in(hurt)).values())) == undisturbed


def test_a_record_of_a_newer_version_is_reported(hurt: Path) -> None:
    with sqlite3.connect(hurt / NAME / "sweep.db") as connection:
        connection.execute("UPDATE record_revision SET version_num = '9999'")
    code, out, err = resume(hurt)
    line = one_line(err)
    assert code == 1 and not out and "newer version of raysel" in line and "manifest" in line


def test_a_record_that_another_program_locks_is_reported(
    hurt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    other = sqlite3.connect(hurt / NAME / "sweep.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        code, _, err = resume(hurt)
        assert code == 1 and "is locked by another program" in one_line(err)
    finally:
        other.close()


@pytest.fixture
def served(tmp_path: Path, record: str) -> Iterator[Spec]:
    """The sweep whose driver was killed, with its record in PostgreSQL."""
    file, spec = write(tmp_path / "f.yaml", NAME, tmp_path / "runs", database_url=record)
    code, out, err = live("run", str(file), "--quiet", moment="after epoch", count=5, action="die")
    assert code == -9, out + err
    yield spec


def test_a_damaged_record_in_postgresql_is_reported_and_has_no_copy(served: Spec) -> None:
    engine = sa.create_engine(sweep_url(served.record, Path("none"), NAME))
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE events SET epoch = 77 WHERE kind = 'epoch' AND epoch = 1 AND trial = '0000'"
            )
        )
    engine.dispose()
    code, _, err = resume(Path(served.storage))
    assert code == 1 and "is not the one that was written" in one_line(err)
    code, _, err = resume(Path(served.storage), "--from-backup")
    assert code == 2 and "PostgreSQL" in one_line(err)


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        [checkpoint.NAME],
        [checkpoint.NAME, checkpoint.PREVIOUS],
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_intact_one_before(
    hurt: Path, names: list[str], undisturbed: list[object]
) -> None:
    trial = hurt / NAME / "trials" / LEFT
    for name in names:
        content = (trial / name).read_bytes()
        (trial / name).write_bytes(content[: len(content) // 2])
    code, out, err = resume(hurt)
    assert code == 0, out + err
    assert same(spec_in(hurt), undisturbed)
    notes = [e.payload["note"] for e in events_of(spec_in(hurt)) if e.payload.get("note")]
    assert len(notes) == 1 and "damaged" in notes[0], notes
