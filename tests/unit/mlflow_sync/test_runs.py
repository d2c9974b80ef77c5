import math
from dataclasses import replace

import pytest

from raysel.mlflow_sync.runs import (
    measured,
    note,
    parameters,
    points,
    run_name,
    sweep_image,
    trial_image,
)
from raysel.record.events import SWEEP, Event, Kind
from raysel.record.state import SweepState, TrialState, fold, fold_sweep

CONFIG = {
    "strategy": "bvg_ls",
    "parameters": {"ema_decay": 0.93, "ema_init": "debiased"},
    "training": {"epochs": 15, "learning_rate": 0.021, "clip_norm": None, "deterministic": False},
    "seed": 1000,
}
TRIAL = TrialState(
    id="0007",
    number=7,
    strategy="bvg_ls",
    label="bvg_ls lr=0.021 ema_decay=0.93",
    config=CONFIG,
    started_at=10.0004,
    epochs=({"epoch": 1, "val/error": 0.5}, {"epoch": 2, "val/error": None}),
)
SWEEP_STATE = SweepState(
    id="digits-3f2a", name="digits", metric="val/error", folder="/runs/digits", started_at=5.0
)


@pytest.mark.parametrize(
    ("status", "mlflow", "ended"),
    [
        ("RUNNING", "RUNNING", None),
        ("COMPLETE", "FINISHED", 20_500),
        ("PRUNED", "FINISHED", 20_500),
        ("FAILED", "FAILED", 20_500),
    ],
)
def test_states_in_mlflows_words(status, mlflow, ended):
    at = None if ended is None else 20.5
    image = trial_image(replace(TRIAL, status=status, ended_at=at), SWEEP_STATE)
    assert (image.status, image.ended) == (mlflow, ended)
    assert image.tags["raysel.status"] == status


def test_an_interrupted_trial_is_killed_at_the_time_it_was_left():
    trial = replace(TRIAL, status="INTERRUPTED", cause="Ctrl-C", interrupted_at=15.0)
    image = trial_image(trial, SWEEP_STATE)
    assert (image.status, image.ended) == ("KILLED", 15_000)
    assert (image.tags["raysel.status"], image.tags["raysel.cause"]) == ("INTERRUPTED", "Ctrl-C")


def test_a_trial_that_runs_again_has_no_cause_left():
    assert trial_image(TRIAL, SWEEP_STATE).tags["raysel.cause"] == ""


def test_a_trial_that_comes_from_earlier_sweeps_says_so():
    note = {"as": "warm-up", "sweeps": ["runs/a", "b"]}
    tags = trial_image(replace(TRIAL, attributes={"raysel:prior": note}), SWEEP_STATE).tags
    assert tags["raysel.prior"] == "warm-up: runs/a, b"
    assert "raysel.prior" not in trial_image(TRIAL, SWEEP_STATE).tags


def test_run_names():
    assert run_name(TRIAL) == "07 bvg_ls lr=0.021 ema_decay=0.93"
    assert run_name(replace(TRIAL, phase="confirm")) == "confirm bvg_ls seed 1000"


def test_parameters_are_the_configuration_flat_and_nothing_else():
    assert parameters(CONFIG) == {
        "strategy": "bvg_ls",
        "seed": "1000",
        "bvg_ls.ema_decay": "0.93",
        "bvg_ls.ema_init": "debiased",
        "training.epochs": "15",
        "training.learning_rate": "0.021",
        "training.clip_norm": "none",
        "training.deterministic": "false",
    }


