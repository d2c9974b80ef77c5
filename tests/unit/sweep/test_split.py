import json
import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from few_kit import several
from rights_kit import refused
from session_kit import run, without_ray

from raysel.cli.main import main
from raysel.common.errors import OperationalError, UserError, user_error
from raysel.record.events import sqlite_url
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.record.state import fold_sweep
from raysel.spec.sweep import TaskSpec
from raysel.sweep import reconcile
from raysel.sweep.own_record import known_id
from raysel.sweep.reconcile import reconcile_sweep
from raysel.sweep.split import digest_of, keep_split, refuse_changed_data, refuse_other_split
from raysel.sweep.views import read_sweep
from raysel.tasks.data import Task
from raysel.tasks.load_task import load_task


@pytest.fixture(scope="module")
def task() -> Task:
    split = {"train": 30, "validation": 20, "test": 40}
    return load_task(TaskSpec.model_validate({"data": "digits", "split": split}))


@pytest.fixture
def folder(tmp_path) -> SweepFolder:
    (tmp_path / "digits").mkdir()
    return SweepFolder(tmp_path / "digits")


def test_the_indices_of_every_part_lie_in_the_sweeps_folder(task, folder):
    keep_split(folder, task)
    kept = json.loads((folder.path / "split.json").read_text())
    assert {name: len(part) for name, part in kept["parts"].items()} == {
        **{"train": 30, "validation": 20, "test": 40},
        **{"source_train": 1536, "source_validation": 171},
    }


def test_the_same_data_go_on(task, folder):
    refuse_other_split(folder, task)  # a new sweep
    keep_split(folder, task)
    refuse_other_split(folder, task)


@pytest.mark.parametrize("key", ["fingerprint", "parts"])
def test_other_data_or_another_split_do_not_go_on(task, folder, key):
    keep_split(folder, task)
    other = replace(task, record={**task.record, key: "other"})
    with pytest.raises(UserError, match=r"^task.data: the data are not those that the sweep began"):
        refuse_other_split(folder, other)


def test_changed_data_are_refused_before_a_trial_is_run_again(task, folder):
    refuse_changed_data(folder, task, "")  # an older record does not know
    refuse_changed_data(folder, task, digest_of(task.record))  # split.json is lost
    keep_split(folder, task)
    fewer = {**task.record, "examples": 1790, "fingerprint": "x", "parts": {}}
    with pytest.raises(UserError, match=r"began with \(1790 examples, 1797 then\)"):
        refuse_changed_data(folder, replace(task, record=fewer), digest_of(task.record))


def test_pictures_under_other_names_do_not_go_on(task, folder):
    named = replace(task, record={**task.record, "names": "then"})
    keep_split(folder, named)
    refuse_other_split(folder, named, digest_of(named.record))
    refuse_other_split(folder, task, digest_of(task.record))  # an older raysel's
    other = replace(task, record={**task.record, "names": "now"})
    with pytest.raises(UserError, match=r"began with \(as many pictures, under other names\)"):
        refuse_other_split(folder, other, digest_of(task.record))


def test_the_split_of_the_first_attempt_is_kept(task, folder):
    keep_split(folder, task)
    before = folder.split.read_text()
    keep_split(folder, replace(task, record={}))
    assert folder.split.read_text() == before


def test_a_damaged_split_of_an_older_sweep_is_refused_with_what_to_do(task, folder):
    folder.split.write_text("{")
    with pytest.raises(OperationalError, match=r"is damaged: .*remove it.*raysel reproduce digits"):
        refuse_other_split(folder, task)


def test_the_record_decides_where_the_file_is_another_sweeps(task, folder):
    folder.split.write_text(json.dumps({**task.record, "parts": {"train": [1]}}))
    refuse_other_split(folder, task, digest_of(task.record))
    keep_split(folder, task)
    assert json.loads(folder.split.read_text()) == json.loads(json.dumps(task.record))
    (aside,) = folder.path.glob("split.json.other-*")
    assert json.loads(aside.read_text())["parts"] == {"train": [1]}
    with pytest.raises(UserError, match="the record has another split"):
        refuse_other_split(folder, task, "another")


# --- a sweep's, by every verb that looks at it ---------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The storage of a sweep that has ended."""
    storage = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        without_ray(patched)
        best = run(storage).folder.best
    best.mkdir()  # no model is published here
    (best / "model.safetensors").write_bytes(b"weights")
    origin = {"raysel": {"sweep": known_id(SweepFolder(storage / "toy"))}}
    (best / "config.json").write_text(json.dumps(origin), encoding="utf-8")
    return storage


@pytest.fixture
def toy(finished, tmp_path, monkeypatch) -> SweepFolder:
    @contextmanager
    def away(*_):
        raise OperationalError("mlflow", "is away")
        yield "", ""

    monkeypatch.setattr(reconcile, "_mlflow", away)
    shutil.copytree(finished / "toy", tmp_path / "toy")
    return SweepFolder(tmp_path / "toy")


def cut(split: Path) -> None:
    split.write_bytes(split.read_bytes()[:200])


