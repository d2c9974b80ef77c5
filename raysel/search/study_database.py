"""The search's Optuna study as a database, for `optuna-dashboard`.

It is exported from the record beside the sweep, and raysel never reads it. A file that was removed
is created again; one that cannot be written is given up, and the sweep continues.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.study import Study

from raysel.record.database import make_private
from raysel.record.events import Record, sqlite_url
from raysel.record.state import ENDED, TrialState, fold, fold_sweep
from raysel.search.study import (
    frozen_trial,
    live_trial,
    name_metrics,
    reported,
    tell_end,
    values_of,
)

CURSOR = "optuna"
"""The record's cursor: up to here the database has states and values."""

BATCH = 200
"""How many events are read at a time."""

_log = logging.getLogger(__name__)


class StudyDatabase:
    """Exports the trials of a sweep's search.

    Args:
        record: where the events are.
        file: the database, made where it is not there.
    """

    def __init__(self, record: Record, file: Path) -> None:
        self._record, self._file = record, file
        self._study: Study | None = None
        self._given_up = False
        if not file.exists():
            record.move_cursor(CURSOR, 0)
        done = record.cursor(CURSOR)
        before = [s.event for s in record.events() if s.sequence <= done]
        self._sweep, self._trials = fold_sweep(before), fold(before)

    def export(self) -> bool:
        """Export some events to the database; False if there are none."""
        found = self._record.events(self._record.cursor(CURSOR), BATCH)
        if not found:
            return False
        events = [stored.event for stored in found]
        self._sweep = fold_sweep(events, self._sweep)
        self._trials = fold(events, self._trials)
        changed = {event.trial: self._trials[event.trial] for event in events if event.trial}
        if not self._given_up:
            self._try(changed)
        self._record.move_cursor(CURSOR, found[-1].sequence)
        return True

    def _try(self, changed: Mapping[str, TrialState]) -> None:
        # where the record is in PostgreSQL the cursor may be that of a driver with another folder:
        # the file here may lack what was exported there
        outdated = self._trials if self._study is None else changed
        try:
            for trial in outdated.values():
                if trial.phase == "search":
                    self._bring(trial)
        except Exception as error:  # Optuna raises many types
            _log.warning("the study for dashboards, %s, is given up: %s", self._file, error)
            self._given_up = True
            with suppress(OSError):
                self._file.unlink(missing_ok=True)  # the next driver's exporter makes it anew

    def _bring(self, trial: TrialState) -> None:
        self._study = study = self._study or self._opened()
        known = study.get_trials(deepcopy=False)
        if trial.number >= len(known):
            study.add_trial(frozen_trial(trial, self._sweep.metrics))
            return
        frozen = known[trial.number]
        if frozen.state.is_finished():
            return
        live = live_trial(study, trial.number)
        if not self._sweep.secondary:  # Optuna keeps no values of epochs of several objectives
            for epoch, value in reported(trial, self._sweep.metric).items():
                if epoch not in frozen.intermediate_values:
                    live.report(value, epoch)
        if trial.status in ENDED:
            tell_end(live, trial.status, values_of(trial, self._sweep.metrics))

    def _opened(self) -> Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        make_private(self._file)
        storage = RDBStorage(sqlite_url(self._file))
        sa.event.listen(storage.engine, "connect", _without_waiting)
        study = optuna.create_study(
            storage=storage,
            study_name=self._sweep.name,
            directions=["minimize"] * len(self._sweep.metrics),
            load_if_exists=True,
        )
        name_metrics(study, self._sweep.metrics)
        return study


def _without_waiting(connection: Any, _: Any) -> None:
    """A commit need not be on the disk: what a power cut takes is exported again."""
    connection.execute("PRAGMA synchronous = OFF")
