import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysel.record.events import SWEEP, Event, Kind
from raysel.record.state import TrialState, fold, fold_sweep

STARTED = {
    "number": 7,
    "phase": "search",
    "strategy": "full",
    "label": "full lr=0.01",
    "config": {"strategy": "full", "seed": 0},
    "searched": {"learning_rate": 0.01},
}


def started(trial="0007", at=10.0):
    return Event(trial, Kind.STARTED, 0, at, STARTED)


def epoch(number, trial="0007", **metrics):
    return Event(trial, Kind.EPOCH, number, 10.0 + number, {"metrics": metrics or {"m": number}})


def ended(status, trial="0007", at=20.0, **more):
    return Event(trial, Kind.ENDED, 2, at, {"status": status, "cause": None, "value": None, **more})


def interrupted(attempt=1, at=15.0, trial="0007"):
    return Event(trial, Kind.INTERRUPTED, attempt, at, {"cause": "Ctrl-C"})


def resumed(attempt=2, at=16.0, trial="0007"):
    return Event(trial, Kind.RESUMED, attempt, at, {})


def test_a_trial_that_runs():
    assert fold([started(), epoch(1, loss=0.5), epoch(2, loss=None)])["0007"] == TrialState(
        id="0007",
        **STARTED,
        epochs=({"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": None}),
        started_at=10.0,
    )


@pytest.mark.parametrize("status", ["COMPLETE", "PRUNED", "FAILED"])
def test_a_trial_that_ended(status):
    event = ended(status, cause="why", value=0.25, metrics={"test/error": 0.3})
    trial = fold([started(), epoch(1), event])["0007"]
    assert (trial.status, trial.cause, trial.value) == (status, "why", 0.25)
    assert (trial.ended_at, trial.end_metrics) == (20.0, {"test/error": 0.3})


def test_an_interrupted_trial_has_not_ended_and_says_when_it_was_left():
    trial = fold([started(), epoch(1), interrupted()])["0007"]
    assert (trial.status, trial.cause) == ("INTERRUPTED", "Ctrl-C")
    assert (trial.interrupted_at, trial.ended_at) == (15.0, None)


def test_a_resumed_trial_runs_as_if_nothing_had_been():
    before = [started(), epoch(1)]
    assert fold([*before, interrupted(), resumed()]) == fold(before)


@pytest.mark.parametrize("late", [interrupted(), resumed()], ids=["interrupted", "resumed"])
def test_nothing_reopens_an_ended_trial(late):
    done = [started(), epoch(1), ended("PRUNED")]
    assert fold([*done, late]) == fold(done)


def test_epochs_stand_in_their_order_and_once():
    trial = fold([started(), epoch(2), epoch(1), epoch(2, m=9)])["0007"]
    assert [(e["epoch"], e["m"]) for e in trial.epochs] == [(1, 1), (2, 9)]


def test_trials_are_apart_and_in_the_order_of_their_start():
    trials = fold([started("b"), started("a"), epoch(1, "b"), ended("FAILED", "a")])
    assert list(trials) == ["b", "a"]
    assert (trials["b"].status, trials["a"].status) == ("RUNNING", "FAILED")
    assert (len(trials["b"].epochs), len(trials["a"].epochs)) == (1, 0)


SWEEP_EVENTS = [
    Event(
        SWEEP,
        Kind.SWEEP,
        0,
        5.0,
        {
            "name": "digits",
            "sweep_id": "digits-1",
            "description": None,
            "spec": "name: digits",
            "layers": ["stem", "head"],
            "manifest": {"git_sha": "abc"},
            "folder": "/runs/digits",
            "objective": {"metric": "val/error"},
        },
    ),
    started(),
    Event(SWEEP, Kind.FINISHED, 1, 30.0, {"status": "INTERRUPTED", "cause": "Ctrl-C"}),
    Event(SWEEP, Kind.RESUMED, 2, 40.0, {}),
    Event(SWEEP, Kind.FINISHED, 2, 50.0, {"status": "COMPLETE", "verdict": "full is better"}),
]


def test_the_sweep_from_its_events():
    sweep = fold_sweep(SWEEP_EVENTS[:2])
    assert (sweep.id, sweep.name, sweep.description) == ("digits-1", "digits", "")
    assert (sweep.layers, sweep.metric) == (("stem", "head"), "val/error")
    assert (sweep.started_at, sweep.ended_at, sweep.status) == (5.0, None, "RUNNING")


def test_a_sweep_finishes_is_resumed_and_finishes_again():
    states = [fold_sweep(SWEEP_EVENTS[:end]) for end in (3, 4, 5)]
    assert [s.status for s in states] == ["INTERRUPTED", "RUNNING", "COMPLETE"]
    assert [s.ended_at for s in states] == [30.0, None, 50.0]
    assert [s.cause for s in states] == ["Ctrl-C", None, None]
    assert states[2].verdict == "full is better"


EVENTS = st.lists(
    st.sampled_from(
        [
            e
            for t in ("a", "b")
            for e in (
                started(t),
                epoch(1, t),
                epoch(2, t),
                ended("COMPLETE", t),
                interrupted(trial=t),
                resumed(trial=t),
            )
        ]
        + SWEEP_EVENTS
    ),
    max_size=12,
)


@given(EVENTS, EVENTS)
def test_folding_can_be_taken_up_where_it_was_left(earlier, later):
    assert fold(later, fold(earlier)) == fold([*earlier, *later])
    assert fold_sweep(later, fold_sweep(earlier)) == fold_sweep([*earlier, *later])


@given(EVENTS)
def test_folding_leaves_the_state_before_as_it_was(later):
    before = fold([started("a"), epoch(1, "a")])
    kept = dict(before)
    fold(later, before)
    assert before == kept
