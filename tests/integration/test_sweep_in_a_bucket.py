"""A sweep whose storage is a bucket: its machine is lost, and a fresh one goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from raysel.common.locations import sqlite_url
from raysel.common.object_store import Bucket
from raysel.record.events import Event
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.spec.sweep import Spec
from raysel.sweep.backup import EVERY_SECONDS
from raysel.sweep.replica import fetch
from raysel.training.checkpoint import is_checkpoint

from .drivers import (
    check_agreement,
    driver,
    ended,
    epochs,
    events_of,
    here,
    live,
    one_line,
    same,
    states,
    wait_until,
    write,
)
from .gate import Gate
from .object_store import ObjectStore

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

PATIENCE_SECONDS = 240.0

UPLOAD_SECONDS = 3.0
"""What an upload may take on a busy machine."""


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test has a folder that another left."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-1"))


def another_machine(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """From here on raysel runs where nothing of the sweep lies."""
    here = Path(os.environ["XDG_CACHE_HOME"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(here.with_name(f"machine-{number}")))


def folder_of(spec: Spec) -> SweepFolder:
    return SweepFolder.of(spec.storage, spec.name)


def key(event: Event) -> tuple[str, str, int]:
    return (event.trial, event.kind, event.epoch)


@pytest.mark.parametrize(
    ("moment", "count"), [("after epoch", 5), ("after ended", 3), ("after confirm epoch", 2)]
)
def test_a_fresh_machine_ends_the_sweep_of_a_lost_one(
    tmp_path: Path,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    count: int,
    tiny_reference: list[object],
) -> None:
    uri = object_store.new_bucket()
    file, spec = write(tmp_path / "f.yaml", "lost", uri)  # type: ignore[arg-type]
    run = ("run", str(file), "--resume-if-exists", "--quiet")
    code, out, err = live(*run, action="die", moment=moment, count=count)
    assert code == -signal.SIGKILL, out + err
    lost = events_of(spec)
    seconds = {trial: epoch_seconds(lost, trial) for trial in states(spec)}

    another_machine(monkeypatch, 2)
    fetch(folder_of(spec))
    known = {key(event) for event in events_of(spec)}
    missing = [event.at for event in lost if key(event) not in known]
    assert not missing or lost[-1].at - min(missing) <= EVERY_SECONDS + UPLOAD_SECONDS

    code, out, err = here(*run)
    assert code == 0, out + err
    assert same(spec, tiny_reference)
    # no epoch whose checkpoint was in the bucket was run again: the clock's numbers are the same
    now = events_of(spec)
    for trial, then in seconds.items():
        again = [a for a, b in zip(epoch_seconds(now, trial), then, strict=False) if a != b]
        assert len(again) <= (1 if moment.endswith("epoch") else 0), trial
    assert not [name for name in Bucket(uri).sizes() if is_checkpoint(name)]

    another_machine(monkeypatch, 3)  # a visitor's
    code, out, err = here("list", "--storage", uri)
    assert code == 0 and "lost" in out and "COMPLETE" in out, out + err
    target = tmp_path / "model"
    code, out, err = here("export", "lost", "--storage", uri, "--to", str(target), "--check")
    assert code == 0, out + err
    assert (target / "model.safetensors").is_file()
    assert (folder_of(spec).path / "report" / "index.html").is_file()
    code, out, err = here("rm", "lost", "--storage", uri, "--yes")
    assert code == 0 and Bucket(uri).sizes() == {}, out + err


def epoch_seconds(events: list[Event], trial: str) -> list[float]:
    mine = sorted((e for e in events if e.trial == trial and e.kind == "epoch"), key=key)
    return [event.payload["metrics"]["cost/seconds"] for event in mine]


def test_the_end_of_a_trial_is_in_the_bucket_at_once(
    tmp_path: Path, object_store: ObjectStore
) -> None:
    uri = object_store.new_bucket()
    file, _ = write(tmp_path / "f.yaml", "copied", uri)  # type: ignore[arg-type]
    with driver("run", str(file), "--quiet", moment="after started", count=3):
        copy = tmp_path / "copy.db"

        def ended_in_the_bucket() -> int:
            try:
                Bucket(uri).get("copied/sweep.backup.db", copy)
            except FileNotFoundError:
                return 0
            return sum(event.kind == "ended" for event in read_events(sqlite_url(copy)))

        # it is frozen before the third trial: nothing is written that would bring another copy
        wait_until(lambda: ended_in_the_bucket() >= 1, PATIENCE_SECONDS)


def test_a_bucket_that_is_away_for_a_while_costs_nothing(
    tmp_path: Path, object_store: ObjectStore, tiny_reference: list[object]
) -> None:
    gate = Gate(object_store.port)
    gate.open()
    uri = object_store.new_bucket(gate.port)
    file, spec = write(tmp_path / "f.yaml", "away", uri)  # type: ignore[arg-type]
    with driver("run", str(file)) as process:
        wait_until(lambda: epochs(spec) >= 3, PATIENCE_SECONDS)
        gate.shut()
        before = epochs(spec)
        wait_until(lambda: epochs(spec) >= before + 2, PATIENCE_SECONDS)
        gate.open()
        code, out, err = ended(process)
    assert code == 0, out + err
    assert out.count("does not answer") == 1 and out.count("answers again") == 1, out
    assert same(spec, tiny_reference)
    gate.shut()


def test_a_bucket_that_is_away_at_the_end_is_reported_and_resume_sends(
    tmp_path: Path,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from raysel.sweep import existing, session

    monkeypatch.setattr(existing, "DELIVER_SECONDS", 1.0)
    gate = Gate(object_store.port)
    gate.open()
    uri = object_store.new_bucket(gate.port)
    file, spec = write(tmp_path / "f.yaml", "late", uri)  # type: ignore[arg-type]
    write_json = session.write_json

    def and_shut(*arguments: object) -> None:
        gate.shut()
        write_json(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "write_json", and_shut)
    code, out, err = here("run", str(file), "--quiet")
    assert code == 1, out + err
    assert "does not answer" in one_line(err) and "to send it: raysel resume late" in err
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-1"))
    gate.open()
    code, out, err = here("resume", "late", "--storage", uri, "--quiet")
    assert code == 0, out + err
    another_machine(monkeypatch, 2)
    fetch(folder_of(spec))
    check_agreement_but_mlflow(spec)
    gate.shut()


def check_agreement_but_mlflow(spec: Spec) -> None:
    """MLflow's own store was on the machine that ran it."""
    assert {trial.status for trial in states(spec).values()} <= {"COMPLETE", "PRUNED", "FAILED"}
    assert (folder_of(spec).best / "model.safetensors").is_file()


def test_two_machines_on_one_bucket_the_one_that_was_there_before_leaves(
    tmp_path: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not promised beside a SQLite record; but what one wrote the other does not overwrite."""
    uri = object_store.new_bucket()
    file, spec = write(tmp_path / "f.yaml", "twice", uri)  # type: ignore[arg-type]
    run = ("run", str(file), "--resume-if-exists", "--quiet")
    with driver(*run, moment="after epoch", count=4) as first:
        wait_until(lambda: epochs(spec) >= 4, PATIENCE_SECONDS)
        another_machine(monkeypatch, 2)
        code, out, err = here(*run)
        assert code == 0, out + err
        before = Bucket(uri).get_bytes("twice/results.json")
        first.send_signal(signal.SIGCONT)
        code, out, err = ended(first)
    assert code == 1 and "was taken over by another machine" in one_line(err), out + err
    assert Bucket(uri).get_bytes("twice/results.json") == before
    check_agreement(spec)
