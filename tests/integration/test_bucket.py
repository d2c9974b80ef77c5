"""A bucket on a real S3 endpoint: objects, checkpoints in it, and the copy of a sweep's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raysel.common.errors import OperationalError
from raysel.common.object_store import Bucket
from raysel.record.event_log import EventLog
from raysel.record.events import SWEEP, Kind, Record, sqlite_url
from raysel.record.layout import SweepFolder, write_whole
from raysel.record.read_only import read_events
from raysel.search.validate import check
from raysel.spec.reader import parse
from raysel.sweep.replica import BucketReplica, fetch
from raysel.sweep.views import names
from raysel.training.checkpoint import InBucket

from .conftest import SMALL
from .object_store import ObjectStore


@pytest.fixture
def storage_uri(object_store: ObjectStore) -> str:
    return object_store.new_bucket()


@pytest.fixture
def bucket(storage_uri: str) -> Bucket:
    return Bucket(storage_uri)


# --- objects -------------------------------------------------------------------------------------


def test_what_is_put_is_got_listed_and_deleted(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one" * 1000)
    bucket.put(tmp_path / "a", "x/y/a")
    bucket.below("x").put_bytes(b"two", "b")
    assert bucket.sizes() == {"x/y/a": 3000, "x/b": 3}
    bucket.get("x/y/a", tmp_path / "deep" / "c")
    assert (tmp_path / "deep" / "c").read_bytes() == b"one" * 1000
    assert bucket.below("x").get_bytes("b") == b"two"
    assert bucket.holding("b") == ["x"]
    assert bucket.below("x").above == bucket
    bucket.delete(["x/b", "x/never"])
    assert bucket.get_bytes("x/b") is None
    assert bucket.below("empty").sizes() == {} and bucket.below("empty").holding("b") == []


def test_a_file_that_cannot_be_got_leaves_the_one_that_is_there(
    bucket: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"here")
    with pytest.raises(FileNotFoundError):
        bucket.get("nothing", tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"here"


# --- checkpoints ---------------------------------------------------------------------------------


def state(epoch: int) -> dict[str, object]:
    return {"epoch": epoch, "weight": torch.full((8,), float(epoch))}


def test_the_newest_checkpoint_and_the_one_before_are_kept(bucket: Bucket) -> None:
    kept = InBucket(bucket)
    assert kept.newest() == (None, None)
    for epoch in (1, 2, 3):
        kept.save(state(epoch))
    assert sorted(bucket.sizes()) == ["checkpoint-000002.pt", "checkpoint-000003.pt"]
    newest, damage = kept.newest()
    assert newest is not None and damage is None
    assert newest["epoch"] == 3 and torch.equal(newest["weight"], torch.full((8,), 3.0))
    kept.save(state(1))  # another trial of that name, begun anew
    assert sorted(bucket.sizes()) == ["checkpoint-000001.pt"]
    kept.remove()
    assert bucket.sizes() == {}


def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_taken(bucket: Bucket) -> None:
    kept = InBucket(bucket)
    kept.save(state(1))
    kept.save(state(2))
    whole = bucket.get_bytes("checkpoint-000002.pt")
    assert whole is not None
    for damaged in (
        whole[: len(whole) // 2],
        whole.replace(b"\x00\x00\x00\x40", b"\x00\x00\x01\x40"),
    ):
        assert damaged != whole
        bucket.put_bytes(damaged, "checkpoint-000002.pt")
        newest, damage = kept.newest()
        assert newest is not None and newest["epoch"] == 1
        assert damage is not None and "checkpoint-000002.pt is damaged" in damage


# --- the copy of a folder ------------------------------------------------------------------------


def machine(monkeypatch: pytest.MonkeyPatch, cache: Path, uri: str) -> SweepFolder:
    """The sweep's folder on a machine of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    folder = SweepFolder.of(uri, "small")
    folder.path.mkdir(parents=True, exist_ok=True)
    return folder


def books_of(folder: SweepFolder) -> EventLog:
    return EventLog(Record(sqlite_url(folder.record)), 1)


def events_in(folder: SweepFolder) -> list[int]:
    return [event.epoch for event in read_events(sqlite_url(folder.record))]


def test_a_fresh_machine_has_what_the_last_push_had(
    storage_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machine(monkeypatch, tmp_path / "1", storage_uri)
    event_log = books_of(first)
    event_log.write(SWEEP, Kind.SWEEP, 0, {"name": "small"})
    write_whole(first.spec, parse(SMALL).to_yaml())
    write_whole(first.best / "config.json", "{}")
    replica = BucketReplica(first, copies_record=True)
    assert names(storage_uri) == []
    replica.claim()
    replica.push()
    assert names(storage_uri) == ["small"]
    event_log.write(SWEEP, Kind.RESUMED, 2, {})  # never brought
    second = machine(monkeypatch, tmp_path / "2", storage_uri)
    assert second.path != first.path
    fetch(second)
    assert events_in(second) == [0]
    assert second.spec.read_text() == first.spec.read_text()
    assert (second.best / "config.json").read_text() == "{}"
    # it looks again: nothing is new; then something is
    replica.push()
    fetch(second)
    assert events_in(second) == [0, 2]
    # the folder that the bucket is the copy of knows more and stays as it is
    event_log.write(SWEEP, Kind.RESUMED, 3, {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "1"))
    fetch(first)
    assert events_in(first) == [0, 2, 3]
    # another machine goes on: the first writes nothing more, and learns what the other did
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "2"))
    other = BucketReplica(second, copies_record=True)
    other.claim()
    with pytest.raises(OperationalError, match="small: was taken over by another machine"):
        replica.push()
    books_of(second).write(SWEEP, Kind.RESUMED, 7, {})
    other.push()
    fetch(first)
    assert events_in(first) == [0, 2, 7]
    (aside,) = first.path.glob("sweep.db.replaced-*[0-9]")
    assert [event.epoch for event in read_events(sqlite_url(aside))] == [0, 2, 3]


def test_checkpoints_of_an_ended_trial_go_with_the_push_that_knows_of_its_end(
    storage_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machine(monkeypatch, tmp_path, storage_uri)
    assert folder.bucket is not None
    books_of(folder)
    kept = InBucket(folder.bucket.below("trials/0000"))
    kept.save(state(1))
    replica = BucketReplica(folder, copies_record=True)
    replica.claim()
    replica.discard_checkpoints("0000")
    assert kept.newest()[0] is not None
    replica.push()
    assert kept.newest() == (None, None)


@pytest.mark.slow
def test_a_bucket_that_does_not_answer_is_reported_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "s3://nowhere/sweeps?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"
    folder = machine(monkeypatch, tmp_path, uri)
    with pytest.raises(
        OperationalError, match=r"s3://nowhere/sweeps/small: cannot be used: .*NETWORK"
    ) as it:
        fetch(folder)
    assert "\n" not in str(it.value)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3:///sweeps", 'storage: "s3:///sweeps" names no bucket; give s3://bucket/folder'),
        ("s3://me:secret@bucket/sweeps", "storage: holds a password; leave credentials to"),
    ],
)
def test_an_address_is_checked_without_asking_the_store(uri: str, words: str) -> None:
    (problem,) = check(parse(SMALL, [f"storage={uri}"]))
    assert words in str(problem) and "secret" not in str(problem)
