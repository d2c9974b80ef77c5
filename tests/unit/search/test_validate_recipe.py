"""What of the training would have no effect, or cannot be had of the model."""

import pytest

from raysel.models.drop_path import has_drop_path
from raysel.search import validate
from raysel.spec.reader import parse

FILE = """\
name: small
task: {data: digits}
model: {name: test_vit}
strategies: {full: , bvg_ls: }
training: {epochs: 10}
"""


def problems(*overrides: str) -> list[str]:
    return [str(problem) for problem in validate.check(parse(FILE, overrides))]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.patience=9", "training.patience: no trial ends before its 10 epochs are over;"),
        ("training.patience={int: [9, 20]}", "give at most 8"),
        ("strategies.full.training.epochs=3", None),
        ("strategies.full.training={epochs: 3, patience: 2}", "strategies.full.training.patience"),
        ("training={patience: 1, epochs: 2}", "its 2 epochs are over; leave it out"),
        ("training={sampling: balanced, class_weights: balanced}", "would count twice"),
        ("training={sampling: {categorical: [balanced, uniform]}}", None),
        ("training={drop_path: 0.1, batch_norm: eval}", "batch_norm: eval turns drop path off"),
        ("training.drop_path={float: [0.0, 0.2]}", None),
        ("training.drop_path=1.0", "training.drop_path: "),
        ("training.weight_averaging=1.0", "training.weight_averaging: "),
        ("training={weight_averaging: 0.99, patience: 8, drop_path: 0.1}", None),
    ],
)
def test_a_setting_without_an_effect_is_refused_in_one_line(override, words):
    found = []
    try:
        found = problems(override)
    except Exception as error:  # what the grammar itself refuses
        found = [str(error)]
    if words is None:
        assert found == []
    else:
        (problem,) = found
        assert words in problem and "\n" not in problem


def test_a_model_without_drop_path_is_refused():
    (problem,) = problems("model.name=cifar_wrn_16_2", "training.drop_path=0.1")
    message = "cifar_wrn_16_2 has no residual branches that timm skips; leave it out"
    assert problem == f"training.drop_path: {message}"


@pytest.mark.parametrize(
    ("name", "has"),
    [("test_vit", True), ("test_resnet", True), ("test_convnext", True), ("cifar_wrn_16_2", False)],
)
def test_which_models_have_drop_path(name, has):
    assert has_drop_path(name) is has
