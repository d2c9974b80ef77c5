"""What a storage folder can do without."""

import pytest
from rights_kit import refused
from view_kit import FINISHED, ended, make, started

from raysel.cli.main import main
from raysel.common.errors import UserError
from raysel.record.ownership import FileOwner
from raysel.sweep.gc import leftovers, remove, sweep_to_remove


def put(folder, path, count=1000):
    file = folder.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * count)
    return file


@pytest.fixture
def complete(tmp_path):
    folder = make(tmp_path, "done", started("0000", 0), ended("0000", "COMPLETE", 0.5), FINISHED)
    put(folder, "tune/search-1/state.json")
    put(folder, "trials/0000/checkpoint.pt")
    put(folder, "trials/0000/trace/epoch-0001.parquet")
    put(folder, "best/model.safetensors")
    put(folder, "../.cache/source/abc.safetensors", 5000)
    put(folder, "../.cache/plan/abc.json")  # is not made again
    return folder


def test_what_a_finished_sweep_leaves_is_freed_and_its_results_stay(tmp_path, complete):
    found = leftovers(str(tmp_path))
    assert found.bytes == 1000 + 1000 + 5000
    assert remove(found.found) == []
    assert not (complete.path / "tune").exists()
    assert not (complete.path / "trials/0000/checkpoint.pt").exists()
    assert (complete.path / "trials/0000/trace/epoch-0001.parquet").is_file()
    assert (complete.path / "best/model.safetensors").is_file()
    assert (tmp_path / ".cache/plan/abc.json").is_file()
    assert leftovers(str(tmp_path)).bytes == 0


def test_checkpoints_that_a_resume_needs_stay(tmp_path):
    folder = make(
        tmp_path, "left", started("0000", 0), ended("0000", "PRUNED", 0.5), started("0001", 1)
    )
    gone = [
        put(folder, "trials/0000/checkpoint.pt"),  # of a trial that has ended
        put(folder, "trials/0009/checkpoint.pt"),  # of one that nobody knows
        put(folder, "trials/0001/.checkpoint.pt.123"),  # half-written
    ]
    kept = [
        put(folder, "trials/0001/checkpoint.pt"),
        put(folder, "trials/0001/checkpoint.previous.pt"),
    ]
    remove(leftovers(str(tmp_path)).found)
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


def test_a_running_sweep_keeps_everything_and_the_caches(tmp_path, complete):
    folder = make(tmp_path, "busy", started("0000", 0))
    kept = [put(folder, "tune/search-1/state.json"), put(folder, "trials/0009/checkpoint.pt")]
    owner = FileOwner(folder.lock, "busy")
    try:
        found = leftovers(str(tmp_path))
        with pytest.raises(UserError, match="raysel stop busy"):
            sweep_to_remove(str(tmp_path), "busy")
    finally:
        owner.release()
    assert any("busy" in line for line in found.kept)
    assert any(".cache" in line for line in found.kept)
    remove(found.found)
    assert all(path.exists() for path in kept)
    assert (tmp_path / ".cache/source/abc.safetensors").exists()
    assert not (complete.path / "tune").exists()  # the other one is cleared all the same


def test_a_sweep_that_cannot_be_read_is_left_alone(tmp_path):
    folder = make(tmp_path, "torn")
    file = put(folder, "trials/0000/checkpoint.pt")
    put(folder, "../.cache/source/abc.safetensors")  # it may run elsewhere and need it
    folder.record.write_bytes(b"noise" * 100)
    found = leftovers(str(tmp_path))
    assert found.found == () and "torn" in found.kept[0] and ".cache" in found.kept[1]
    assert file.exists()


def test_a_sweep_is_removed_whole_and_no_other(tmp_path, complete):
    make(tmp_path, "other", FINISHED)
    item = sweep_to_remove(str(tmp_path), "done")
    assert item.bytes >= 4000
    assert remove([item]) == []
    assert not complete.path.exists() and (tmp_path / "other").is_dir()
    assert (tmp_path / ".cache").is_dir()


def test_a_damaged_sweep_can_be_removed(tmp_path):
    folder = make(tmp_path, "torn")
    folder.spec.write_text("name: [", encoding="utf-8")
    remove([sweep_to_remove(str(tmp_path), "torn")])
    assert not folder.path.exists()


@pytest.mark.parametrize("place", ["..", ".", "trials/0000"])
def test_a_sweep_that_cannot_go_whole_stays_whole(tmp_path, complete, place, capsys):
    """Another user's folder in it, say: half a sweep would be none."""
    before = sorted(complete.path.rglob("*"))
    with refused(complete.path / place, 0o500):
        code = main(["rm", "done", "--storage", str(tmp_path), "--yes"])
    *_, problem, freed = capsys.readouterr().out.splitlines()
    assert (code, freed) == (1, "0.0 MB freed")
    assert "cannot be removed (permission denied): " in problem
    assert problem.endswith("nothing of it was removed")
    assert set(before) <= set(complete.path.rglob("*"))  # and a lock


def test_what_was_started_while_a_person_was_asked_stays(tmp_path, complete):
    items = [*leftovers(str(tmp_path)).found, sweep_to_remove(str(tmp_path), "done")]
    owner = FileOwner(complete.lock, "done")  # as a resume does
    try:
        problems = remove(items)
    finally:
        owner.release()
    assert len(problems) == len(items) == 4
    assert all("stays; done: is run by process" in line for line in problems)
    assert (complete.path / "tune").is_dir() and complete.spec.is_file()
    assert (tmp_path / ".cache/source/abc.safetensors").is_file()


@pytest.mark.parametrize("linked", [".cache", "done/trials", "done/tune"])
def test_nothing_behind_a_link_is_freed(tmp_path, complete, linked):
    link, elsewhere = tmp_path / linked, tmp_path.parent / f"{tmp_path.name}-elsewhere"
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    there = sorted(elsewhere.rglob("*"))
    remove(leftovers(str(tmp_path)).found)
    assert sorted(elsewhere.rglob("*")) == there