def emptied(split: Path) -> None:
    split.write_bytes(b"")


def piped(split: Path) -> None:
    split.unlink()
    os.mkfifo(split)


def of_another_seed(split: Path) -> None:
    split.write_text(json.dumps({**json.loads(split.read_text()), "seed": 3}))


def of_other_examples(split: Path) -> None:
    found = json.loads(split.read_text())
    found["parts"]["train"].reverse()
    split.write_text(json.dumps(found))


WRONG = {
    cut: "split.json is damaged",
    emptied: "split.json is damaged",
    piped: "split.json is damaged: it is a named pipe",
    Path.unlink: "split.json is not there",
    of_another_seed: "split.json is another sweep's: a split of digits with seed 3",
    of_other_examples: "split.json is another sweep's: it has other examples",
}


@pytest.mark.parametrize("spoil", several(1, WRONG))
def test_a_wrong_split_is_reported_and_made_again_from_the_data(
    toy: SweepFolder, spoil: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    before = toy.split.read_text()
    storage = str(toy.path.parent)
    assert read_sweep(storage, "toy").problems == []
    spoil(toy.split)
    assert main(["show", "toy", "--storage", storage]) == 0
    assert WRONG[spoil] in capsys.readouterr().out
    assert main(["report", "toy", "--storage", storage]) == 0
    assert WRONG[spoil] in capsys.readouterr().err
    for dry in (True, False):
        found = reconcile_sweep(storage, "toy", dry, close=False)
        assert [WRONG[spoil] in words for words in found.record] == [True]
        assert found.left == []
    assert toy.split.read_text() == before
    assert reconcile_sweep(storage, "toy", dry_run=True, close=False).record == []


def test_a_split_that_the_data_no_longer_give_is_said_to_be_lost(
    toy: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object, **__: object) -> Task:
        raise user_error("task.data", "there is no folder")

    toy.split.unlink()
    monkeypatch.setattr("raysel.sweep.inputs.task_of", absent)
    (left,) = reconcile_sweep(str(toy.path.parent), "toy", dry_run=False, close=False).left
    assert "needs the data, to be made again" in left
    spec = toy.spec.read_text().replace("validation: 20", "validation: 21")
    toy.spec.write_text(spec)
    monkeypatch.undo()
    monkeypatch.setattr(reconcile._Mending, "mlflow", lambda *_: None)
    (left,) = reconcile_sweep(str(toy.path.parent), "toy", dry_run=False, close=False).left
    assert "is lost: the data are not those that the sweep began with" in left
    assert not toy.split.exists()


def test_a_split_that_may_not_be_read_is_left_as_it_is(toy: SweepFolder) -> None:
    storage = str(toy.path.parent)
    with refused(toy.split):
        (problem,) = read_sweep(storage, "toy").problems
        assert "give yourself the rights" in problem
        assert "raysel reconcile" not in problem
        (left,) = reconcile_sweep(storage, "toy", dry_run=False, close=False).left
    assert "give yourself the rights" in left
    assert not list(toy.path.glob("split.json.other-*"))


def test_the_record_of_an_older_raysel_does_not_say_which_split_it_was(
    toy: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = replace(fold_sweep(read_events(sqlite_url(toy.record))), split="")
    monkeypatch.setattr(reconcile, "fold_sweep", lambda _: older)
    cut(toy.split)
    (left,) = reconcile_sweep(str(toy.path.parent), "toy", dry_run=False, close=False).left
    assert "the record of an older raysel does not say" in left
    assert "raysel reproduce toy 0" in left


def test_a_sweep_that_goes_on_has_its_split_in_the_record_from_then_on(
    toy: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    of_other_examples(toy.split)
    run(toy.path.parent)
    assert read_sweep(str(toy.path.parent), "toy").problems == []
    (digest,) = {e.payload["split"] for e in events(toy) if "split" in e.payload}
    assert digest == digest_of(json.loads(toy.split.read_text()))


def events(folder: SweepFolder):
    return read_events(sqlite_url(folder.record))


@pytest.mark.parametrize("spoil", [cut, Path.unlink])
@pytest.mark.parametrize("verb", ["reconcile", "resume"])
def test_a_lost_manifest_is_reported_and_made_again_from_the_record(
    toy: SweepFolder, verb: str, spoil: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the versions and the command of who mends it."""
    storage, before = str(toy.path.parent), json.loads(toy.manifest.read_text())
    spoil(toy.manifest)
    (problem,) = read_sweep(storage, "toy").problems
    assert "manifest.json is " in problem
    assert problem.endswith(f"to mend it: raysel reconcile toy --storage {storage}")
    monkeypatch.setattr("raysel.sweep.existing.manifest", lambda: {"command": "of another day"})
    if verb == "resume":
        without_ray(monkeypatch)
        run(toy.path.parent)
    else:
        for dry in (True, False):
            found = reconcile_sweep(storage, "toy", dry, close=False)
            assert ["manifest.json is " in words for words in found.record] == [True]
    assert json.loads(toy.manifest.read_text()) == before
