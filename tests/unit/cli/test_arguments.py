"""How the verbs read sweep files."""

from __future__ import annotations

import json

from raysel.cli.main import main


def test_a_value_of_the_command_line_that_an_arm_has_of_its_own_is_named(tmp_path, capsys):
    """Else a person believes that it was tried, and compares runs that are the same."""
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: a\ntask: {data: digits}\nmodel: {name: test_resnet}\n"
        "strategies: {full: {training: {epochs: 3}}, linear_probe: }\n"
    )
    note = "--set training.epochs: full has its own (--set strategies.full.training.epochs=5)"
    for name, axes in (("sweep", ""), ("suite", "axes: {training.shots: [1, 2]}\n")):
        (tmp_path / name).write_text(file.read_text() + axes)
        assert main(["validate", str(tmp_path / name), "--set", "training.epochs=5", "--json"]) == 0
        said = capsys.readouterr()
        assert said.err.count(note) == 1 and json.loads(said.out)
    assert main(["validate", str(file), "--set", "training.batch_size=5", "--json"]) == 0
    assert "has its own" not in capsys.readouterr().err


def test_a_value_of_the_command_line_that_a_paper_gives_an_arm_is_named(tmp_path, capsys):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: a\ntask: {data: digits}\nmodel: {name: test_resnet}\n"
        "strategies: {full: , linear_probe: {training: published}}\n"
    )
    assert main(["validate", str(file), "--set", "training.learning_rate=0.1"]) == 0
    note = "--set training.learning_rate: linear_probe has its own (training: published)"
    assert capsys.readouterr().err.count(note) == 1
    assert main(["validate", str(file), "--set", "training.epochs=2"]) == 0
    assert "has its own" not in capsys.readouterr().err, "no paper gives it"
