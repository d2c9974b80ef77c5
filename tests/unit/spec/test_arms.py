"""The arms of a sweep: names of the user's for registered strategies."""

import pytest

from raysel.spec.arms import arm_of, name_problem
from raysel.spec.reader import parse, parse_resolved
from raysel.spec.training import TrainingSettings, TrainingSpec
from raysel.spec.trial_config import TrialConfig

FILE = """\
name: small
task: {data: digits, shift: {kind: gaussian_noise}}
model: {name: resnet10t}
strategies:
  suffix_L2: {strategy: suffix, layers: 5, training: {epochs: 3}}
  suffix_L5: {strategy: suffix, layers: 2}
  full:
"""


def settings() -> TrainingSettings:
    given = TrainingSpec(epochs=2, learning_rate=0.1)
    return TrainingSettings.model_validate(given.model_dump(exclude={"cache_features", "pull"}))


def test_an_arm_says_its_strategy_beside_its_parameters():
    arm = parse(FILE).strategies["suffix_L2"]
    assert (arm.strategy, arm.parameters) == ("suffix", {"layers": 5})
    assert arm.training.epochs == 3


def test_the_resolved_file_reads_back_and_names_a_strategy_only_where_the_file_did():
    spec = parse(FILE)
    written = spec.to_yaml()
    assert parse_resolved(written) == spec
    assert written.count("\n    strategy: suffix") == 2


def test_a_configuration_is_written_as_before_where_the_arm_is_named_like_its_strategy():
    plain = TrialConfig(strategy="suffix", parameters={}, training=settings(), seed=0)
    assert plain.arm == "suffix" and "arm" not in plain.model_dump(mode="json")
    named = plain.model_copy(update={"arm": "suffix_L2"})
    written = named.model_dump(mode="json")
    assert (written["strategy"], written["arm"]) == ("suffix", "suffix_L2")
    assert TrialConfig.model_validate(written) == named
    assert TrialConfig.model_validate(plain.model_dump(mode="json")) == plain
    assert named.label() == "suffix_L2"


def test_a_baseline_is_the_arm_of_its_name_else_the_only_one_of_its_strategy():
    assert arm_of("full", {"a": "suffix", "b": "full"}) == "b"
    assert arm_of("full", {"b": "full", "full": "full"}) == "full"
    assert arm_of("full", {"b": "full", "c": "full"}) is None
    assert arm_of("full", {"a": "suffix"}) is None


@pytest.mark.parametrize("name", ["a b", "a/b", "a.b", "é", "-a", "a" * 81, "suffix-5"])
def test_a_name_that_is_none_in_mlflow_optuna_or_a_path_is_refused(name):
    assert name_problem(name)


@pytest.mark.parametrize("name", ["suffix_L2", "2_layers", "Auto-RGN", "a" * 80])
def test_a_plain_name_is_taken(name):
    assert name_problem(name) is None
