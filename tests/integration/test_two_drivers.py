"""Two drivers never own one sweep: a lock on one machine, a fenced lease in PostgreSQL."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from raysel.mlflow_sync.process import EVENTS_CURSOR
from raysel.record import ownership
from raysel.record.layout import tracking_uri
from raysel.record.read_only import is_behind
from raysel.record.state import fold_sweep

from .drivers import (
    ATTEMPT_SECONDS,
    check_agreement,
    driver,
    ended,
    epochs,
    events_of,
    here,
    is_frozen,
    live,
    one_line,
    record_url,
    rows,
    same,
    states,
    wait_until,
    write,
    writers_of,
)

pytestmark = pytest.mark.ray

LEASE = 3.0


@pytest.fixture(autouse=True)
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "LEASE_SECONDS", LEASE)


def names_holder(line: str, holder: subprocess.Popen[str], name: str) -> bool:
    who = rf"process {holder.pid} on \S+ since \d\d:\d\d"
    way_on = rf"stop it with: raysel stop {name}( --storage \S+)?"
    return bool(re.fullmatch(rf"error  {name}: is run by {who}; {way_on}", line))


# --- SQLite, one machine -------------------------------------------------------------------------


def test_b14_a_second_driver_leaves_and_the_first_goes_on_undisturbed(
    tmp_path: Path, storage: Path, tiny_reference: list[object]
) -> None:
    file, spec = write(tmp_path / "f.yaml", "first", storage)
    with driver("run", str(file), "--quiet", moment="after epoch", count=4) as first:
        wait_until(lambda: is_frozen(first))  # it holds the sweep for as long as is wanted
        for arguments in (["run", str(file), "--resume-if-exists"], ["run", str(file)]):
            code, _, err = here(*arguments, "--quiet")
            assert code == 1 and names_holder(one_line(err), first, "first"), err
        code, _, err = here("resume", "first", "--storage", str(storage), "--from-backup")
        assert code == 1 and names_holder(one_line(err), first, "first"), err
        first.send_signal(signal.SIGCONT)
        assert ended(first)[0] == 0
    assert same(spec, tiny_reference)


@pytest.mark.slow
def test_after_the_death_of_the_first_the_second_starts_at_once(
    tmp_path: Path, storage: Path, tiny_reference: list[object]
) -> None:
    file, spec = write(tmp_path / "f.yaml", "heir", storage)
    with driver("run", str(file), "--quiet") as first:
        wait_until(lambda: epochs(spec) >= 2)
        first.send_signal(signal.SIGKILL)
        first.wait()
    code, out, err = here("resume", "heir", "--storage", str(storage), "--quiet")
    assert code == 0, out + err
    assert same(spec, tiny_reference)


# --- PostgreSQL ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_whole_sweep_with_its_record_in_postgresql(
    tmp_path: Path, storage: Path, record: str, tiny_reference: list[object]
) -> None:
    file, spec = write(tmp_path / "f.yaml", "served", storage, database_url=record)
    code, out, err = here("run", str(file), "--quiet")
    assert code == 0, out + err
    assert same(spec, tiny_reference)
    assert not (storage / "served" / "sweep.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("hosts", ["one", "two"])
def test_b25_of_two_drivers_started_at_once_exactly_one_goes_on(
    tmp_path: Path, storage: Path, record: str, hosts: str, tiny_reference: list[object]
) -> None:
    """Two pods of one job: each with a folder of its own, or both with one."""
    name = f"at-once-{hosts}"
    places = [storage, storage if hosts == "one" else tmp_path / "other"]
    files = []
    for number, place in enumerate(places):
        tracking = f"sqlite:///{storage}/mlflow.db"
        at = tmp_path / f"{number}.yaml"
        files.append(write(at, name, place, database_url=record, **{"tracking.uri": tracking}))
    arguments = [("run", str(file), "--resume-if-exists", "--quiet") for file, _ in files]
    with driver(*arguments[0], lease=LEASE) as one, driver(*arguments[1], lease=LEASE) as two:
        wait_until(lambda: one.poll() is not None or two.poll() is not None, ATTEMPT_SECONDS)
        loser, winner = (one, two) if one.poll() is not None else (two, one)
        spec = files[0 if winner is one else 1][1]  # its folder has Optuna's study
        code, _, err = ended(loser)
        assert code == 1 and names_holder(one_line(err), winner, name), err
        code, out, err = ended(winner)
        assert code == 0, out + err
    assert same(spec, tiny_reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "count"),
    [
        ("before epoch", 5),
        ("after epoch", 4),
        ("after ask", 2),
    ],
)
def test_a_driver_that_wakes_after_its_lease_writes_nothing_more(
    tmp_path: Path,
    storage: Path,
    record: str,
    moment: str,
    count: int,
    tiny_reference: list[object],
) -> None:
    name = f"frozen-{moment.replace(' ', '-')}"
    own = {"database_url": record, "tracking.uri": f"sqlite:///{tmp_path}/mlflow.db"}
    file, spec = write(tmp_path / "f.yaml", name, storage, **own)
    run = ("run", str(file), "--resume-if-exists", "--quiet")
    with driver(*run, moment=moment, count=count, lease=LEASE) as frozen:
        wait_until(lambda: is_frozen(frozen))
        (writer,) = writers_of(frozen)
        # not while it makes MLflow's tables, or writes to them: SQLite would stay locked
        wait_until(lambda: not is_behind(record_url(spec), EVENTS_CURSOR))
        writer.suspend()
        before = len(events_of(spec))
        code, out, err = here("resume", name, "--storage", str(storage), "--quiet")
        assert code == 0, out + err
        assert len(events_of(spec)) > before
        assert same(spec, tiny_reference)
        left = rows(record_url(spec)), rows(tracking_uri(spec))
        results = (storage / name / "results.json").read_bytes()
        frozen.send_signal(signal.SIGCONT)
        writer.resume()
        code, _, err = ended(frozen, 60)
        assert code == 1
        assert "was taken over by another process; this one writes nothing more" in one_line(err)
        wait_until(lambda: not writer.is_running())
    assert (rows(record_url(spec)), rows(tracking_uri(spec))) == left
    assert (storage / name / "results.json").read_bytes() == results


@pytest.mark.slow
def test_a_lease_that_is_kept_is_not_taken(tmp_path: Path, storage: Path, record: str) -> None:
    """The holder lives and beats: nobody gets in, however long he waits."""
    file, spec = write(tmp_path / "f.yaml", "kept", storage, database_url=record)
    with driver("run", str(file), "--quiet", lease=LEASE) as first:
        wait_until(lambda: epochs(spec) >= 1)
        code, _, err = here("resume", "kept", "--storage", str(storage))
        assert code == 1 and names_holder(one_line(err), first, "kept"), err
        assert ended(first)[0] == 0
    check_agreement(spec)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["sqlite", "postgresql"])
def test_stop_from_another_process_ends_it_in_order(
    tmp_path: Path, storage: Path, place: str, request: pytest.FixtureRequest
) -> None:
    record = request.getfixturevalue("record") if place == "postgresql" else None
    more = {"database_url": record} if record else {}
    file, spec = write(tmp_path / "f.yaml", f"stopped-{place}", storage, **more)
    with driver("run", str(file), "--quiet", lease=LEASE) as first:
        wait_until(lambda: epochs(spec) >= 2)
        code, out, err = here("stop", spec.name, "--storage", str(storage))
        assert code == 0 and "go on with: raysel resume" in out, out + err
        assert ended(first, 30)[0] == 130
    assert fold_sweep(events_of(spec)).status == "INTERRUPTED"
    assert "RUNNING" not in {t.status for t in states(spec).values()}
    code, out, err = here("resume", spec.name, "--storage", str(storage), "--quiet")
    assert code == 0, out + err
    check_agreement(spec)


@pytest.mark.slow
def test_stop_reaches_another_machine_through_the_lease(
    tmp_path: Path, storage: Path, record: str
) -> None:
    """Its pid means nothing here: the wish travels in the database."""
    import sqlalchemy as sa

    from raysel.record.ownership import ask_to_stop

    file, spec = write(tmp_path / "f.yaml", "far", storage, database_url=record)
    with driver("run", str(file), "--quiet", lease=LEASE) as first:
        wait_until(lambda: epochs(spec) >= 1)
        engine = sa.create_engine(record_url(spec))
        ask_to_stop(engine)
        engine.dispose()
        assert ended(first, 60)[0] == 130
    cause = {event.payload.get("cause") for event in events_of(spec) if event.kind == "finished"}
    assert cause == {"stopped by raysel stop"}


@pytest.mark.slow
def test_b25_a_lost_head_is_replaced_with_nothing_lost_or_twice(
    tmp_path: Path, storage: Path, record: str, tiny_reference: list[object]
) -> None:
    """Folder, checkpoints and driver are gone; the record in PostgreSQL is all that is left."""
    more = {"database_url": record, "tracking.uri": f"sqlite:///{storage}/mlflow.db"}
    file, spec = write(tmp_path / "f.yaml", "lost-head", tmp_path / "head-1", **more)
    code, _, _ = live("run", str(file), "--quiet", action="die", moment="after epoch", count=5)
    assert code == -signal.SIGKILL
    wait_until(lambda: not alive_writers(tmp_path / "head-1"))
    before = {e.trial: e for e in events_of(spec) if e.kind == "ended"}
    assert before
    file, spec = write(tmp_path / "f.yaml", "lost-head", tmp_path / "head-2", **more)
    for _ in range(2):  # and once more: a job that is retried after its end changes nothing
        code, out, err = here("run", str(file), "--resume-if-exists", "--quiet")
        assert code == 0, out + err
        assert same(spec, tiny_reference)
    after = {e.trial: e for e in events_of(spec) if e.kind == "ended"}
    assert {name: after[name] for name in before} == before


def alive_writers(folder: Path) -> bool:
    import psutil

    return any(
        str(folder) in " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])
    )


# --- the server is restarted ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [False, True], ids=["in order", "crash"])
def test_a_restart_of_postgresql_in_mid_sweep_costs_nothing(
    tmp_path: Path,
    storage: Path,
    postgres,
    record: str,
    at_once: bool,
    tiny_reference: list[object],
) -> None:
    file, spec = write(tmp_path / "f.yaml", f"restarted-{at_once}", storage, database_url=record)
    with driver("run", str(file), "--quiet") as process:
        for count in (2, 8):
            wait_until(lambda count=count: epochs(spec) >= count)
            postgres.stop(at_once)
            time.sleep(2.0)
            postgres.start()
        code, out, err = ended(process)
        assert code == 0, out + err
    assert same(spec, tiny_reference)
