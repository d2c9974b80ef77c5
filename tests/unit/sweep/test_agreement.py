"""The study against the record, and the study made anew from the record."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import optuna
import pytest
from ledger_kit import LAYERS, Life, begin, error, handed_out, run, sweep
from optuna.trial import TrialState as OptunaState

from raysel.space import Space
from raysel.spec import TrialConfig
from raysel.sweep import agreement
from raysel.sweep.agreement import agreed, rebuild, study_differences
from raysel.tracking.record import sqlite_url

METRIC = "val/error"


def nasty(config: TrialConfig, epoch: int) -> float:
    """Some diverge: what the study does not hear of."""
    value = error(config, epoch)
    return float("nan") if epoch == 3 and config.training.learning_rate > 0.06 else value


def said(study: optuna.Study) -> list[tuple[Any, ...]]:
    """What a study says of each trial, but for times; the pruner's marks too."""
    return [
        (
            t.number,
            t.state,
            t.values,
            dict(t.params),
            dict(t.distributions),
            dict(t.intermediate_values),
            {k: v for k, v in t.system_attrs.items() if "rung" in k},
        )
        for t in study.get_trials(deepcopy=False)
        if t.state != OptunaState.WAITING
    ]


def together(life: Life, count: int, until: int) -> None:
    """`count` trials at a time, an epoch each in turn; the driver leaves after `until` epochs."""
    running: dict[str, tuple[TrialConfig, int]] = {}
    for _ in range(until):
        while len(running) < count and (assignment := life.ledger.next_trial()) is not None:
            running[assignment.trial] = (assignment.config, 0)
        if not running:
            return
        trial = next(iter(running))
        config, epoch = running.pop(trial)
        metrics = {METRIC: nasty(config, epoch + 1)}
        if not life.ledger.epoch(trial, epoch + 1, metrics):
            running[trial] = (config, epoch + 1)


def rebuilt(life: Life, folder: Path) -> optuna.Study:
    url = sqlite_url(folder / "sweep.db")
    return rebuild(life.spec, Space(life.spec, LAYERS), url, life.events)


CASES = {
    "equal": ("search.num_trials=16",),
    "adaptive": ("search.num_trials=16", "search.allocation=adaptive", "pruner.compare=all"),
    "hyperband": ("search.num_trials=16", "pruner.kind=hyperband"),
    "median": ("search.num_trials=16", "pruner.kind=median"),
    "repeats": (
        *("search.num_trials=16", "training.learning_rate=0.01"),
        "search.allocation=adaptive",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_study_made_anew_is_the_study_that_was(tmp_path, case):
    life = begin(tmp_path, sweep(*CASES[case]))
    together(life, 3, until=28)
    before = said(life.study)
    states = [t.state for t in life.trials]
    assert OptunaState.RUNNING in states and OptunaState.COMPLETE in states
    if case in ("asha", "equal"):
        assert OptunaState.PRUNED in states
        assert any(marks for *_, marks in before)
    assert said(rebuilt(life, tmp_path)) == before


@pytest.mark.parametrize("case", CASES)
def test_and_suggests_the_same_next(tmp_path, case):
    outcomes = []
    for name in ("kept", "anew"):
        folder = tmp_path / name
        folder.mkdir()
        life = begin(folder, sweep(*CASES[case]))
        done = list(islice(handed_out(life), 12))
        if name == "anew":
            rebuilt(life, folder)
        done += run(begin(folder, life.spec, life=2))
        outcomes.append([(a.trial, a.config) for a in done])
    assert outcomes[0] == outcomes[1]


def finished(folder: Path) -> Life:
    life = begin(folder, sweep("search.num_trials=8"))
    run(life)
    return life


def test_what_agrees_is_left_alone(tmp_path, monkeypatch):
    life = finished(tmp_path)
    assert study_differences(life.study, life.states, METRIC) == []
    monkeypatch.setattr(agreement, "rebuild", None)  # not called
    url = sqlite_url(tmp_path / "sweep.db")
    _, found = agreed(life.spec, Space(life.spec, LAYERS), url, life.events, life.states)
    assert found == []


def test_a_study_that_only_lacks_the_last_event_is_left_to_the_ledger(tmp_path, monkeypatch):
    life = begin(tmp_path, sweep())
    (assignment,) = islice(handed_out(life), 1)
    monkeypatch.setattr(optuna.trial.Trial, "report", lambda *_: None)
    life.ledger.epoch(assignment.trial, 1, {METRIC: 0.5})
    monkeypatch.undo()
    assert life.trials[0].intermediate_values == {}
    monkeypatch.setattr(agreement, "rebuild", None)
    url = sqlite_url(tmp_path / "sweep.db")
    space = Space(life.spec, LAYERS)
    study, found = agreed(life.spec, space, url, life.events, life.states)
    assert found == [] and len(study.get_trials()) >= 1
    assert begin(tmp_path, life.spec, life=2).trials[0].intermediate_values == {1: 0.5}


PLANTED = {
    "a trial is gone": (
        "DELETE FROM trials WHERE number = 7; DELETE FROM trial_params WHERE trial_id = 8;"
        "DELETE FROM trial_intermediate_values WHERE trial_id = 8;"
        "DELETE FROM trial_values WHERE trial_id = 8;"
        "DELETE FROM trial_system_attributes WHERE trial_id = 8",
        ["0007: the study does not have it"],
    ),
    "another state": (
        "UPDATE trials SET state = 'FAIL' WHERE number = 0",
        ["0000: FAIL in the study, COMPLETE in the record"],
    ),
    "another value": (
        "UPDATE trial_values SET value = 0.5 WHERE trial_id = 1",
        ["0000: 0.5 in the study"],
    ),
    "another value of an epoch": (
        "UPDATE trial_intermediate_values SET intermediate_value = 0.5 "
        "WHERE trial_id = 1 AND step = 2",
        ["0000: val/error of epoch 2 is not the record's"],
    ),
    "an epoch is gone": (
        "DELETE FROM trial_intermediate_values WHERE trial_id = 1 AND step = 4",
        ["0000: val/error of epoch 4 is not the record's"],
    ),
    "another parameter": (
        "UPDATE trial_params SET param_value = 1 - param_value "
        "WHERE trial_id = 1 AND param_name = 'surgical.block'",
        ["0000: its parameters are not the record's"],
    ),
    "a trial too many": (
        "INSERT INTO trials (number, study_id, state) SELECT 8, study_id, 'COMPLETE' "
        "FROM trials WHERE number = 0",
        ["0008: COMPLETE in the study, unknown to the record"],
    ),
}


def said_again(life: Life, folder: Path) -> list[tuple[Any, ...]]:
    again = optuna.load_study(study_name=life.spec.name, storage=sqlite_url(folder / "sweep.db"))
    return said(again)


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_difference_is_told_and_mended(tmp_path, planted):
    import sqlite3

    life = finished(tmp_path)
    before, (statement, words) = said(life.study), PLANTED[planted]
    with sqlite3.connect(tmp_path / "sweep.db") as connection:
        connection.executescript(statement)
        assert connection.total_changes
    url, space = sqlite_url(tmp_path / "sweep.db"), Space(life.spec, LAYERS)
    study, found = agreed(life.spec, space, url, life.events, life.states)
    assert len(found) == 1 and found[0].startswith(words[0])
    assert said(study) == before == said_again(life, tmp_path)
    assert study_differences(study, life.states, METRIC) == []
    assert agreed(life.spec, space, url, life.events, life.states)[1] == []
