"""`source:`: how the source model is trained, and what ends a sweep whose one is too weak."""

import pytest

from raysel.common.errors import OperationalError, UserError
from raysel.search import validate
from raysel.spec.reader import parse, parse_resolved
from raysel.spec.source import SourceSpec
from raysel.sweep.absences import absences
from raysel.sweep.source_gate import refuse_weak
from raysel.tasks.opened_task import open_task
from raysel.training.source_model import SourceModel

FILE = """\
name: small
task: {data: digits, shift: {kind: gaussian_noise}}
model: {name: resnet10t}
strategies: {full: }
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def problems(*overrides: str) -> list[str]:
    return [str(problem) for problem in validate.check(parse(FILE, overrides))]


def test_what_is_said_is_read_and_what_is_not_is_as_before():
    spec = parse(FILE, ("source={epochs: 3, strategy: lp_ft, gate: 0.75, label_smoothing: 0.05}",))
    assert spec.source == SourceSpec(epochs=3, strategy="lp_ft", gate=0.75, label_smoothing=0.05)
    assert parse_resolved(spec.to_yaml()) == spec
    assert parse(FILE, ("source.precision=bfloat16",)).source.settings.precision == "bfloat16"
    assert parse(FILE).source == SourceSpec()


def test_a_sound_one_has_no_problem():
    assert problems("source={epochs: 3, optimizer: sgd, strategy: lp_ft, gate: 0.75}") == []
    assert problems("source={strategy: lp_ft, parameters: {probe_rate: 1e4}}") == []


def test_weights_that_are_not_here_are_an_absence_as_those_of_the_model_are():
    spec = parse(FILE, ("source.weights=data/moco.pth.tar",))
    assert validate.check(spec) == []
    (problem,) = absences(spec, open_task(spec.task))
    assert str(problem) == "source.weights: there is no file data/moco.pth.tar"


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ("", False),
        ("criticality_data: target", False),
        ("criticality_data: source", True),
        ("criticality_data: {categorical: [target, source]}", True),
        ("criticality_data: search", True),
    ],
)
def test_criticality_looks_at_the_source_where_its_losses_are_of_the_source(given, needed):
    arm = f"strategies.one={{strategy: criticality_identity_target, {given}}}"
    spec = parse(FILE, (arm, "model.weights=weights.pt"))
    assert validate.reads_source(spec) is needed


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ("source.strategy=lp_ftt",),
            'source.strategy: no strategy is called "lp_ftt"; did you mean "lp_ft"?',
        ),
        (
            ("source.strategy=surgical",),
            "source.strategy: surgical needs block, which cannot be given here; take full,"
            " linear_probe, lp_ft or gradual_unfreeze",
        ),
        (
            ("source.strategy=surprise",),
            "source.strategy: surprise compares with a source model, which is only made here; take"
            " full, linear_probe, lp_ft or gradual_unfreeze",
        ),
        (
            ("source={strategy: lp_ft, parameters: {probe_rat: 3}}",),
            'source.parameters.probe_rat: lp_ft has no such parameter; did you mean "probe_rate"?',
        ),
        (
            ("source={strategy: lp_ft, parameters: {probe_epochs: -1}}",),
            "source.parameters.probe_epochs: -1 is outside [0, inf); the paper uses 2",
        ),
        (
            ("source.parameters={probe_rate: 3}",),
            "source.parameters.probe_rate: full has no such parameter; it has none",
        ),
        (
            ("source.augmentation=flip",),
            "source.augmentation: digits is embedded and stays as it is; leave it out",
        ),
        (
            ("source.weights=pretrainedd",),
            'source.weights: there is no file of weights "pretrainedd"; did you mean'
            ' "pretrained"?, or a file\'s path',
        ),
        (
            ("source.epochs=3", "model.weights=pretrained"),
            "source: no source model is trained with model.weights: pretrained; leave it out, or"
            " give model.weights: source",
        ),
    ],
)
def test_bad_settings_are_one_line(overrides, line):
    assert line in problems(*overrides)


@pytest.mark.parametrize("gate", ["0", "1", "75", "yes"])
def test_a_gate_is_an_accuracy_between_0_and_1(gate):
    with pytest.raises(UserError, match=r"source\.gate"):
        parse(FILE, (f"source.gate={gate}",))


def test_a_weak_source_model_ends_the_sweep_with_its_accuracy_and_the_way_on():
    spec = parse(FILE, ("source.gate=0.75",))
    refuse_weak(SourceModel({}, 0.75, 1.0), spec)
    refuse_weak(SourceModel({}, 0.1, 1.0), parse(FILE))
    with pytest.raises(OperationalError) as error:
        refuse_weak(SourceModel({}, 0.6149, 1.0), spec)
    assert str(error.value) == (
        "source.gate: the source model has 61.5 % validation accuracy, less than 75 %; train it"
        " longer or otherwise (source.epochs, source.learning_rate) in a new sweep, or go on with"
        " it: raysel resume small --set source.gate=0.61"
    )