def test_the_parent_carries_verdict_versions_and_commit():
    sweep = replace(
        SWEEP_STATE,
        status="COMPLETE",
        verdict="full is better",
        ended_at=50.0,
        manifest={"versions": {"raysel": "0.1.0", "ray": "2.60.0"}, "git_sha": "abc"},
    )
    image = sweep_image(sweep)
    assert (image.trial, image.name, image.status) == (SWEEP, "digits", "FINISHED")
    assert (image.started, image.ended, image.params) == (5_000, 50_000, {})
    assert image.tags["raysel.verdict"] == "full is better"
    assert image.tags["raysel.versions"] == "raysel 0.1.0 ray 2.60.0"
    assert image.tags["mlflow.source.git.commit"] == "abc"
    assert image.tags["raysel.report"] == "/runs/digits/report/index.html"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "Trial 7 of the search digits: bvg_ls lr=0.021 ema_decay=0.93. Is running."),
        ({"status": "COMPLETE", "value": 0.25}, "Complete after 2 epochs, val/error 0.25."),
        ({"status": "PRUNED", "value": 0.5}, "Stopped by the pruner after 2 epochs"),
        ({"status": "FAILED", "cause": "out of memory"}, "Failed after 2 epochs: out of memory."),
        ({"status": "INTERRUPTED"}, "Left after 2 epochs. `raysel resume digits` takes it up."),
        (
            {"phase": "confirm", "status": "COMPLETE", "end_metrics": {"test/error": 0.2512}},
            "The best bvg_ls again, with seed 1000. Complete after 2 epochs. Test error 0.2512.",
        ),
        (
            {"phase": "range", "status": "COMPLETE"}
            | {"end_metrics": {"range/steps": 37.0, "range/suggested": 0.01234}},
            "The range test of bvg_ls, before the search digits. Complete after 37 steps, suggests"
            " the learning rate 0.012.",
        ),
        (
            {"phase": "range", "status": "COMPLETE", "end_metrics": {"range/steps": 1.0}},
            "Complete after 1 step, suggests none.",
        ),
        ({"phase": "range", "status": "FAILED", "cause": "out of memory"}, "Failed: out of memory"),
    ],
)
def test_the_note_says_in_a_sentence_what_it_was(change, words):
    assert words in note(replace(TRIAL, **change), SWEEP_STATE)


def test_points_carry_the_events_own_time_and_epoch():
    event = Event("0007", Kind.EPOCH, 3, 1000.1234, {"metrics": {"val/error": 0.5}})
    (point,) = points(event)
    assert (point.key, point.value, point.timestamp, point.step) == ("val/error", 0.5, 1_000_123, 3)


def test_values_that_are_not_finite_are_left_out_and_counted():
    metrics = {"a": math.nan, "b": math.inf, "c": None, "d": 0.0}
    assert [p.key for p in points(Event("0007", Kind.EPOCH, 1, 1.0, {"metrics": metrics}))] == ["d"]
    assert trial_image(TRIAL, SWEEP_STATE).tags["raysel.non_finite_values"] == "1"
    sound = replace(TRIAL, epochs=TRIAL.epochs[:1])
    assert "raysel.non_finite_values" not in trial_image(sound, SWEEP_STATE).tags


def test_the_end_brings_the_test_and_not_a_second_point_of_an_epoch():
    metrics = {"test/error": 0.25, "val/error": 0.24}
    event = Event("confirm-full-s0", Kind.ENDED, 12, 1.0, {"metrics": metrics})
    assert [(p.key, p.step) for p in points(event)] == [("test/error", 12)]


@pytest.mark.parametrize("kind", [Kind.STARTED, Kind.INTERRUPTED, Kind.RESUMED])
def test_other_events_bring_no_points(kind):
    assert points(Event("0007", kind, 0, 1.0, {"metrics": {"a": 1.0}})) == []


def test_names_that_mlflow_refuses_are_made_acceptable():
    event = Event("0007", Kind.EPOCH, 1, 1.0, {"metrics": {"select/a(b)*": 1.0}})
    assert points(event)[0].key == "select/a_b__"


def test_what_is_too_long_for_mlflow_is_cut():
    trial = replace(TRIAL, status="FAILED", cause="x" * 9000, label="y" * 400)
    image = trial_image(trial, SWEEP_STATE)
    assert len(image.tags["raysel.cause"]) == 8000
    assert len(image.name) == 250
    assert len(parameters({**CONFIG, "parameters": {"block": "z" * 7000}})["bvg_ls.block"]) == 6000


