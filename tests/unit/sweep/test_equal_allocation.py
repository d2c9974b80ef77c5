"""Fair comparisons: as many trials for each strategy, each pruned against its own alone."""

from collections import Counter
from itertools import islice

import optuna
import pytest
from controller_kit import LAYERS, begin, error, handed_out, run, sweep, work
from few_kit import few

from raysel.search.allocation import WithinStrategy
from raysel.search.samplers import pruner
from raysel.search.space import STRATEGY, Space
from raysel.search.trial_budget import budget, shares
from raysel.spec.sweep import PrunerSpec

EQUAL = ("search.allocation=equal", "pruner.kind=none")
FOUR = ("full", "linear_probe", "surgical", "bvg_ls")


def counted(assignments):
    return Counter(assignment.config.strategy for assignment in assignments)


@pytest.mark.parametrize("sampler", few("tpe", "random", "qmc"))
def test_each_strategy_gets_as_many_trials(tmp_path, sampler):
    attempt = begin(tmp_path, sweep(*EQUAL, f"search.sampler={sampler}", "search.num_trials=20"))
    assert counted(run(attempt)) == dict.fromkeys(FOUR, 5)


def test_strategies_are_compared_with_equal_effort_by_default(tmp_path):
    """As many trials each, and each pruned among its own strategy's alone."""
    spec = sweep("search.num_trials=20", "pruner.kind=none")
    assert counted(run(begin(tmp_path, spec))) == dict.fromkeys(FOUR, 5)
    assert isinstance(pruner(sweep().pruner, 4), WithinStrategy)


def test_an_adaptive_search_does_not(tmp_path):
    adaptive = "search.allocation=adaptive"
    attempt = begin(tmp_path, sweep("pruner.kind=none", "search.num_trials=20", adaptive))
    assert len(set(counted(run(attempt)).values())) > 1


def test_what_does_not_come_out_even_goes_to_the_first_in_the_file():
    spec = sweep(*EQUAL, "search.num_trials=10")
    found = shares(spec.search, Space(spec, LAYERS))
    assert list(found.items()) == [
        *(("surgical", 3), ("bvg_ls", 3)),
        *(("full", 2), ("linear_probe", 2)),
    ]


DISCRETE = (
    *EQUAL,
    "strategies.surgical={block: search, training: {learning_rate: 0.01}}",  # three points
    "strategies.full={training: {learning_rate: 0.01}}",  # one
)


def test_what_a_small_space_leaves_of_its_share_goes_to_seeds_of_its_best(tmp_path):
    spec = sweep(*DISCRETE, "search.num_trials=24")
    assert budget(spec.search, Space(spec, LAYERS)) == 24
    attempt, done = begin(tmp_path, spec), []
    while (assignment := attempt.controller.next_trial()) is not None:
        work(attempt.controller, assignment, worker=worse_at_the_stem)
        done.append(assignment)
    assert counted(done) == dict.fromkeys(FOUR, 6)
    full = [a.config.seed for a in done if a.config.strategy == "full"]
    assert len(set(full)) == 6  # one configuration, never the same training seed twice
    tried = Counter(a.config.parameters["block"] for a in done if a.config.strategy == "surgical")
    assert sorted(tried.values()) == [1, 2, 3]  # each once, then the better half in turn
    assert tried["stem"] == 1


def worse_at_the_stem(config, epoch):
    return error(config, epoch) + 0.1 * (config.parameters.get("block") == "stem")


def test_the_share_holds_when_the_driver_dies_between_trials(tmp_path):
    spec = sweep(*DISCRETE, "search.num_trials=20")
    first = begin(tmp_path, spec)
    done = list(islice(handed_out(first), 7))
    left = done.pop()  # handed out, not worked off
    done += run(begin(tmp_path, spec, attempt=2))
    assert left.trial in {assignment.trial for assignment in done}
    assert counted(done) == dict.fromkeys(FOUR, 5)


def test_the_share_holds_when_the_driver_dies_after_choosing_the_strategy(tmp_path, monkeypatch):
    spec = sweep(*EQUAL, "search.num_trials=20")
    attempt = begin(tmp_path, spec)
    done = list(islice(handed_out(attempt), 6))
    work(attempt.controller, done[-1])
    monkeypatch.setattr(attempt.study, "ask", lambda: pytest.exit)  # stands for a kill
    with pytest.raises(AttributeError):
        attempt.controller.next_trial()
    done += run(begin(tmp_path, spec, attempt=2))
    assert counted(done) == dict.fromkeys(FOUR, 5)


def test_trials_at_the_same_time_keep_the_shares(tmp_path):
    attempt = begin(tmp_path, sweep(*EQUAL, "search.num_trials=16"))
    running, done = [], []
    while True:
        while len(running) < 3 and (assignment := attempt.controller.next_trial()) is not None:
            running.append(assignment)
        if not running:
            break
        done.append(running.pop(0))
        work(attempt.controller, done[-1])
    assert counted(done) == dict.fromkeys(FOUR, 4)


# --- the pruner ------------------------------------------------------------------------------


def slow_starter(config, epoch):
    """`bvg_ls` starts half a unit behind the others."""
    return error(config, epoch) + 0.5 * (config.strategy == "bvg_ls")


def pruned(tmp_path, compare):
    overrides = ("search.allocation=equal", "search.num_trials=24", f"pruner.compare={compare}")
    attempt = begin(tmp_path, sweep(*overrides))
    ended = Counter()
    while (assignment := attempt.controller.next_trial()) is not None:
        epochs = work(attempt.controller, assignment, worker=slow_starter)
        ended[assignment.config.strategy] += epochs == assignment.config.training.epochs
    return ended


def test_a_slow_starter_is_measured_against_its_own(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert pruned(tmp_path / "a", "all")["bvg_ls"] == 0
    assert pruned(tmp_path / "b", "within_strategy")["bvg_ls"] > 0


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median"])
def test_what_another_strategy_does_changes_no_verdict_within_a_strategy(kind):
    spec = PrunerSpec(kind=kind, grace_epochs=1, compare="within_strategy")
    ahead, slow = study(pruner(spec, 4)), study(pruner(spec, 4))
    across = study(pruner(spec.model_copy(update={"compare": "all"}), 4))
    assert isinstance(ahead.pruner, WithinStrategy)
    verdicts = []
    for value in (0.9, 0.8, 0.95, 0.7, 0.99, 0.6, 0.97, 0.85, 0.5, 0.96):
        for where, lead in ((ahead, 0.5), (slow, -0.5), (across, 0.5)):
            report(where, "fast", value - lead)
        verdicts.append([report(where, "slow", value) for where in (ahead, slow, across)])
    found_ahead, found_behind, found_across = zip(*verdicts, strict=True)
    assert found_ahead == found_behind
    assert any(found_ahead)
    assert found_across != found_ahead


def study(chosen):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(pruner=chosen, study_name="same")


def report(where, strategy, value):
    where.enqueue_trial({STRATEGY: strategy})
    trial = where.ask()
    trial.suggest_categorical(STRATEGY, ["fast", "slow"])
    for epoch in (1, 2, 3, 4):
        trial.report(value, epoch)
        if trial.should_prune():
            where.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return epoch
    where.tell(trial, value)
    return 0
