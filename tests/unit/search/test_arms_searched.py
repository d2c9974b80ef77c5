"""Arms in the search space, in validation and in the JSON Schema."""

import jsonschema
import pytest
from optuna.trial import FixedTrial

from raysel.common.errors import UserError
from raysel.search import validate
from raysel.search.json_schema import sweep_schema
from raysel.search.space import Space, registered_strategies, settings_of, strategies_of
from raysel.search.trial_budget import budget
from raysel.search.validate_strategies import baseline_notes
from raysel.spec.arms import SINGLE
from raysel.spec.reader import parse, parse_resolved

LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")

FILE = """\
name: small
task: {data: digits, shift: {kind: gaussian_noise}}
model: {name: resnet10t}
strategies:
  suffix_L2: {strategy: suffix, layers: 5}
  suffix_L5: {strategy: suffix, layers: {int: [1, 4]}, training: {learning_rate: 0.02}}
  everything: {strategy: full, training: {epochs: 3}}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def space(*overrides: str) -> Space:
    return Space(parse(FILE, overrides), LAYERS)


def problems(*overrides: str) -> list[str]:
    return [str(problem) for problem in validate.check(parse(FILE, overrides))]


def test_searched_values_are_scoped_by_the_arm():
    assert space().names == (
        "strategy",
        *("suffix_L2.learning_rate", "suffix_L5.layers", "everything.learning_rate"),
        "linear_probe.learning_rate",
    )


def test_a_suggestion_is_of_the_arm_and_trains_as_its_strategy():
    chosen = {"strategy": "suffix_L5", "suffix_L5.layers": 3}
    config = space().suggest(FixedTrial(chosen))
    assert (config.strategy, config.arm, config.parameters["layers"]) == ("suffix", "suffix_L5", 3)
    assert space().searched_values(config) == {"layers": 3}


def test_a_baseline_is_not_added_where_an_arm_of_its_strategy_stands():
    spec = parse(FILE)
    assert list(strategies_of(spec)) == ["suffix_L2", "suffix_L5", "everything", "linear_probe"]
    assert registered_strategies(spec)["everything"] == "full"
    assert settings_of(spec, "everything")["epochs"] == 3


def test_cross_validation_takes_every_layer_in_the_arms_of_surgical():
    overrides = ("search.sampler=cross_validation", "strategies.one={strategy: surgical}")
    arms = strategies_of(parse(FILE, overrides))
    assert arms["one"].parameters["block"] == "search" and "surgical" not in arms


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "strategies.x={strategy: sufix}",
            'strategies.x.strategy: no strategy is called "sufix"; did you mean "suffix"?',
        ),
        (
            "strategies.linear_probe.strategy=suffix",
            'strategies.linear_probe: "linear_probe" is another strategy; give the arm a name of'
            " its own, suffix_2",
        ),
        (
            "strategies.a b={strategy: surgical, block: stem}",
            'strategies.a b: an arm\'s name is of letters, digits, _ and - alone, as in "a_b"',
        ),
        (
            "strategies.x={strategy: suffix, layers: 5}",
            "strategies.x: is the same as suffix_L2: strategy suffix with the same parameters,"
            " trained alike; change one, or leave one out",
        ),
        (
            "strategies.Suffix_l2={strategy: suffix, layers: 4}",
            "strategies.Suffix_l2: differs from suffix_L2 in capital letters alone, which folders"
            " may not keep",
        ),
    ],
)
def test_bad_arms_are_one_line_each(override, line):
    assert problems(override) == [line]


def test_an_unknown_name_without_a_strategy_names_how_arms_are_written():
    (line,) = problems("strategies.zzz=")
    assert "an arm of another name says which: strategy: NAME" in line


def test_arms_that_differ_in_training_alone_are_two():
    assert problems("strategies.x={strategy: suffix, layers: 5, training: {epochs: 2}}") == []


def test_contrasts_name_arms():
    assert problems("verdict.contrasts=[suffix_L2 - suffix_L5]") == []
    (line,) = problems("verdict.contrasts=[suffix_L2 - full]")
    assert '"full" is not a strategy of this sweep' in line


def test_several_arms_of_full_without_one_of_the_name_get_a_note():
    (note,) = baseline_notes({"a": "full", "b": "full"})
    assert "name one of them full" in note
    assert baseline_notes({"a": "full", "full": "full"}) == []


# --- arms with one configuration -----------------------------------------------------------------

FIXED = ("strategies.suffix_L2.training={learning_rate: 0.1}",)


def test_an_arm_with_one_configuration_is_not_searched():
    found = space(*FIXED)
    assert found.strategies == ("suffix_L5", "everything", "linear_probe")
    assert found.arms == ("suffix_L2", "suffix_L5", "everything", "linear_probe")
    config = found.single["suffix_L2"]
    assert (config.arm, config.strategy, config.parameters["layers"]) == ("suffix_L2", "suffix", 5)
    assert found.describe()["suffix_L2"] == ""
    assert found.single_note() == f"suffix_L2: {SINGLE}, so confirmed without a search"


def test_it_is_searched_where_the_file_says_so_and_in_sweeps_of_before():
    assert space(*FIXED, "search.run_single_configurations=true").single == {}
    older = parse(FILE, FIXED).to_yaml().replace("  run_single_configurations: false\n", "")
    assert Space(parse_resolved(older), LAYERS).single == {}
    assert Space(parse_resolved(parse(FILE, FIXED).to_yaml()), LAYERS).single


def test_a_sweep_in_which_nothing_is_searched_has_no_trials():
    spec = parse(FILE, ("training.learning_rate=0.1", "strategies.suffix_L5.layers=3"))
    found = Space(spec, LAYERS)
    assert found.strategies == () and len(found.single) == 4
    assert budget(spec.search, found) == 0
    for sampler in ("random", "qmc", "grid"):
        search = spec.search.model_copy(update={"sampler": sampler})
        assert budget(search, found) == 0


def test_trials_are_counted_against_the_arms_that_are_searched():
    assert problems(*FIXED, "search.num_trials=3") == []
    (line,) = problems(*FIXED, "search.num_trials=2")
    assert "2 trials are fewer than the 3 strategies" in line


# --- confirm.configurations -----------------------------------------------------------------------


def test_names_in_by_are_those_of_searched_values():
    assert problems("confirm.configurations={by: [layers]}") == []
    (line,) = problems("confirm.configurations={by: [layer]}")
    assert line == ('confirm.configurations.by.0: no arm searches "layer"; did you mean "layers"?')


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("alll", 'confirm.configurations: "alll" is unknown; did you mean "all"?'),
        (
            "{bye: [layers]}",
            'confirm.configurations.bye: unknown key; did you mean "by"?',
        ),
        ("{by: []}", "confirm.configurations.by: [] is not accepted; give at least 1"),
    ],
)
def test_other_values_of_confirm_configurations_are_refused(value, line):
    with pytest.raises(UserError) as error:
        parse(FILE, (f"confirm.configurations={value}",))
    assert line in map(str, error.value.problems)


# --- the JSON Schema ---------------------------------------------------------------------------


def schema_accepts(strategies) -> bool:
    file = {"name": "a", "task": {"data": "digits"}, "model": {"name": "resnet10t"}}
    validator = jsonschema.Draft202012Validator(sweep_schema())
    return validator.is_valid(file | {"strategies": strategies})


def test_the_schema_knows_arms_and_the_keys_of_their_strategy():
    assert schema_accepts({"full": None, "suffix": {"layers": 2}})
    assert schema_accepts({"suffix_L2": {"strategy": "suffix", "layers": 2}})
    assert schema_accepts({"suffix": {"strategy": "suffix", "layers": 2}})
    assert not schema_accepts({"suffix_L2": {"strategy": "suffix", "block": "stem"}})
    assert not schema_accepts({"suffix_L2": {"strategy": "sufix"}})
    assert not schema_accepts({"suffix_L2": {"layers": 2}})
    assert not schema_accepts({"full": {"strategy": "suffix", "layers": 2}})