def epochs(*values):
    """Events of a trial whose validation error goes so."""
    metrics = ({"val/error": value, "val/loss": 9.0} for value in values)
    own = [Event("0007", Kind.EPOCH, n, float(n), {"metrics": m}) for n, m in enumerate(metrics, 1)]
    return [Event("0007", Kind.STARTED, 0, 0.0, {"number": 7}), *own]


def best(found):
    return [(p.step, p.value, p.timestamp) for p in found["0007"] if p.key == "best/val_error"]


def test_each_epoch_brings_the_lowest_objective_until_then():
    events = epochs(0.5, None, 0.3, 0.4)
    wanted = [(1, 0.5, 1000), (2, 0.5, 2000), (3, 0.3, 3000), (4, 0.3, 4000)]
    assert best(measured(events, fold(events), "val/error")) == wanted


def test_the_lowest_objective_is_the_same_in_whatever_batches_it_is_sent():
    events, sent, trials = epochs(0.5, 0.3, 0.4), [], {}
    for event in events:
        trials = fold([event], trials)
        sent += best(measured([event], trials, "val/error"))
    assert sent == best(measured(events, fold(events), "val/error"))


def test_before_the_first_finite_objective_there_is_no_lowest():
    events = epochs(None, 0.4)
    assert best(measured(events, fold(events), "val/error")) == [(2, 0.4, 2000)]


CONFIRMED = [
    {"strategy": "full", "test_error": 0.25, "low": 0.2, "high": 0.3, "validation": 0.27},
    {"strategy": "ours", "test_error": 0.24, "low": None, "high": None, "validation": 0.2},
]
CONFIRMED = [{**row, "runs": runs} for row, runs in zip(CONFIRMED, (5, 1), strict=True)]


def test_the_end_brings_the_means_of_the_confirm_phase_to_the_parent():
    end = Event(SWEEP, Kind.FINISHED, 2, 50.0, {"status": "COMPLETE", "confirmed": CONFIRMED})
    found = measured([end], {}, "val/error")[SWEEP]
    assert {(p.key, p.value, p.step) for p in found} == {
        ("confirmed/test_error/full", 0.25, 2),
        ("confirmed/validation/full", 0.27, 2),
        ("confirmed/test_error/ours", 0.24, 2),
        ("confirmed/validation/ours", 0.2, 2),
    }
    assert points(Event(SWEEP, Kind.FINISHED, 2, 50.0, {"status": "COMPLETE"})) == []


def test_the_parent_is_described_by_verdict_and_confirmed_strategies():
    begun = Event(SWEEP, Kind.SWEEP, 0, 1.0, {"name": "a", "description": "Which layers?"})
    end = {"status": "COMPLETE", "verdict": "ours is better", "confirmed": CONFIRMED}
    end |= {"model": "/runs/a/best"}
    described = fold_sweep([begun, Event(SWEEP, Kind.FINISHED, 1, 2.0, end)])
    text = sweep_image(described).tags["mlflow.note.content"]
    assert text.startswith("Which layers?\n\n**Verdict.** ours is better\n\n| strategy |")
    assert "| full | 25.0% | 20.0% to 30.0% | 5 |\n| ours | 24.0% |  | 1 |" in text
    assert "best/README.md" in text
    again = fold_sweep([Event(SWEEP, Kind.RESUMED, 2, 3.0, {})], described)
    assert sweep_image(again).tags["mlflow.note.content"] == "Which layers?"


def test_a_trial_says_how_far_it_came_and_which_cell_it_is_of():
    cell = replace(SWEEP_STATE, name="study/pets")
    tags = trial_image(TRIAL, cell).tags
    assert tags["raysel.epochs"] == "2 of 15"
    assert (tags["raysel.suite"], tags["raysel.cell"]) == ("study", "pets")
    assert "raysel.cell" not in trial_image(TRIAL, SWEEP_STATE).tags
