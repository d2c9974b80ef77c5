"""The types of the sweep file: what they hold, and that they lead back to the file."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from raysel.spec.model import ModelSpec
from raysel.spec.reader import parse
from raysel.spec.sweep import FloatRange, Spec, StrategySpec, TrainingOverride
from raysel.spec.task import PUBLISHED_NAMES
from raysel.spec.trial_config import TrialConfig
from raysel.tasks.readers.published import PUBLISHED

SMALLEST: dict[str, Any] = {
    "name": "small",
    "task": {"data": "digits"},
    "model": {"name": "resnet10t"},
    "strategies": {"full": None},
}


def test_a_file_named_as_a_word_of_weights_is_a_path():
    words = ("pretrained", "source", "auto")
    for word in words:
        assert ModelSpec(name="resnet18", weights=word).weights == word
        assert ModelSpec(name="resnet18", weights=f"./{word}").weights == f"./{word}"
        assert ModelSpec(name="resnet18", weights=f".//./{word}").weights == f"./{word}"
    assert ModelSpec(name="resnet18", weights="./w.safetensors").weights == "w.safetensors"


def test_all_but_name_task_model_and_strategies_has_a_default():
    spec = Spec.model_validate(SMALLEST)
    assert spec.search.num_trials == 40
    assert spec.training.learning_rate == FloatRange(bounds=(1e-4, 1e-1), log=True)


def test_the_resolved_file_reads_back_as_the_same_sweep():
    strategies = {
        "full": {"training": "published"},
        "bvg_ls": {
            "ema_decay": {"float": [0.5, 0.99]},
            "ema_init": {"categorical": ["paper", "debiased"]},
            "update_layers": {"int": [1, 3]},
            "training": {"learning_rate": {"float": [0.01, 0.1]}, "epochs": 3},
        },
    }
    spec = Spec.model_validate(SMALLEST | {"strategies": strategies})
    assert parse(spec.to_yaml()) == spec


def test_a_specs_parts_cannot_be_changed():
    with pytest.raises(ValidationError):
        Spec.model_validate(SMALLEST).search.num_trials = 3  # type: ignore[misc]


def test_parameters_stand_beside_training_in_the_file():
    strategy = StrategySpec.model_validate({"block": "stem", "training": {"epochs": 2}})
    assert strategy.parameters == {"block": "stem"}
    assert strategy.training == TrainingOverride(epochs=2)


@pytest.mark.parametrize("value", [True, "3", 3.0])
def test_a_whole_number_is_not_made_from_anything_else(value):
    with pytest.raises(ValidationError):
        Spec.model_validate(SMALLEST | {"confirm": {"seeds": value}})


def test_a_parameter_keeps_its_type():
    given = {"a": 1, "b": 1.0, "c": True, "d": "1", "e": None}
    parameters = StrategySpec.model_validate(given).parameters
    assert {name: type(value) for name, value in parameters.items()} == {
        name: type(value) for name, value in given.items()
    }


def test_a_trial_config_survives_json_and_has_a_short_label():
    spec = Spec.model_validate(SMALLEST).training
    training = spec.model_dump(exclude={"cache_features", "pull"})
    training |= {"learning_rate": 0.02139}
    config = TrialConfig(
        strategy="bvg_ls", parameters={"ema_decay": 0.93}, training=training, seed=3
    )
    assert TrialConfig.model_validate(json.loads(config.model_dump_json())) == config
    assert config.label(["learning_rate", "ema_decay"]) == "bvg_ls lr=0.0214 ema_decay=0.93"
    assert config.label(["drop_path"]) == "bvg_ls drop_path=0"  # off, which no record writes


@pytest.mark.parametrize(
    ("task", "weights"),
    [
        ({"data": {"folder": "photos"}}, "pretrained"),
        ({"data": {"csv": "labels.csv"}}, "pretrained"),
        ({"data": "pets"}, "pretrained"),
        ({"data": "pets", "shift": {"kind": "none"}}, "pretrained"),
        ({"data": "pets", "shift": {"kind": "inversion"}}, "source"),
        ({"data": {"folder": "photos"}, "shift": {"kind": "gaussian_noise"}}, "source"),
        ({"data": "cifar10c", "shift": {"kind": "fog"}}, "source"),
        ({"data": "cifar10f"}, "source"),
        ({"data": "living17"}, "source"),
        ({"data": "digits"}, "source"),
        ({"data": "digits_edges", "shift": {"kind": "gaussian_noise"}}, "source"),
        ({"data": "arrays_of_my_own"}, "source"),
    ],
)
def test_weights_that_are_left_out_follow_the_task(task, weights):
    spec = Spec.model_validate({**SMALLEST, "task": task})
    assert spec.model.weights == weights
    assert "weights" not in spec.model.model_fields_set
    model = {"name": "x", "weights": "auto"}
    asked = Spec.model_validate({**SMALLEST, "task": task, "model": model})
    assert asked.model.weights == weights
    # the file that is kept says what was taken, whatever a later raysel takes
    assert f"weights: {weights}\n" in spec.to_yaml()
    given = Spec.model_validate(
        {**SMALLEST, "task": task, "model": {"name": "x", "weights": "w.pth"}}
    )
    assert given.model.weights == "w.pth"


def test_the_published_data_sets_of_pictures_are_those_that_are_read():
    assert set(PUBLISHED_NAMES) == set(PUBLISHED)
