"""A confirm phase or a verdict that cannot be: one line that names the nearest sense."""

from __future__ import annotations

import pytest
from PIL import Image

from raysel.cli.main import main
from raysel.search.validate import check, notes
from raysel.spec.reader import parse
from raysel.tasks.opened_task import open_task

FILE = """
name: small
task: {data: digits, shift: {kind: gaussian_noise}}
model: {name: test_resnet}
strategies: {full: , bvg_ls: }
"""

UNTIL = "until: decided, smallest_effect: 0.01"


@pytest.fixture(scope="module")
def digits():
    return open_task(parse(FILE).task)


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ("confirm={until: decided}", "confirm.smallest_effect", "0.01 is a point of test error"),
        (f"confirm={{{UNTIL}, seeds: 1}}", "confirm.splits", "begins with 3 splits or more"),
        (f"confirm={{{UNTIL}, splits: 2}}", "confirm.splits", "begins with 3 splits or more"),
        (f"confirm={{{UNTIL}, splits: 3, seeds: 2, max_runs: 5}}", "confirm.max_runs", "6 runs of"),
        ("confirm.max_runs=9", "confirm.max_runs", "no effect without confirm.until: decided"),
        ("confirm.source_seeds=6", "confirm.source_seeds", "give at most 5"),
        ("verdict.contrasts=[bvg - full]", "verdict.contrasts.0", 'did you mean "bvg_ls"?'),
        ("verdict.contrasts=[full - full]", "verdict.contrasts.0", "full against itself"),
        (
            "verdict.contrasts=[bvg_ls - full, full - bvg_ls]",
            "verdict.contrasts.1",
            "full and bvg_ls are compared by an earlier contrast",
        ),
    ],
)
def test_what_cannot_be_is_one_line(digits, change, path, words):
    (problem,) = check(parse(FILE, [change]), digits)
    assert problem.path == path
    assert words in problem.message


@pytest.mark.parametrize(("splits", "words"), [(1, "one split shows"), (2, "two splits show")])
def test_contrasts_need_more_than_two_splits(digits, splits, words):
    changes = ["verdict.contrasts=[bvg_ls - full]", f"confirm.splits={splits}"]
    (problem,) = check(parse(FILE, changes), digits)
    assert (problem.path, problem.message.startswith(words)) == ("confirm.splits", True)


def test_source_models_are_asked_for_only_where_one_is_trained(digits, tmp_path):
    changes = ["confirm.source_seeds=2", "model.weights=pretrained"]
    assert any(
        problem.path == "confirm.source_seeds" and "no source model is trained" in problem.message
        for problem in check(parse(FILE, changes), digits)
    )


@pytest.mark.parametrize(
    "change",
    [
        f"confirm={{{UNTIL}, splits: 3, seeds: 2, max_runs: 6}}",
        "confirm={splits: 5, source_seeds: 5}",
        "verdict.contrasts=[bvg_ls - full, bvg_ls - linear_probe]",
    ],
)
def test_what_can_be_is_no_problem(digits, change):
    assert check(parse(FILE, [change]), digits) == []


@pytest.mark.parametrize(
    ("confirm", "words"),
    [
        ("{seeds: 1}", "one run of a strategy has no interval"),
        ("{splits: 1, seeds: 5}", "with one split nothing can be shown"),
        ("{splits: 2}", "with two splits nothing can be shown"),
    ],
)
def test_too_few_splits_to_show_anything_are_a_note(digits, confirm, words):
    spec = parse(FILE, [f"confirm={confirm}"])
    assert check(spec, digits) == []
    assert any(words in note for note in notes(spec, digits))
    assert not any("confirm:" in note for note in notes(parse(FILE), digits))


def test_more_splits_than_a_small_pool_carries(tmp_path, capsys):
    """3 pictures of each of two classes lie beside the test part, one of each is for validation."""
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            picture = Image.new("RGB", (16, 16), (40 * number, 10 if name == "a" else 200, 0))
            picture.save(tmp_path / "photos" / name / f"{number}.png")
    file = tmp_path / "few.yaml"
    split = "{train: 4, validation: 2, test: 4}"
    file.write_text(
        f"name: few\ntask: {{data: {{folder: {tmp_path}/photos}}, split: {split}}}\n"
        "model: {name: test_resnet, weights: pretrained}\nstrategies: {full: }\n"
    )
    assert main(["validate", str(file), "--without-data", "--set", "confirm.splits=10"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error  confirm.splits: 10 splits; the 6 examples beside the test part")
    assert line.endswith("at most 9")
