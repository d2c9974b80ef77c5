"""The space: what is searched for each strategy, under which name, and what is tried first."""

import math

import optuna
import pytest
from optuna.trial import FixedTrial

from raysel.common.errors import UserError
from raysel.search.distributions import nearest_value
from raysel.search.space import Space, declared, most_shots, strategies_of
from raysel.search.trial_budget import untried_notes
from raysel.spec.reader import parse
from raysel.spec.sweep import Choice, FloatRange, IntRange, Spec, TrainingOverride
from raysel.strategies import registry
from raysel.strategies.base import Decision, Parameter, Step, Strategy
from raysel.strategies.static import Full

LAYERS = ("stem", "layer1", "head")

FILE = """\
name: small
task: {data: digits}
model: {name: resnet10t}
strategies:
  surgical: {block: search}
  bvg_ls: {ema_decay: {float: [0.5, 0.99]}, ema_init: debiased}
training: {learning_rate: {float: [1e-4, 1e-1], log: true}}
search: {run_single_configurations: true}
"""

LR = 0.01


def sweep(*overrides: str) -> Spec:
    return parse(FILE, overrides)


def space(*overrides: str) -> Space:
    return Space(sweep(*overrides), LAYERS)


def names(strategy: str, *overrides: str) -> list[str]:
    return [value.scoped for value in space(*overrides).searched[strategy]]


def test_baselines_are_added_after_the_files_own_strategies():
    assert list(strategies_of(sweep())) == ["surgical", "bvg_ls", "full", "linear_probe"]
    assert list(strategies_of(sweep("strategies.full="))) == [
        *("surgical", "bvg_ls", "full", "linear_probe")
    ]
    assert list(strategies_of(sweep("search.baselines=false"))) == ["surgical", "bvg_ls"]


def test_b09_every_searched_value_is_scoped_by_its_strategy_and_constants_are_not_searched():
    assert names("surgical") == ["surgical.block", "surgical.learning_rate"]
    assert names("bvg_ls") == ["bvg_ls.ema_decay", "bvg_ls.learning_rate"]
    assert names("full") == ["full.learning_rate"]
    assert names("full", "training.learning_rate=0.1") == []


def test_a_trial_chooses_its_strategy_then_that_strategys_values_and_no_others():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    whole = space()
    for _ in range(20):
        trial = study.ask()
        config = whole.suggest(trial)
        expected = ["strategy", *(v.scoped for v in whole.searched[config.strategy])]
        assert list(trial.params) == expected
        study.tell(trial, 0.0)


def test_a_single_strategy_is_not_searched():
    alone = space("strategies={full: }", "search.baselines=false")
    assert alone.names == ("full.learning_rate",)
    assert alone.suggest(FixedTrial({"full.learning_rate": LR})).strategy == "full"
    assert not alone.is_conditional


def test_a_suggested_configuration_is_settled():
    chosen = {"strategy": "bvg_ls", "bvg_ls.ema_decay": 0.7, "bvg_ls.learning_rate": LR}
    config = space("search.seed=5").suggest(FixedTrial(chosen))
    assert config.parameters == {"ema_decay": 0.7, "ema_init": "debiased", "update_layers": 1}
    assert (config.training.learning_rate, config.training.epochs) == (LR, 15)
    assert config.seed == 5
    assert space().searched_values(config) == {"ema_decay": 0.7, "learning_rate": LR}


def test_search_stands_for_the_declared_range_and_for_all_layers():
    searched = space("strategies.bvg_ls.ema_decay=search").searched
    assert searched["bvg_ls"][0].distribution == FloatRange(bounds=(0.5, 0.99))
    assert searched["surgical"][0].distribution == Choice(options=LAYERS)


def test_a_strategys_training_replaces_the_common_one_for_it_alone():
    override = "strategies.bvg_ls.training={learning_rate: 0.5, weight_decay: {float: [0, 1]}}"
    assert names("bvg_ls", override) == ["bvg_ls.ema_decay", "bvg_ls.weight_decay"]
    assert names("full", override) == ["full.learning_rate"]


def test_published_training_takes_the_papers_values():
    whole = space("strategies.surgical.training=published")
    assert [v.scoped for v in whole.searched["surgical"]] == ["surgical.block"]
    config = whole.suggest(FixedTrial({"strategy": "surgical", "surgical.block": "stem"}))
    assert (config.training.optimizer, config.training.learning_rate) == ("adam", 1e-3)
    assert config.training.epochs == 15  # the paper leaves it open


def test_published_batch_norm_is_each_strategys_own():
    def mode(strategy: str, *overrides: str) -> str:
        whole = space("training.learning_rate=0.1", *overrides)
        chosen = {"strategy": strategy, "surgical.block": "stem", "bvg_ls.ema_decay": 0.9}
        return whole.suggest(FixedTrial(chosen)).training.batch_norm

    published = "training.batch_norm=published"
    assert [mode(s, published) for s in ("surgical", "full", "linear_probe")] == [
        *("eval", "train", "frozen_eval")
    ]
    assert mode("surgical") == "train"
    assert mode("surgical", published, "strategies.surgical.training.batch_norm=train") == "train"


