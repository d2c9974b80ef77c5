"""Which trial of a strategy is trained again: the best by validation, with honest ties (D10)."""

import pytest

from raysel.record.state import TrialState
from raysel.report.tables import best_trials, search_rows
from raysel.spec.sweep import ObjectiveSpec
from raysel.sweep.confirm import finalists
from raysel.sweep.results import trial_row

SETTINGS = {
    "epochs": 3,
    "batch_size": 8,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "batch_norm": "train",
    "precision": "float32",
    "clip_norm": None,
    "gradient_accumulation_steps": 1,
    "deterministic": False,
}


def trial(number, errors, losses, rate=0.1, strategy="surgical", status="COMPLETE", phase="search"):
    rows = [
        {"epoch": i, "val/error": error, "val/loss": loss}
        for i, (error, loss) in enumerate(zip(errors, losses, strict=True), 1)
    ]
    training = SETTINGS | {"learning_rate": rate}
    config = {"strategy": strategy, "parameters": {}, "training": training, "seed": 0}
    return TrialState(
        f"{number:04d}", number, phase, strategy,
        config=config, status=status, value=min(errors), epochs=tuple(rows),
    )  # fmt: skip


CASES = {
    "the error comes first": (
        trial(0, [0.4, 0.3], [1.0, 1.0]),
        trial(1, [0.4, 0.2], [9.0, 9.0]),
    ),
    "then the loss at the chosen epoch, not the best loss": (
        trial(0, [0.4, 0.2], [0.1, 1.0]),
        trial(1, [0.4, 0.2], [1.0, 0.9]),
    ),
    "then the earlier epoch": (
        trial(0, [0.4, 0.2], [1.0, 0.5]),
        trial(1, [0.2, 0.4], [0.5, 1.0]),
    ),
    "the chosen epoch is the first with the value": (
        trial(0, [0.2, 0.3], [0.6, 0.4]),
        trial(1, [0.2, 0.2], [0.5, 0.9]),
    ),
    "then the smaller learning rate": (
        trial(0, [0.2], [0.5], rate=0.1),
        trial(1, [0.2], [0.5], rate=0.01),
    ),
    "a loss that was not finite loses": (
        trial(0, [0.2], [None]),
        trial(1, [0.2], [99.0]),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_ties_are_broken_in_order(case):
    loser, winner = CASES[case]
    for given in ([loser, winner], [winner, loser]):
        assert [f.trial for f in finalists(given, ObjectiveSpec())] == [winner.id]


@pytest.mark.parametrize("case", CASES)
def test_the_report_calls_the_same_trial_the_best(case):
    rows = [trial_row(t, ObjectiveSpec()) for t in CASES[case]]
    found = best_trials({"objective": {"metric": "val/error", "mode": "min"}, "trials": rows})
    assert found["surgical"]["id"] == CASES[case][1].id


def test_the_report_has_a_pruned_trial_for_a_strategy_without_a_complete_one():
    """As the confirm phase takes it."""
    trials = [
        trial(0, [0.1], [0.1], status="PRUNED"),
        trial(1, [0.4], [0.1]),
        trial(2, [0.3], [0.1], status="PRUNED", strategy="full"),
        trial(3, [0.2], [0.1], status="PRUNED", strategy="full"),
    ]
    rows = [trial_row(t, ObjectiveSpec()) for t in trials]
    results = {"objective": {"metric": "val/error", "mode": "min"}, "trials": rows}
    found = {name: best["id"] for name, best in best_trials(results).items()}
    assert found == {f.config.strategy: f.trial for f in finalists(trials, ObjectiveSpec())}
    assert found == {"surgical": "0001", "full": "0003"}
    order = [(row.strategy, row.best_trial) for row in search_rows(results)]
    assert order == [("surgical", "0001"), ("full", None)]  # a pruned one is no best complete one


def test_full_equals_go_to_the_earlier_trial():
    twins = [trial(5, [0.2], [0.5]), trial(2, [0.2], [0.5])]
    assert [f.trial for f in finalists(twins, ObjectiveSpec())] == ["0002"]


def test_only_completed_trials_of_the_search_count_one_for_each_strategy():
    trials = [
        trial(0, [0.1], [0.1], status="PRUNED"),
        trial(1, [0.1], [0.1], phase="confirm"),
        trial(2, [0.4], [0.1]),
        trial(3, [0.5], [0.1], strategy="full"),
        trial(4, [0.1], [0.1], strategy="linear_probe", status="FAILED"),
    ]
    assert [f.trial for f in finalists(trials, ObjectiveSpec())] == ["0002", "0003"]
