"""Keys with another name now: a user's file is answered, what raysel wrote is read."""

from __future__ import annotations

import pytest

from raysel.common.errors import UserError
from raysel.spec.reader import parse, parse_resolved
from raysel.spec.trial_config import TrialConfig

SWEEP = """\
name: a
task: {data: digits}
model: {name: resnet10t}
strategies: {full: }
"""
OLD = """\
name: a
task: {data: digits, bad_images: 0.5}
model: {name: resnet10t}
strategies: {full: {training: {accumulate: 4}}}
training: {accumulate: 2}
resources: {placement: spread}
objective: {metric: val/loss, mode: min}
trace: {every: 3}
record: postgresql://me@host/base
code: [mine.py]
"""


@pytest.mark.parametrize(
    ("setting", "path", "new"),
    [
        ("training.accumulate=2", "training.accumulate", "gradient_accumulation_steps"),
        (
            "strategies.full={training: {accumulate: 2}}",
            "strategies.full.training.accumulate",
            "gradient_accumulation_steps",
        ),
        ("task.bad_images=0.1", "task.bad_images", "max_unreadable_fraction"),
        ("trace.every=2", "trace.every", "every_n_steps"),
        ("record=postgresql://me@host/base", "record", "database_url"),
        ("code=[mine.py]", "code", "code_files"),
    ],
)
def test_an_old_key_is_answered_with_the_new_one(setting, path, new):
    with pytest.raises(UserError) as refused:
        parse(SWEEP, [setting])
    assert str(refused.value) == f"{path}: it is called {new} now"


@pytest.mark.parametrize("setting", ["resources.placement=pack", "objective.mode=min"])
def test_a_key_that_is_gone_says_why(setting):
    with pytest.raises(UserError) as refused:
        parse(SWEEP, [setting])
    path = setting.partition("=")[0]
    assert str(refused.value).startswith(f"{path}: there is no such key any more: ")


def test_a_key_of_the_same_name_elsewhere_is_an_unknown_one():
    with pytest.raises(UserError) as refused:
        parse(SWEEP, ["search.every=2", "training.mode=min"])
    for words in ("it is called", "any more"):
        assert words not in str(refused.value)


def test_a_resolved_file_of_an_older_version_keeps_its_meaning():
    spec = parse_resolved(OLD)
    assert spec.task.max_unreadable_fraction == 0.5
    assert spec.training.gradient_accumulation_steps == 2
    own = spec.strategies["full"].training
    assert not isinstance(own, str) and own is not None and own.gradient_accumulation_steps == 4
    assert spec.trace.every_n_steps == 3
    assert spec.objective.metric == "val/loss"
    assert spec.database_url == "postgresql://me@host/base"
    assert [code.path for code in spec.listed_code] == ["mine.py"]
    assert parse_resolved(spec.to_yaml()) == parse(spec.to_yaml()) == spec


def test_a_trials_configuration_of_an_older_record_is_read():
    settings = parse(SWEEP, ["training.learning_rate=0.1"]).training.model_dump()
    new = ("gradient_accumulation_steps", "cache_features", "pull")
    old = {k: v for k, v in settings.items() if k not in new}
    config = {"strategy": "full", "parameters": {}, "seed": 1}
    found = TrialConfig.model_validate(config | {"training": old | {"accumulate": 2}})
    assert found.training.gradient_accumulation_steps == 2