def test_each_strategys_published_setting_is_tried_first():
    assert space().first_trials() == [
        {"strategy": "surgical", "surgical.block": "stem", "surgical.learning_rate": 1e-3},
        {"strategy": "bvg_ls", "bvg_ls.ema_decay": 0.9, "bvg_ls.learning_rate": 0.01},
        {"strategy": "full", "full.learning_rate": 0.01},
        {"strategy": "linear_probe", "linear_probe.learning_rate": 0.01},
    ]


def test_first_trials_come_out_of_a_study_as_they_were_put_in():
    whole = space("training.epochs={int: [3, 9], step: 4}")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for parameters in whole.first_trials():
        study.enqueue_trial(parameters)
    for parameters in whole.first_trials():
        trial = study.ask()
        whole.suggest(trial)
        assert trial.params == parameters
        study.tell(trial, 0.0)


@pytest.mark.parametrize(
    ("distribution", "published", "value"),
    [
        (FloatRange(bounds=(0.1, 0.5)), 0.9, 0.5),
        (FloatRange(bounds=(0.1, 0.5)), 0.05, 0.1),
        (FloatRange(bounds=(0.0, 1.0), step=0.3), 1.0, 0.9),  # 0, 0.3, 0.6, 0.9
        (FloatRange(bounds=(0.0, 1.0), step=0.25), 0.6, 0.5),
        (FloatRange(bounds=(0.01, 1.0), log=True), None, 0.1),  # sqrt(0.01 * 1)
        (IntRange(bounds=(3, 10), step=2), 50, 9),  # 3, 5, 7, 9
        (IntRange(bounds=(3, 10), step=2), 6, 7),  # half way goes to an even number of steps
        (IntRange(bounds=(1, 4)), None, 3),  # the middle 2.5 lies one and a half steps on
        (Choice(options=("a", "b")), "b", "b"),
        (Choice(options=("a", "b")), "c", "a"),
        (Choice(options=("a", "b")), None, "a"),
    ],
)
def test_a_published_value_goes_to_the_nearest_one_that_is_searched(distribution, published, value):
    nearest = nearest_value(distribution, published)
    assert nearest == pytest.approx(value) if isinstance(value, float) else nearest == value
    assert type(nearest) is type(value)


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        ((), None),
        # 3 blocks, and bvg_ls still searches a real number
        (("training.learning_rate=0.1",), None),
        # 3 blocks + 1 bvg_ls + full + linear_probe
        (("training.learning_rate=0.1", "strategies.bvg_ls.ema_decay=0.9"), 6),
        # each times the epochs 3, 5, 7, 9
        (
            (
                "training={learning_rate: 0.1, epochs: {int: [3, 10], step: 2}}",
                "strategies.bvg_ls.ema_decay=0.9",
            ),
            24,
        ),
        # 3 + 3 (0.5, 0.7, 0.9) + 1 + 1
        (
            (
                "training.learning_rate=0.1",
                "strategies.bvg_ls.ema_decay={float: [0.5, 0.99], step: 0.2}",
            ),
            8,
        ),
        # a range of one point is a constant
        (
            (
                "training.learning_rate={float: [0.1, 0.1]}",
                "strategies.bvg_ls.ema_decay={categorical: [0.9]}",
            ),
            6,
        ),
    ],
)
def test_the_size_counts_distinct_configurations(overrides, size):
    assert space(*overrides).size() == size


def test_a_range_that_its_steps_do_not_fill_is_suggested_without_a_warning(recwarn):
    whole = space("training.epochs={int: [3, 10], step: 2}")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(10):
        assert whole.suggest(study.ask()).training.epochs in (3, 5, 7, 9)
    assert not recwarn.list
    assert whole.max_epochs == 9


def test_a_value_that_no_paper_gives_starts_in_the_middle():
    whole = space("strategies.full.training.clip_norm={float: [0.1, 10], log: true}")
    first = next(t for t in whole.first_trials() if t["strategy"] == "full")
    assert first["full.clip_norm"] == pytest.approx(math.sqrt(0.1 * 10))


def test_describe_says_what_is_searched():
    assert space().describe() == {
        "surgical": "block stem | layer1 | head, learning_rate [0.0001, 0.1] log",
        "bvg_ls": "ema_decay [0.5, 0.99], learning_rate [0.0001, 0.1] log",
        "full": "learning_rate [0.0001, 0.1] log",
        "linear_probe": "learning_rate [0.0001, 0.1] log",
    }


