"""What several integration tests look at."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna

from raysel.record.events import Event, sqlite_url
from raysel.record.layout import SweepFolder
from raysel.record.read_only import is_behind, read_events
from raysel.record.state import TrialState, fold
from raysel.search.study_database import CURSOR
from raysel.sweep.outcome import Outcome
from raysel.training.source_model import SourceModel


class Silent:
    """A progress reporter that shows nothing and keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.reported: list[str] = []

    def began(self, *_: Any) -> None: ...

    def data(self, *_: Any) -> None: ...

    def decoding(self, *_: Any) -> None: ...

    def note(self, text: str) -> None:
        self.reported.append(text)

    def source_training(self, *_: Any) -> None: ...

    def source(self, model: SourceModel, *_: Any) -> None: ...

    def phase(self, *_: Any) -> None: ...

    def event(self, event: Any) -> None:
        self.events.append(event)

    def stopping(self, *_: Any) -> None: ...

    def finish(self) -> None: ...

    def tracker(self, words: str) -> None:
        self.reported.append(words)

    def storage(self, words: str) -> None:
        self.reported.append(words)


def publish_nothing(outcome: Outcome) -> Outcome:
    """For tests that need neither report nor model."""
    return outcome


def states(folder: Path) -> dict[str, TrialState]:
    """The record of a sweep, folded."""
    return fold(events_of(folder))  # a `Record` would make tables while the driver does


def events_of(folder: Path) -> list[Event]:
    """The record of a sweep."""
    return read_events(sqlite_url(SweepFolder(folder).record))


def study_of(folder: Path, name: str, record: str | None = None) -> optuna.Study:
    """The Optuna study of a sweep, as a dashboard shows it once all is exported.

    Args:
        folder: of the driver that ran it last: its exporter writes the study there.
        record: URL of the sweep's record; None for the file in the folder.
    """
    url = record or sqlite_url(SweepFolder(folder).record)
    deadline = time.monotonic() + 30
    while is_behind(url, CURSOR):  # read-only: a `Record` would make one where none belongs
        assert time.monotonic() < deadline, "the exporter did not bring everything"
        time.sleep(0.05)
    return optuna.load_study(study_name=name, storage=sqlite_url(SweepFolder(folder).study))


def without_clocks(trial: TrialState) -> tuple[Any, ...]:
    """What a trial did, without the times that differ from run to run."""
    epochs = [{k: v for k, v in row.items() if k != "cost/seconds"} for row in trial.epochs]
    return (trial.id, trial.status, dict(trial.config), trial.value, epochs)
