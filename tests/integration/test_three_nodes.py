"""A sweep on three nodes: trials on all of them, and a node that is lost in the middle."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raysel.record.layout import SweepFolder
from raysel.record.state import TrialState
from raysel.spec.sweep import Spec
from raysel.sweep.replica import fetch

from .drivers import check_agreement, driver, ended, epochs, events_of, here, one_line, wait_until
from .object_store import ObjectStore
from .puppet import puppet
from .three_nodes import ThreeNodes, three_nodes, why_not_hidden

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(600)]

TRIALS, EPOCHS = 6, 6

LOGS = """
with (HERE / "ran").open("a") as log:  # the node's raylet is a worker's parent
    log.write(f"{os.getppid()} {number} {epoch}\\n")
time.sleep(0.4)
"""

Ran = list[tuple[int, float, int]]
"""What was run, in order: the node's raylet, the trial's number in [0, 1], the epoch."""


def slow_sweep(folder: Path, storage: Path | str, name: str, *overrides: str) -> Spec:
    folder.mkdir(exist_ok=True)
    more = (f"search.num_trials={TRIALS}", f"training.epochs={EPOCHS}")
    more += ("resources.max_concurrent_trials=3", *overrides)
    spec = puppet(folder, storage, name, LOGS, *more)  # type: ignore[arg-type]
    (folder / f"{name}.yaml").write_text(spec.to_yaml(), encoding="utf-8")
    return spec


def ran(folder: Path) -> Ran:
    if not (folder / "ran").exists():
        return []
    lines = (line.split() for line in (folder / "ran").read_text().splitlines())
    return [(int(raylet), float(number), int(epoch)) for raylet, number, epoch in lines]


@contextmanager
def running(cluster: ThreeNodes, folder: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    file = str(folder / f"{name}.yaml")
    with driver("run", file, "--resume-if-exists", **cluster.environment) as process:
        yield process


def lose_a_node_in_mid_trial(cluster: ThreeNodes, folder: Path) -> tuple[int, float, int]:
    """A node goes that has run some epochs of a trial, and not its last: the last line of it."""
    others = cluster.raylets[1:]

    def amid() -> tuple[int, float, int] | None:
        last = {line[0]: line for line in ran(folder)}
        found = [line for raylet, line in last.items() if raylet in others and line[2] in (3, 4)]
        return found[-1] if found else None

    wait_until(lambda: amid() is not None, 240)
    line = amid()
    assert line is not None
    cluster.lose(line[0])
    return line


def check(spec: Spec, cluster: ThreeNodes, folder: Path) -> dict[str, TrialState]:
    """Everything is there once, ran on all nodes, and its traces lie with the driver."""
    trials = check_agreement(spec, TRIALS)
    assert {raylet for raylet, _, _ in ran(folder)} == set(cluster.raylets)
    for trial in trials.values():
        assert trial.status == "COMPLETE"
        assert [row["epoch"] for row in trial.epochs] == list(range(1, EPOCHS + 1))
        parts = sorted(Path(spec.storage, spec.name, "trials", trial.id, "trace").iterdir())
        assert [part.name for part in parts] == [
            f"epoch-{epoch:04d}.parquet" for epoch in range(1, EPOCHS + 1)
        ]
    assert (Path(spec.storage) / spec.name / "best" / "model.safetensors").is_file()
    return trials


def elsewhere(folder: Path, lost: tuple[int, float, int]) -> list[int]:
    """The epochs that the lost trial ran on another node, of its first try in the search."""
    raylet, number, _ = lost
    later = [line for line in ran(folder) if line[1] == number]
    after = later[max(i for i, line in enumerate(later) if line[0] == raylet) + 1 :]
    return [epoch for _, _, epoch in after]


def test_trials_of_a_lost_node_go_on_elsewhere_from_their_checkpoints(tmp_path: Path) -> None:
    folder, storage = tmp_path / "own", tmp_path / "storage"
    spec = slow_sweep(folder, storage, "shared")
    with three_nodes() as cluster, running(cluster, folder, "shared") as process:
        lost = lose_a_node_in_mid_trial(cluster, folder)
        before = [event for event in events_of(spec) if event.kind == "ended"]
        code, out, err = ended(process)
        assert code == 0, out + err
        assert "do not see" not in out and "lost its worker; it goes on with another" in out, out
        trials = check(spec, cluster, folder)
        first = elsewhere(folder, lost)[0]
        assert first in (lost[2], lost[2] + 1)  # its last epoch may not have been written
    now = events_of(spec)
    assert all(event in now for event in before)
    (name,) = [t.id for t in trials.values() if t.searched["number"] == lost[1] and t.id.isdigit()]
    code, out, err = here("reproduce", "shared", name, "--storage", str(storage))
    assert code == 0 and "identical" in out, out + err


def test_without_a_shared_folder_they_begin_anew_and_a_person_is_warned(tmp_path: Path) -> None:
    if reason := why_not_hidden():
        pytest.skip(f"a node cannot have a folder of its own here: {reason}")
    folder, storage = tmp_path / "own", tmp_path / "storage"
    storage.mkdir()
    spec = slow_sweep(folder, storage, "apart")
    with three_nodes(hidden=storage) as cluster, running(cluster, folder, "apart") as process:
        lost = lose_a_node_in_mid_trial(cluster, folder)
        code, out, err = ended(process)
        assert code == 0, out + err
        named = r"worker 127\.0\.0\.1 \(\w+\)"
        assert re.search(rf"2 of 3 nodes \({named}, {named}\) do not see {storage}", out), out
        check(spec, cluster, folder)
        assert elsewhere(folder, lost)[0] == 1
        # nothing is left on the disk of the node that lives
        (left,) = set(cluster.raylets[1:]) - {lost[0]}
        disk = Path(f"/proc/{left}/root") / storage.relative_to("/")
        assert disk.is_dir() and not list(disk.glob("apart/trials/*/checkpoint*"))


def test_a_bucket_is_a_shared_storage(
    tmp_path: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := why_not_hidden():
        pytest.skip(f"a node cannot have a folder of its own here: {reason}")
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    folder = tmp_path / "own"
    uri = object_store.new_bucket()
    spec = slow_sweep(folder, uri, "cloud")
    with three_nodes(hidden=cache) as cluster, running(cluster, folder, "cloud") as process:
        lost = lose_a_node_in_mid_trial(cluster, folder)
        code, out, err = ended(process)
        assert code == 0, out + err
        assert "do not see" not in out
        check_agreement(spec, TRIALS)
        assert {raylet for raylet, _, _ in ran(folder)} == set(cluster.raylets)
        assert elsewhere(folder, lost)[0] in (lost[2], lost[2] + 1)


def test_a_node_that_cannot_write_the_storage_stops_the_sweep_before_its_first_trial(
    tmp_path: Path,
) -> None:
    if reason := why_not_hidden():
        pytest.skip(f"a node cannot have a folder of its own here: {reason}")
    folder, storage = tmp_path / "own", tmp_path / "storage"
    storage.mkdir()
    slow_sweep(folder, storage, "sealed")
    with three_nodes(hidden=storage) as cluster:
        mounts = ["nsenter", "-m", "-t", str(cluster.raylets[2]), "mount"]
        subprocess.run([*mounts, "-o", "remount,bind,ro", str(storage)], check=True)
        with running(cluster, folder, "sealed") as process:
            code, _, err = ended(process)
    assert code == 1
    line = one_line(err)
    assert line.startswith("error  storage: node 127.0.0.1")
    assert "cannot write" in line and "Read-only file system" in line and "s3://" in line
    assert not ran(folder)


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_the_whole_cluster_is_lost_and_a_fresh_one_ends_the_sweep_once(
    tmp_path: Path,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """What a retry of a RayJob does."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "head-1"))
    folder = tmp_path / "own"
    storage = object_store.new_bucket() if place == "bucket" else tmp_path / "storage"
    spec = slow_sweep(folder, storage, f"retried_{place}")
    with three_nodes() as cluster, running(cluster, folder, spec.name) as process:
        wait_until(lambda: epochs(spec) >= 3 * EPOCHS + 2, 240)  # three have ended
        process.kill()
        cluster.lose_all()
        process.wait()
    if place == "bucket":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "head-2"))
        fetch(SweepFolder.of(spec.storage, spec.name))
    before = {event.trial: event for event in events_of(spec) if event.kind == "ended"}
    with three_nodes() as cluster:
        for _ in range(2):  # once more: a job that is retried after its end changes nothing
            with running(cluster, folder, spec.name) as process:
                code, out, err = ended(process)
                assert code == 0, out + err
            check_agreement(spec, TRIALS)
    after = {event.trial: event for event in events_of(spec) if event.kind == "ended"}
    assert before and {name: after[name] for name in before} == before
    # of each of the three trials in flight the epoch under way and one without a checkpoint; or,
    # where the copy in the bucket did not know of it yet, all
    lost_epochs = 3 * (2 if place == "folder" else EPOCHS)
    assert len(ran(folder)) <= (TRIALS + 1) * EPOCHS + lost_epochs