def test_a_strategy_written_here_is_searched_without_an_edit_elsewhere(monkeypatch):
    class Homemade(Strategy):
        name, summary, paper = "homemade", "for this test", "none"
        parameters = (Parameter("depth", "int", 2, "", low=1, search=IntRange(bounds=(1, 4))),)
        published = TrainingOverride(learning_rate=0.03)

        def decide(self, step: Step) -> Decision:
            raise NotImplementedError

    monkeypatch.setattr(registry, "_REGISTRY", {"homemade": Homemade, "full": Full})
    whole = space("strategies={homemade: {depth: search}, full: }", "search.baselines=false")
    assert whole.first_trials()[0] == {
        "strategy": "homemade",
        "homemade.depth": 2,
        "homemade.learning_rate": 0.03,
    }


def test_the_number_of_shots_is_an_axis_of_each_strategy_and_the_grid_walks_it():
    grid = ("training.learning_rate=0.1", "training.shots={categorical: [1, 5, 20]}")
    assert names("full", *grid) == ["full.shots"]
    assert names("linear_probe", *grid) == ["linear_probe.shots"]
    assert space(*grid, "strategies={full: , suffix: {layers: 2}}").size() == 3 * 3
    assert most_shots(sweep(*grid)) == 20
    assert most_shots(sweep()) is None
    config = space(*grid).suggest(FixedTrial({"strategy": "full", "full.shots": 5}))
    assert config.training.shots == 5
    assert config.label(["shots"]) == "full shots=5"


def test_a_range_may_name_what_is_tried_first():
    first = space(
        "training.learning_rate={float: [1e-4, 1e-1], log: true, first: 2e-3}",
        "training.epochs={int: [5, 20], step: 5, first: 14}",  # the nearest that whole steps reach
    ).first_trials()
    for trial in first:
        own = f"{trial['strategy']}."
        assert (trial[own + "learning_rate"], trial[own + "epochs"]) == (2e-3, 15)


def test_what_a_range_names_first_lies_in_it():
    with pytest.raises(UserError, match=r"first: 0\.5 is outside") as caught:
        space("training.learning_rate={float: [1e-4, 1e-1], log: true, first: 0.5}")
    assert caught.value.problems[0].path == "training.learning_rate"


def test_a_published_value_that_the_range_does_not_hold_is_noted():
    assert space().moved_notes() == []
    moved = space("strategies.bvg_ls.ema_decay={float: [0.95, 0.99]}")
    assert moved.moved_notes() == [
        "bvg_ls: the published ema_decay is 0.9, not in [0.95, 0.99]; 0.95 is tried first"
    ]
    own = space("strategies.bvg_ls.ema_decay={float: [0.25, 0.75], step: 0.25, first: 0.6}")
    (note,) = own.moved_notes()
    assert note.startswith("bvg_ls: the first value of ema_decay is 0.6, not in [0.25, 0.75] step")
    assert note.endswith("; 0.5 is tried first")


@pytest.mark.parametrize(("trials", "share"), [(8, 2), (11, 3), (12, 3), (13, 4)])
def test_a_choice_of_more_values_than_trials_is_noted(trials, share):
    overrides = (f"search.num_trials={trials}",)
    found = untried_notes(sweep(*overrides).search, space(*overrides))
    noted = f"surgical: block has 3 values, and the arm {share} trials: some are never tried"
    assert found == ([noted] if share == 2 else [])


def test_under_one_budget_for_all_a_choice_may_be_tried_whole():
    overrides = ("search.num_trials=8", "search.allocation=adaptive")
    assert untried_notes(sweep(*overrides).search, space(*overrides)) == []


@pytest.mark.parametrize(("trials", "untried"), [(10, 4), (13, 1), (14, 0), (20, 0)])
def test_a_grid_of_more_configurations_than_trials_is_noted(trials, untried):
    """8 rates of full, 6 of linear_probe; the others have one configuration."""
    six = "{training: {learning_rate: {categorical: [1, 2, 3, 4, 5, 6]}}}"
    overrides = (
        f"strategies={{full: , linear_probe: {six}}}",
        "training.learning_rate={categorical: [1, 2, 3, 4, 5, 6, 7, 8]}",
        "search.sampler=grid",
        f"search.num_trials={trials}",
    )
    found = untried_notes(sweep(*overrides).search, space(*overrides))
    assert len(found) == (untried > 0)
    for note in found:
        assert f"the grid has 14 configurations and num_trials is {trials}: {untried} are" in note


def test_the_word_search_stands_for_every_option():
    flag = Parameter("flag", "bool", False, "a flag")
    kind = Parameter("kind", "choice", "a", "a kind", options=("a", "b"))
    assert declared(flag, "search", ()) == Choice(categorical=(False, True))
    assert declared(kind, "search", ()) == Choice(categorical=("a", "b"))
    assert flag.has_search and kind.has_search
    assert not Parameter("x", "float", 1.0, "a number").has_search
