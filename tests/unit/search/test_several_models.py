"""A sweep of several models: its arms, its space, the shares of its trials, what it refuses."""

import optuna
import pytest
from optuna.trial import FixedTrial

from raysel.common.errors import UserError
from raysel.search import validate
from raysel.search.allocation import TrialsByArm, next_strategy
from raysel.search.arms import in_file, of_model, settings_of, strategies_of
from raysel.search.space import Space
from raysel.search.trial_budget import cost_note, shares
from raysel.spec.reader import parse, parse_resolved
from raysel.spec.trial_config import TrialConfig

LAYERS = {"resnet10t": ("stem", "layer1", "head"), "test_vit": ("stem", "blocks.0", "head")}
COSTS = {"resnet10t": 8.0, "test_vit": 2.0}

FILE = """\
name: both
task: {data: digits, shift: {kind: gaussian_noise}}
model: {name: {categorical: [resnet10t, test_vit]}}
strategies:
  surgical: {block: search}
  stem_alone: {strategy: surgical, block: stem, model: resnet10t}
training: {learning_rate: {float: [1e-4, 1e-1], log: true}}
search: {num_trials: 30}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def space(*overrides: str) -> Space:
    return Space(parse(FILE, overrides), LAYERS, COSTS)


def problems(*overrides: str) -> list[str]:
    return [str(problem) for problem in validate.check(parse(FILE, overrides))]


# --- arms ---------------------------------------------------------------------------------------


def test_each_arm_is_tried_with_each_model_and_one_that_names_a_model_with_that_one():
    arms = strategies_of(parse(FILE))
    assert {name: (arm.strategy, arm.model) for name, arm in arms.items()} == {
        "surgical-resnet10t": ("surgical", "resnet10t"),
        "surgical-test_vit": ("surgical", "test_vit"),
        "stem_alone": ("surgical", "resnet10t"),
        "full-resnet10t": ("full", "resnet10t"),
        "full-test_vit": ("full", "test_vit"),
        "linear_probe-resnet10t": ("linear_probe", "resnet10t"),
        "linear_probe-test_vit": ("linear_probe", "test_vit"),
    }


def test_a_baseline_of_one_model_is_added_for_the_other():
    arms = strategies_of(parse(FILE, ["strategies.full={model: test_vit}"]))
    assert {name: arm.model for name, arm in arms.items() if arm.strategy == "full"} == {
        "full": "test_vit",
        "full-resnet10t": "resnet10t",
    }


def test_the_part_of_one_model_has_its_arms_under_the_same_names():
    spec = parse(FILE)
    part = of_model(spec, "test_vit")
    assert part.model_name == "test_vit"
    own = ["surgical-test_vit", "full-test_vit", "linear_probe-test_vit"]
    assert list(strategies_of(part)) == own
    for arm in own:
        assert settings_of(part, arm) == settings_of(spec, arm)
    assert of_model(parse(FILE, ["model.name=resnet10t"]), "") == parse(
        FILE, ["model.name=resnet10t"]
    )


def test_a_sweep_of_several_models_has_no_name_of_one():
    with pytest.raises(ValueError, match="several models: resnet10t, test_vit"):
        _ = parse(FILE).model_name


def test_an_arm_is_at_its_place_in_the_file():
    assert in_file(parse(FILE))["full-test_vit"] == "full"
    assert in_file(parse(FILE))["stem_alone"] == "stem_alone"


def test_the_resolved_file_reads_back_unchanged():
    spec = parse(FILE)
    again = parse_resolved(spec.to_yaml())
    assert again == spec and again.to_yaml() == spec.to_yaml()
    assert "categorical:" in spec.to_yaml() and "model: resnet10t" in spec.to_yaml()


# --- the space ----------------------------------------------------------------------------------


def test_blocks_are_those_of_the_arms_model():
    searched = {
        value.scoped: value.distribution for own in space().searched.values() for value in own
    }
    assert searched["surgical-resnet10t.block"].options == LAYERS["resnet10t"]
    assert searched["surgical-test_vit.block"].options == LAYERS["test_vit"]
    assert "stem_alone.block" not in searched


def test_a_suggestion_names_its_model():
    chosen = {
        "strategy": "surgical-test_vit",
        "surgical-test_vit.block": "blocks.0",
        "surgical-test_vit.learning_rate": 0.01,
    }
    config = space().suggest(FixedTrial(chosen))
    assert (config.strategy, config.arm, config.model) == (
        "surgical",
        "surgical-test_vit",
        "test_vit",
    )
    assert config.model_dump(mode="json")["model"] == "test_vit"


def test_a_trial_of_a_sweep_of_one_model_is_written_as_it_was():
    one = Space(parse(FILE, ["model.name=resnet10t"]), LAYERS["resnet10t"])
    config = one.first_configuration("full")
    assert config.model == "" and "model" not in config.model_dump(mode="json")
    assert TrialConfig.model_validate(config.model_dump(mode="json")) == config


def test_one_strategy_with_two_models_is_two_arms_and_no_arm_twice():
    assert space().alike() == []


# --- shares -------------------------------------------------------------------------------------


def test_the_cost_counts_unless_the_file_says_otherwise():
    assert parse(FILE).search.allocation == "equal_cost"
    assert parse(FILE, ["search.allocation=equal"]).search.allocation == "equal"
    assert parse(FILE, ["model.name=resnet10t"]).search.allocation == "equal"
    assert parse(FILE, ["search.sampler=grid"]).search.allocation == "adaptive"
    assert parse(FILE, ["search.sampler=greedy"]).search.allocation == "equal"


def test_each_arm_costs_as_much():
    # four arms at 8 and three at 2: a trial of the dear ones for each four of the cheap ones, so
    # of 32 trials 2 * 4 and 8 * 3
    search = parse(FILE, ["search.num_trials=32"]).search
    found = shares(search, space())
    assert found == {
        name: 2 if name in ("stem_alone",) or name.endswith("resnet10t") else 8 for name in found
    }
    assert sum(found.values()) == 32


def test_every_arm_has_a_trial_however_dear_it_is():
    found = shares(parse(FILE, ["search.num_trials=7"]).search, space())
    assert set(found.values()) == {1}


def test_trials_come_in_the_order_of_what_they_cost_and_more_of_them_change_none_before():
    def order(trials: int) -> list[str]:
        search, own, arms = (
            parse(FILE, [f"search.num_trials={trials}"]).search,
            space(),
            TrialsByArm(),
        )
        study, had = optuna.create_study(), []
        while (name := next_strategy(search, own, arms, study.get_trials())) is not None:
            had.append(name)
            study.enqueue_trial({"strategy": name})
            study.ask()
        return had

    few, many = order(16), order(32)
    assert many[:16] == few and len(many) == 32
    assert {name: many.count(name) for name in many} == shares(
        parse(FILE, ["search.num_trials=32"]).search, space()
    )


def test_without_costs_each_arm_has_as_many_trials():
    equal = Space(parse(FILE, ["search.allocation=equal"]), LAYERS)
    assert set(shares(parse(FILE, ["search.num_trials=35"]).search, equal).values()) == {5}
    assert cost_note(parse(FILE).search, equal) is None


def test_a_note_has_the_shares():
    note = cost_note(parse(FILE, ["search.num_trials=32"]).search, space())
    assert note is not None and "resnet10t 2 an arm" in note and "test_vit 8 an arm" in note


# --- what is refused ----------------------------------------------------------------------------


def test_a_sweep_of_two_models_is_accepted():
    assert problems() == []


def test_a_block_of_one_model_is_refused_for_the_other_with_where_it_may_stand():
    (problem,) = problems("strategies.surgical.block=layer1")
    assert problem.startswith("strategies.surgical.block: with test_vit: ")
    assert problem.endswith("; an arm of one model names it: model: resnet10t")


def test_a_mistake_of_all_models_is_said_once():
    (problem,) = problems("strategies.surgical.blok=stem")
    assert problem.startswith("strategies.surgical.blok: ") and "with test_vit" not in problem


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("strategies.stem_alone.model=resnet11", 'strategies.stem_alone.model: "resnet11" is no'),
        ("model.name={categorical: [resnet10t, resnet999]}", 'timm has no model "resnet999"'),
        ("model.weights=w.safetensors", "model.weights: a file has the weights of one model"),
        ("source.weights=w.safetensors", "source.weights: a file has the weights of one model"),
        ("search.prior=[runs/a]", "search.prior: earlier sweeps are taken up for one model alone"),
        ("strategies.full-test_vit={strategy: full, model: resnet10t}", "2 arms would be called"),
        ("verdict.contrasts=[full - stem_alone]", '"full" is not a strategy of this sweep'),
    ],
)
def test_what_several_models_cannot_have_is_refused_in_one_line(override, said):
    assert any(said in problem for problem in problems(override))


def test_a_model_without_an_arm_is_refused():
    (problem,) = problems(
        "strategies={stem: {strategy: suffix, layers: 1, model: test_vit}}",
        "search.baselines=false",
    )
    assert problem == "model.name: no arm is tried with resnet10t; leave it out"


def test_shares_by_cost_need_several_models():
    found = problems("model.name=resnet10t", "search.allocation=equal_cost")
    assert found == [
        "search.allocation: equal_cost shares trials out between models, and the sweep has one;"
        " give equal, or leave it out"
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("[resnet10t, test_vit]", "{categorical: [resnet10t, test_vit]} searches them together"),
        ("{categorical: [resnet10t]}", "give several, or name: resnet10t"),
        ("{categorical: [resnet10t, resnet10t]}", "an option is listed twice"),
    ],
)
def test_a_choice_of_models_is_a_choice_among_several(name, said):
    with pytest.raises(UserError) as error:
        parse(FILE, [f"model.name={name}"])
    assert said in str(error.value)
