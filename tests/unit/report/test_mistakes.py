"""Pictures that are taken for another class, by hand: four runs over six examples."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from files_kit import scene
from PIL import Image
from results_kit import typed
from view_kit import FINISHED, make

from raysel.common.errors import OperationalError
from raysel.record.layout import SweepFolder
from raysel.report.mistakes import mistakes
from raysel.report.page import write_report
from raysel.report.wrong_pictures import (
    changed_pictures,
    damaged_answers,
    kept_mistakes,
    write_predictions,
    wrong_pictures,
)
from raysel.spec.reader import parse
from raysel.spec.task import TaskSpec
from raysel.sweep.split import digest_of
from raysel.tasks.datasets import open_pictures
from raysel.tasks.split_file import identity
from raysel.training.answers import Answers, write_answers
from raysel.training.confusion import write_confusion

CLASSES = ["ash", "elm", "oak"]
LABELS = [0, 0, 1, 1, 2, 2]
SAID = {
    "confirm-ours-s0": [0, 1, 1, 0, 2, 0],
    "confirm-ours-s1": [0, 2, 1, 0, 2, 0],
    "confirm-ours-s2": [0, 1, 1, 1, 2, 0],
    "confirm-full-s0": [1, 0, 1, 1, 0, 0],
}
SURE = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
RESULTS = typed(
    {
        "confirm": [
            {"strategy": "ours", "runs": [{"id": name} for name in SAID if "ours" in name]},
            {"strategy": "full", "runs": [{"id": "confirm-full-s0"}]},
        ],
        "verdict": {"winner": "ours", "against": "full", "baseline": "full"},
    }
)


def sweep(folder: Path, files: bool = True, sure: bool = True):
    """A sweep's folder with its runs' answers, and its sweep file over six pictures."""
    own = SweepFolder(folder / "a")
    places = [7, 3, 0, 5, 1, 2]  # of the test part, in the data set
    for name, said in SAID.items():
        own.trial(name).mkdir(parents=True)
        confidence = np.array(SURE, np.float32) if sure else None
        write_answers(own.trial(name), Answers(np.array(LABELS), np.array(said), None, confidence))
        write_confusion(own.trial(name), [[0] * 3] * 3, CLASSES)
    own.split.write_text(json.dumps({"parts": {"test": places}}))
    for number in range(8):
        to = folder / "data" / CLASSES[number % 3]
        to.mkdir(parents=True, exist_ok=True)
        if files:
            scene(number, 40, 30).save(to / f"{number}.png")
    data = {"folder": str(folder / "data")}
    return own, parse(
        f"name: a\ntask: {{data: {json.dumps(data)}}}\nmodel: {{name: test_resnet}}\n"
        "strategies: {ours: {strategy: full}, full: }\n"
    )


def shown(rows):
    return [(row.given, row.taken, row.wrong, row.runs, row.confidence) for row in rows]


def near(value):
    return pytest.approx(value, abs=1e-3)


def test_what_is_wrong_in_the_most_runs_comes_first_then_the_surest(tmp_path):
    found = mistakes(RESULTS, *sweep(tmp_path))
    assert (found.strategy, found.other, found.examples) == ("ours", "full", 6)
    assert shown(found.worst) == [
        ("oak", "ash", 3, 3, near(0.95)),  # example 5
        ("ash", "elm", 3, 3, near(0.6)),  # example 1: elm twice, oak once
        ("elm", "ash", 2, 3, near(0.8)),  # example 3
    ]


def test_runs_of_two_strategies_are_set_side_by_side(tmp_path):
    found = mistakes(RESULTS, *sweep(tmp_path))
    assert shown(found.only_ours) == [
        ("ash", "elm", 3, 3, near(0.6)),
        ("elm", "ash", 2, 3, near(0.8)),
    ]
    assert shown(found.only_theirs) == [
        ("oak", "ash", 1, 1, near(0.9)),
        ("ash", "elm", 1, 1, near(0.5)),
    ]
    assert shown(found.everywhere) == [("oak", "ash", 4, 4, near(0.95))]


def test_pictures_have_the_names_of_their_files(tmp_path):
    folder, spec = sweep(tmp_path)
    found = mistakes(RESULTS, folder, spec)
    # the data set: ash 0, 3, 6; elm 1, 4, 7; oak 2, 5
    assert [Path(row.picture).name for row in found.everywhere] == ["6.png"]  # place 2
    assert all(row.file for row in found.worst)


def test_without_the_data_or_the_split_they_have_numbers(tmp_path):
    folder, spec = sweep(tmp_path, files=False)
    found = mistakes(RESULTS, folder, spec)
    assert (found.everywhere[0].picture, found.everywhere[0].file) == ("data 2", False)
    folder.split.unlink()
    assert mistakes(RESULTS, folder, spec).everywhere[0].picture == "data 5"


def test_another_strategy_is_set_beside_the_baseline_and_lost_runs_are_named(tmp_path):
    folder, spec = sweep(tmp_path, sure=False)
    (folder.trial("confirm-ours-s1") / "answers.npz").write_bytes(b"no archive")
    found = mistakes(RESULTS, folder, spec, "full")
    assert (found.strategy, found.other, found.lost) == ("full", None, ("confirm-ours-s1",))
    assert found.worst[0].confidence is None
    assert mistakes(RESULTS, folder, spec).worst[0].runs == 2


def test_a_sweep_without_answers_says_so(tmp_path):
    folder, spec = sweep(tmp_path)
    for name in SAID:
        (folder.trial(name) / "answers.npz").unlink()
    with pytest.raises(OperationalError, match="has no answers of confirmed models"):
        mistakes(RESULTS, folder, spec)
    assert wrong_pictures(kept_mistakes(RESULTS, folder.path, spec)) == []


def test_damaged_answers_are_not_said_to_be_of_an_older_raysel(tmp_path):
    folder, spec = sweep(tmp_path)
    for name in SAID:
        (folder.trial(name) / "answers.npz").write_bytes(b"PK cut off")
        (folder.trial(name) / "confusion.csv").write_text("true,ash\nash,1\n", encoding="utf-8")
    with pytest.raises(OperationalError, match=r"cannot be used \(answers.npz is damaged"):
        mistakes(RESULTS, folder, spec)


def test_the_page_has_thumbnails_where_the_files_are_here(tmp_path):
    folder, spec = sweep(tmp_path)
    folder.spec.write_text(spec.to_yaml(), encoding="utf-8")
    groups = wrong_pictures(kept_mistakes(RESULTS, folder.path, spec))
    assert [len(group.pictures) for group in groups] == [3, 2, 2, 1]
    one = groups[0].pictures[0]
    text = write_report(RESULTS, folder.path).read_text("utf-8")
    encoded = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', text)
    assert len(encoded) == 8
    with Image.open(io.BytesIO(base64.b64decode(encoded[0], validate=True))) as small:
        assert small.size == (40, 30)
    assert (one.given, one.taken, one.often) == ("oak", "ash", "3 of 3 runs, 95% sure")
    for file in (tmp_path / "data").rglob("*.png"):
        file.write_bytes(b"damaged")
    assert wrong_pictures(kept_mistakes(RESULTS, folder.path, spec))[0].pictures[0].image is None


def _of_the_page(folder, spec) -> list[bytes]:
    """The pixels of the thumbnails of the first list."""
    found = wrong_pictures(kept_mistakes(RESULTS, folder.path, spec))[0].pictures
    uris = [one.image for one in found]
    assert None not in uris
    files = [io.BytesIO(base64.b64decode(uri.partition(",")[2])) for uri in uris]
    return [Image.open(file).tobytes() for file in files]


def test_pictures_within_an_archive_a_table_of_bytes_or_an_array_have_thumbnails_too(tmp_path):
    folder, spec = sweep(tmp_path)
    expected = _of_the_page(folder, spec)
    files = sorted((tmp_path / "data").rglob("*.png"))
    names = [file.relative_to(tmp_path / "data").as_posix() for file in files]
    with (
        zipfile.ZipFile(tmp_path / "data.zip", "w") as packed,
        tarfile.open(tmp_path / "data.tar", "w") as tar,
    ):
        for file, name in zip(files, names, strict=True):
            packed.write(file, name)
            tar.add(file, name)
    labels = [name.split("/")[0] for name in names]
    rows = {"image": [file.read_bytes() for file in files], "label": labels}
    pq.write_table(pa.table(rows), tmp_path / "data.parquet", row_group_size=3)
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    np.savez(tmp_path / "data.npz", x=pixels, y=[CLASSES.index(label) for label in labels])
    for name in ("data.zip", "data.tar", "data.parquet", "data.npz"):
        task = spec.task.model_copy(update={"data": TaskSpec(data=str(tmp_path / name)).data})
        assert _of_the_page(folder, spec.model_copy(update={"task": task})) == expected, name


def test_the_command_prints_lists_and_every_picture_as_csv(tmp_path, capsys, monkeypatch):
    from raysel.cli import mistakes_verb
    from raysel.sweep import views

    folder, spec = sweep(tmp_path)
    view = views.read_sweep(str(tmp_path / "s"), make(tmp_path / "s", "a", FINISHED).name)
    view = replace(view, folder=folder, spec=spec)
    monkeypatch.setattr(views, "read_results", lambda storage, name: (view, RESULTS))
    mistakes_verb.mistakes("a", most=1)
    text = capsys.readouterr().out
    assert "ours: 3 of 6 test pictures are wrong in some run" in text
    assert "and 2 more: --most 3, or --csv" in text
    mistakes_verb.mistakes("a", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["worst"][0]["picture"].endswith("6.png") and "data" not in found
    mistakes_verb.mistakes("a", as_csv=True)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["list"] for row in rows].count("worst") == 3
    assert rows[0]["class"] == "oak" and rows[0]["confidence"] == "0.9502"


def test_what_the_exported_model_says_of_each_test_picture_is_a_table(tmp_path):
    folder, spec = sweep(tmp_path)
    file = tmp_path / "predictions.csv"
    write_predictions(kept_mistakes(RESULTS, folder.path, spec), file)
    rows = list(csv.DictReader(file.open()))
    assert [(row["given"], row["predicted"]) for row in rows] == [
        (CLASSES[label], CLASSES[said])
        for label, said in zip(LABELS, SAID["confirm-ours-s0"], strict=True)
    ]
    assert [row["wrong_runs"] for row in rows] == ["0", "3", "0", "2", "0", "3"]
    assert {row["runs"] for row in rows} == {"3"}
    assert [float(row["confidence"]) for row in rows] == near(SURE)
    assert rows[0]["picture"] == str(tmp_path / "data" / "oak" / "5.png")


def test_a_table_of_answers_that_are_lost_goes(tmp_path):
    file = tmp_path / "predictions.csv"
    file.write_text("of another model")
    write_predictions(None, file)
    assert not file.exists()


def test_a_table_stays_where_answers_are_damaged_or_names_are_lost(tmp_path):
    own, spec = sweep(tmp_path)
    own.spec.write_text(spec.to_yaml())
    file = write_report(RESULTS, own.path).parent / "predictions.csv"
    before = file.read_text()
    (tmp_path / "data" / "oak" / "5.png").unlink()  # the other places are others' now
    write_report(RESULTS, own.path)
    assert file.read_text() == before
    assert damaged_answers(RESULTS, own) is None
    for name in SAID:
        (own.trial(name) / "answers.npz").write_bytes(b"PK")
    write_report(RESULTS, own.path)
    assert file.read_text() == before
    assert str(damaged_answers(RESULTS, own)).startswith(
        "answers.npz of confirm-ours-s0, confirm-ours-s1, confirm-ours-s2 and 1 more is damaged"
    )


def test_answers_that_are_gone_beside_others_are_named(tmp_path):
    own, spec = sweep(tmp_path)
    assert changed_pictures(kept_mistakes(RESULTS, own.path, spec)) is None
    first = next(iter(SAID))
    (own.trial(first) / "answers.npz").unlink()
    assert str(damaged_answers(RESULTS, own)).startswith(f"answers.npz of {first} is gone: ")
    for name in SAID:
        (own.trial(name) / "answers.npz").unlink(missing_ok=True)
    assert damaged_answers(RESULTS, own) is None  # an older raysel kept none


def test_pictures_of_changed_data_are_said_to_have_no_names(tmp_path):
    own, spec = sweep(tmp_path)
    (tmp_path / "data" / "oak" / "5.png").unlink()
    assert "have changed since the sweep" in str(
        changed_pictures(kept_mistakes(RESULTS, own.path, spec))
    )


def test_the_pictures_are_looked_at_once_for_a_report(tmp_path, capsys, monkeypatch):
    from raysel.cli.main import main
    from raysel.report import mistakes as module
    from raysel.sweep import views

    own, spec = sweep(tmp_path)
    own.spec.write_text(spec.to_yaml())
    (tmp_path / "data" / "oak" / "5.png").unlink()
    view = views.read_sweep(str(tmp_path / "s"), make(tmp_path / "s", "a", FINISHED).name)
    view = replace(view, folder=own, spec=spec)
    monkeypatch.setattr(views, "read_results", lambda storage, name: (view, RESULTS))
    opened = []
    monkeypatch.setattr(
        module, "open_pictures", lambda task: opened.append(open_pictures(task)) or opened[-1]
    )
    assert main(["report", "a"]) == 0
    assert "have changed since the sweep" in capsys.readouterr().err
    assert len(opened) == 1


def test_the_classes_have_their_names_from_any_run(tmp_path):
    own, spec = sweep(tmp_path)
    for name in list(SAID)[:-1]:
        (own.trial(name) / "confusion.csv").unlink()
    assert {row.given for row in mistakes(RESULTS, own, spec).worst} <= set(CLASSES)
    (own.trial("confirm-full-s0") / "confusion.csv").unlink()
    assert {row.given for row in mistakes(RESULTS, own, spec).worst} <= set(CLASSES)
    shutil.rmtree(tmp_path / "data")
    assert {row.given for row in mistakes(RESULTS, own, spec).worst} == {"0", "1", "2"}


def test_pictures_of_changed_data_or_another_split_have_no_names(tmp_path):
    own, spec = sweep(tmp_path)
    data = open_pictures(spec.task)
    record = json.loads(own.split.read_text())
    whole = record | identity(data.labels, data.classes, data.names)
    own.split.write_text(json.dumps(whole))
    own_results = RESULTS.model_copy(update={"split": digest_of(whole)})
    assert mistakes(own_results, own, spec).unnamed is None
    scene(9, 40, 30).save(tmp_path / "data" / "ash" / "new.png")
    unnamed = mistakes(own_results, own, spec).unnamed
    assert unnamed == "the data of data have changed since the sweep: 9 examples, 8 then"
    (tmp_path / "data" / "ash" / "new.png").unlink()
    (tmp_path / "data" / "ash" / "0.png").rename(tmp_path / "data" / "ash" / "9.png")
    unnamed = mistakes(own_results, own, spec).unnamed
    assert str(unnamed).endswith("as many pictures, under other names")
    other = RESULTS.model_copy(update={"split": "of another"})
    assert "is another split's: raysel reconcile" in str(mistakes(other, own, spec).unnamed)


def test_answers_whose_folders_are_gone_are_said_to_be_gone(tmp_path):
    own, spec = sweep(tmp_path)
    for name in SAID:
        shutil.rmtree(own.trial(name))
    with pytest.raises(OperationalError, match=r"are gone from .*; a new sweep of its file"):
        mistakes(RESULTS, own, spec)


def test_pictures_without_their_names_are_explained(tmp_path):
    own, spec = sweep(tmp_path)
    assert mistakes(RESULTS, own, spec).unnamed is None
    record = json.loads(own.split.read_text())
    record["parts"]["test"] = record["parts"]["test"][1:]
    own.split.write_text(json.dumps(record))
    assert "is another split's (its test part has" in str(mistakes(RESULTS, own, spec).unnamed)
    own.split.unlink()
    found = mistakes(RESULTS, own, spec)
    assert not any(row.file for row in found.worst)
    assert found.unnamed is not None
    assert found.unnamed.endswith(f"raysel reconcile a --storage {tmp_path} writes it again")
