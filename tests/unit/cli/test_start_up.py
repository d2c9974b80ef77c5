"""What needs no model answers at once: neither torch nor timm, Ray, MLflow or Optuna is loaded."""

import json
import os
import subprocess
import sys

import pytest
from few_kit import several

HEAVY = ("torch", "timm", "ray", "mlflow", "optuna")

SCRIPT = f"""
import io, json, sys
from raysel.cli.main import main
out, sys.stdout = sys.stdout, io.StringIO()
code = main(sys.argv[1:])
sys.stdout = out
print(json.dumps([code, [name for name in {HEAVY} if name in sys.modules]]))
"""

FILE = """\
name: start
task: {data: digits, split: {train: 200, validation: 200, test: 400}}
model: {name: test_resnet, weights: source, partition: PARTITION}
strategies: {surgical: {block: search}, bvg_ls: {ema_decay: search}, auto_rgn: {}}
search: {num_trials: 8}
"""


def loaded(folder, *arguments: str) -> list[str]:
    """The heavy libraries that a command loads; the user's cache is in `folder`."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=folder,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    code, heavy = json.loads(found.stdout)
    assert code == 0, found.stderr
    return heavy


@pytest.mark.parametrize(
    "arguments",
    several(
        2,
        [
            ["strategies"],
            ["strategies", "bvg_ls"],
            ["strategies", "--json"],
            ["schema"],
            ["init", "new.yaml"],
            ["--help"],
        ],
    ),
    ids=" ".join,
)
def test_what_needs_no_model_loads_no_library_of_models(tmp_path, arguments):
    assert loaded(tmp_path, *arguments) == []


@pytest.mark.slow
@pytest.mark.parametrize("partition", ["coarse", "[conv1, bn1, 'layer[1-4]', fc]"])
def test_a_file_whose_models_layers_are_known_is_checked_without_the_model(tmp_path, partition):
    (tmp_path / "a.yaml").write_text(FILE.replace("PARTITION", partition))
    first = loaded(tmp_path, "validate", "a.yaml")
    assert {"torch", "timm"} <= set(first) and not {"ray", "mlflow", "optuna"} & set(first)
    assert loaded(tmp_path, "validate", "a.yaml", "--set", "training.epochs=3") == []


@pytest.mark.slow
def test_another_cut_is_another_model(tmp_path):
    (tmp_path / "a.yaml").write_text(FILE.replace("PARTITION", "coarse"))
    loaded(tmp_path, "validate", "a.yaml")
    assert "torch" in loaded(tmp_path, "validate", "a.yaml", "--set", "model.partition=fine")


@pytest.mark.slow
def test_what_is_known_of_a_model_says_the_same(tmp_path):
    (tmp_path / "a.yaml").write_text(FILE.replace("PARTITION", "coarse"))
    command = [sys.executable, "-m", "raysel", "validate", "a.yaml", "--json"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = [
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
        for _ in range(2)
    ]
    assert said[0].stdout == said[1].stdout
    assert json.loads(said[0].stdout)["layers"]
