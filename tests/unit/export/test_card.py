"""The model card: what a sweep says of its model, and code that runs as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from exported_kit import exported
from files_kit import write_pictures
from results_kit import typed, verdict_of

from raysel.export.card import escaped
from raysel.export.card_sections import sections
from raysel.training.confusion import write_confusion

CONFIRM = [
    {
        "strategy": "bvg_ls",
        "label": "bvg_ls lr=0.01",
        "validation": 0.1,
        "moved": {"stem": 0.0, "body": 0.7, "head": 0.3},
        "test_error": {"mean": 0.2, "low": 0.15, "high": 0.25, "n": 3},
        "runs": [
            {"id": f"confirm-bvg_ls-s{n}", "seed": n, "split": n + 1, "test/error": 0.15 + 0.05 * n}
            for n in range(3)
        ],
    },
    {
        "strategy": "full",
        "validation": 0.2,
        "test_error": {"mean": 0.3, "n": 1},
        "runs": [{"id": "confirm-full-s0", "test/error": 0.3, "untouched_error": 0.9}],
    },
]
RESULTS = typed(
    {
        "layers": ["stem", "body", "head"],
        "confirm": CONFIRM,
        "verdict": verdict_of(CONFIRM),
        "spent": {"trials": 12},
    }
)


def written(folder: Path, results=RESULTS) -> str:
    row = results.confirm[0]
    return sections(results, row, row.runs[1], folder)


def test_an_interval_of_few_runs_stays_within_what_an_error_can_be(tmp_path):
    wide = [CONFIRM[0] | {"test_error": {"mean": 0.2, "low": -0.3, "high": 0.7, "n": 2}}]
    text = written(tmp_path, typed({"layers": ["stem"], "confirm": wide, "spent": {"trials": 2}}))
    assert "0.200 (95 % interval 0.000 to 0.700)" in text


def test_it_says_how_the_model_was_chosen_and_how_good_it_is(tmp_path):
    text = written(tmp_path)
    assert "compared `bvg_ls`, `full`; after 12 trials, `bvg_ls lr=0.01` was trained again" in text
    assert "3 times on 3 splits of the data. This is the run `confirm-bvg_ls-s1`" in text
    assert "Layers that moved: `body`, `head`, of 3." in text
    assert "Test error of this model: **0.200**." in text
    assert "Of all 3 runs of its strategy: 0.200 (95 % interval 0.150 to 0.250)." in text
    assert "Before it was tuned the model had 0.900." in text
    assert escaped(RESULTS.verdict.sentence) in text
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "How it was chosen",
        "How good it is",
        "Limits",
    ]


def test_the_worst_classes_come_first_with_what_they_are_taken_for(tmp_path):
    matrix = [[8, 2, 0], [0, 10, 0], [1, 5, 4]]
    write_confusion(tmp_path, matrix, ["oak", "elm", "ash"])
    rows = [line for line in written(tmp_path).splitlines() if line.startswith("| ")]
    assert rows[1:] == ["| ash | 10 | 0.600 | elm |", "| oak | 10 | 0.200 | elm |"]


def test_a_hostile_class_name_is_no_markup(tmp_path):
    names = ["<img src=x>", "a|b\n# c"]
    write_confusion(tmp_path, [[0, 3], [1, 2]], names)
    text = written(tmp_path)
    assert "<img" not in text and "\n# c" not in text
    assert "| &lt;img src=x> | 3 | 1.000 | a\\|b # c |" in text


RUN_BLOCKS = """
import sys
sys.modules["raysel"] = None  # an import of raysel fails
sys.path.insert(0, "")
for block in sys.argv[1:]:
    exec(block, {})
"""


@pytest.mark.slow
def test_every_block_of_code_runs_as_it_stands_without_raysel(tmp_path):
    write_pictures(tmp_path / "pictures", 2)
    out = exported(tmp_path / "pictures", tmp_path / "model", "test_efficientnet")
    shutil.copy(next((tmp_path / "pictures" / "val").rglob("*.jpg")), out.folder / "photo.jpg")
    text = (out.folder / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    command = [sys.executable, "-c", RUN_BLOCKS, *blocks]
    done = subprocess.run(command, cwd=out.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] in out.task.classes
    assert (out.folder / "model.onnx").stat().st_size > 0
