"""`raysel predict` by the command line: validation's answers, as table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exported_kit import exported, validated
from files_kit import write_pictures

from raysel.cli.main import main
from raysel.export.prediction import Predictor
from raysel.tasks.datasets import open_pictures


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("data")
    write_pictures(folder / "pictures", 8)
    return exported(folder / "pictures", folder / "model", "test_resnet")


def files_of(out: SimpleNamespace) -> list[Path]:
    """The validation part's, in the order of `validated`."""
    sources = open_pictures(out.spec.task).sources
    return [Path(sources[int(index)]) for index in out.task.validation.indices]


def asked(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["predict", *arguments])
    return code, *capsys.readouterr()


def test_the_probabilities_are_those_of_validation(out, capsys):
    files, count = files_of(out), len(out.task.classes)
    code, text, _ = asked(
        capsys, str(out.folder), *map(str, files), "--json", "--top", str(count + 5)
    )
    assert code == 0
    rows = json.loads(text)["pictures"]
    assert [row["file"] for row in rows] == [str(file) for file in files]
    wanted = validated(out).softmax(1).numpy()
    for row, probabilities in zip(rows, wanted, strict=True):
        by_name = {one["name"]: one["probability"] for one in row["classes"]}
        found = [by_name[name] for name in out.task.classes]
        np.testing.assert_allclose(found, probabilities, atol=1e-4)
        assert row["classes"][0]["name"] == out.task.classes[int(np.argmax(probabilities))]


@pytest.mark.slow
def test_many_batches_and_half_batches_say_the_same(out, monkeypatch):
    monkeypatch.setattr("raysel.export.prediction._BATCH", 3)
    predictor, files = Predictor(out.folder), files_of(out)
    one_by_one = [row for file in files for row in predictor.predict([file], 1)]
    together = list(predictor.predict(files, 1))
    assert [row.file for row in together] == files
    assert [row.classes for row in together] == [row.classes for row in one_by_one]
    model = predictor._model

    def small(inputs: torch.Tensor) -> torch.Tensor:
        if len(inputs) > 1:
            raise torch.OutOfMemoryError("too many")
        return model(inputs)

    predictor._model = small
    assert [row.classes for row in predictor.predict(files, 1)] == [r.classes for r in together]


def test_what_cannot_be_read_is_a_row_with_its_reason_and_exit_1(out, capsys, tmp_path):
    (tmp_path / "bad.jpg").write_text("nothing")
    good = str(files_of(out)[0])
    code, text, errors = asked(
        capsys, str(out.folder), str(tmp_path / "bad.jpg"), good, "--csv", "--top", "1"
    )
    assert code == 1
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["file"] for row in rows] == [str(tmp_path / "bad.jpg"), good]
    assert rows[0]["class1"] == "" and "cannot identify image file" in rows[0]["problem"]
    assert rows[1]["class1"] in out.task.classes and rows[1]["problem"] == ""
    assert "1 of 2 files cannot be read" in errors


def test_folders_with_a_class_name_are_compared(out, capsys):
    files = files_of(out)
    folders = {file.parent.name for file in files}
    assert folders <= set(out.task.classes)
    right = validated(out).argmax(1).tolist()
    given = [out.task.classes.index(file.parent.name) for file in files]
    wrong = sum(a != b for a, b in zip(right, given, strict=True))
    _, text, _ = asked(capsys, str(out.folder), *map(str, files), "--json")
    assert json.loads(text)["folders"] == {"pictures": len(files), "wrong": wrong}


def test_the_table_is_for_reading(out, capsys):
    code, text, _ = asked(capsys, str(out.folder), str(files_of(out)[0]))
    assert code == 0
    assert text.splitlines()[0].split() == ["picture", "class", "then"]
    assert "%" in text.splitlines()[1]


def test_a_damaged_model_and_no_model_are_one_line(out, capsys, tmp_path):
    picture = str(files_of(out)[0])
    code, _, errors = asked(capsys, str(tmp_path), picture)
    assert (code, errors.count("\n")) == (2, 1)
    assert "is no sweep's name" in errors
    model = tmp_path / "model"
    model.mkdir()
    for file in out.folder.iterdir():
        if file.is_file():
            (model / file.name).write_bytes(file.read_bytes())
    (model / "model.safetensors").write_bytes(b"")
    code, _, errors = asked(capsys, str(model), picture)
    assert (code, errors.count("\n")) == (1, 1)
    assert "model.safetensors is empty" in errors


def test_csv_and_json_together_are_refused(out, capsys):
    code, _, errors = asked(capsys, str(out.folder), "x.jpg", "--csv", "--json")
    assert code == 2 and "--csv: give it or --json, not both" in errors
