"""What of the training would have no effect, or cannot be had of the model."""

import pytest

from raysel.models.drop_path import has_drop_path
from raysel.search import validate
from raysel.search.space import Space
from raysel.spec.reader import parse, parse_resolved

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
        ("training.pull={kind: l2_sp, strength: 0.1}", None),
        ("training.pull={strength: {float: [1e-3, 1], log: true}}", None),
        ("training.pull.strength=-1", "training.pull.strength: "),
        ("training.pull={strength: {float: [-1, 1]}}", "training.pull.strength: "),
        ("training.pull={kind: ewc, strength: 1}", 'training.pull.kind: "ewc" is unknown'),
        ("training.pull={kind: l2_sp}", "training.pull.strength: "),
        ("training.pull={strengh: 1, strength: 1}", 'did you mean "strength"?'),
        ("strategies.full.after={kind: wise_ft}", None),
        ("strategies.full.after={kind: wise_ft, alpha: 0.5}", None),
        ("strategies.full.after={kind: wise_ft, alpha: [0.25, 0.5]}", None),
        ("strategies.full.after={kind: wise_ft, alpha: 1.0}", "1 alone takes the tuned weights"),
        ("strategies.full.after={kind: wise_ft, alpha: 0.0}", "strategies.full.after.alpha"),
        ("strategies.full.after={kind: wise_ft, alpha: [0.5, 0.5]}", "listed twice"),
        ("strategies.full.after={kind: wise_ft, alpha: []}", "give at least one"),
        ("training.compile=true", None),
        ("training.compile=1", "training.compile: 1 is not accepted; give true or"),
        ("training.torch_compile=true", "it is called compile here"),
        ("strategies.full.after={kind: swa}", 'strategies.full.after.kind: "swa" is unknown'),
        ("strategies.full.after={kind: wise_ft, alphas: 0.5}", 'did you mean "alpha"?'),
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


def test_an_arm_with_after_is_another_arm_and_is_read_back():
    overrides = ("strategies.wise={strategy: full, after: {kind: wise_ft, alpha: 0.5}}",)
    spec = parse(FILE, overrides)
    assert validate.check(spec) == []
    assert parse_resolved(spec.to_yaml()) == spec
    space = Space(spec, ("a", "b"))
    assert space.first_configuration("wise").training.wise_ft == (0.5,)
    assert space.first_configuration("full").training.wise_ft == ()


def test_an_arms_own_pull_replaces_the_common_one_and_is_searched_by_its_scope():
    pulled = "strategies.bvg_ls.training={pull: {strength: {float: [0.01, 1.0], log: true}}}"
    spec = parse(FILE, ("training.pull={strength: 0.2}", pulled))
    assert parse_resolved(spec.to_yaml()) == spec
    space = Space(spec, ("a", "b"))
    assert space.first_configuration("full").training.pull_strength == 0.2
    assert "pull_strength" in [value.name for value in space.searched["bvg_ls"]]
    assert "bvg_ls.pull_strength" in space.names


@pytest.mark.parametrize("strategy", ["bvg_ls_lazy", "lisa"])
def test_other_gradients_from_step_to_step_are_not_compiled(strategy):
    arm = f"strategies={{full: , mine: {{strategy: {strategy}}}}}"
    (problem,) = problems(arm, "training.compile=true")
    assert problem.startswith("training.compile: mine computes gradients of other layers")
    assert problem.endswith("give that arm training: {compile: false}")
    off = f"strategies={{full: , mine: {{strategy: {strategy}, training: {{compile: false}}}}}}"
    assert not problems(off, "training.compile=true")
    (own,) = problems(off.replace("false", "true"))
    assert own.startswith("strategies.mine.training.compile: mine computes")
