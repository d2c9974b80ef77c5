"""One order of trials: whoever names a best one names the same, in every kind of tie (D10)."""

import io
from dataclasses import replace

import pytest
from controller_kit import sweep
from results_kit import typed

from raysel.cli.live_table import ConsoleReporter
from raysel.common.rich_output import TextConsole
from raysel.record.layout import SweepFolder
from raysel.record.state import SweepState, TrialState
from raysel.report.review import sweep_row
from raysel.report.tables import best_trials, search_rows
from raysel.sweep.confirm import finalists
from raysel.sweep.fold_results import trial_result
from raysel.sweep.ranking import best_run
from raysel.sweep.results import ConfirmRun
from raysel.sweep.views import SweepView

METRIC = "val/error"
SPEC = sweep()

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
        f"{number:04d}", number, phase, strategy, label=f"{number:04d}",
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
        assert [f.trial for f in finalists(given, METRIC)] == [winner.id]


def shown(trials):
    """The best trial's label, as the live table and its line in a log have it."""
    text = io.StringIO()
    console = TextConsole(file=text, width=200)
    reporter = ConsoleReporter(console)
    reporter.phase("search", len(trials), trials)
    console.print(reporter.table())
    line, _, row, *_ = (line for line in text.getvalue().splitlines() if line.strip())
    return line.split()[-1], row.split()[-1]


@pytest.mark.parametrize("case", CASES)
def test_every_part_names_the_same_trial_the_best(case, tmp_path):
    loser, winner = CASES[case]
    for given in ([loser, winner], [winner, loser]):
        (finalist,) = finalists(given, METRIC)
        rows = [trial_result(t, METRIC).model_dump() for t in given]
        results = typed({"trials": rows})
        view = SweepView(SweepFolder(tmp_path), SPEC, SweepState(), tuple(given), None)
        found = {
            "confirm": finalist.trial,
            "list and show": sweep_row(view).best_trial,
            "the report's figures": best_trials(results)["surgical"].id,
            "the report's table": search_rows(results)[0].best_trial,
        }
        found |= zip(("the log", "the live table"), shown(given), strict=True)
        assert set(found.values()) == {winner.id}, found


def test_a_pruned_trial_stands_for_a_strategy_without_a_complete_one():
    trials = [
        trial(0, [0.1], [0.1], status="PRUNED"),
        trial(1, [0.4], [0.1]),
        trial(2, [0.3], [0.1], status="PRUNED", strategy="full"),
        trial(3, [0.2], [0.1], status="PRUNED", strategy="full"),
    ]
    results = typed({"trials": [trial_result(t, METRIC).model_dump() for t in trials]})
    found = {name: best.id for name, best in best_trials(results).items()}
    assert found == {f.config.strategy: f.trial for f in finalists(trials, METRIC)}
    assert found == {"surgical": "0001", "full": "0003"}
    order = [(row.strategy, row.best_trial) for row in search_rows(results)]
    assert order == [("surgical", "0001"), ("full", None)]  # a pruned one is no best complete one


def test_a_running_trial_is_shown_with_its_best_so_far_until_one_has_ended():
    running = replace(trial(0, [0.3, 0.1, 0.2], [1.0] * 3, status="RUNNING"), value=None)
    assert shown([running]) == ("0000", "0000")
    assert shown([running, trial(1, [0.4], [0.1])]) == ("0001", "0001")


def test_the_best_run_is_by_the_objective_then_by_the_loss_then_the_earlier_seed():
    def run(seed, error, loss):
        return ConfirmRun(seed=seed, val_error=error, val_loss=loss)

    runs = [
        run(1, 0.3, 0.1),
        run(2, 0.2, 0.5),
        run(3, 0.2, 0.4),
        run(4, 0.2, 0.4),
        run(5, 0.2, None),
    ]
    assert best_run(runs, METRIC).seed == 3
    assert best_run(runs, "val/loss").seed == 1


def test_full_equals_go_to_the_earlier_trial():
    twins = [trial(5, [0.2], [0.5]), trial(2, [0.2], [0.5])]
    assert [f.trial for f in finalists(twins, METRIC)] == ["0002"]


def test_only_completed_trials_of_the_search_count_one_for_each_strategy():
    trials = [
        trial(0, [0.1], [0.1], status="PRUNED"),
        trial(1, [0.1], [0.1], phase="confirm"),
        trial(2, [0.4], [0.1]),
        trial(3, [0.5], [0.1], strategy="full"),
        trial(4, [0.1], [0.1], strategy="linear_probe", status="FAILED"),
    ]
    assert [f.trial for f in finalists(trials, METRIC)] == ["0002", "0003"]
