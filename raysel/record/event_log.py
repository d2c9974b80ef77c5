"""How the driver writes events: into the record first, then to the observer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from raysel.record.events import Event, Kind, Record
from raysel.spec.trial_config import TrialConfig

Observer = Callable[[Event], None]
"""Called with every event after its commit."""


class EventLog:
    """The record of one sweep, written by one attempt of its driver.

    Args:
        record: where events go.
        attempt: 1 for the first driver of the sweep, 2 for the next that resumes it, …
        observer: called with every new event.
        check: raises if the record must not be written any more.
        clock: gives the time of an event.
    """

    def __init__(
        self,
        record: Record,
        attempt: int,
        observer: Observer | None = None,
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.record, self.attempt = record, attempt
        self._observer, self._check, self._clock = observer, check, clock
        self._unsaid: dict[str, Mapping[str, Any]] = {}

    def write(self, trial: str, kind: Kind, epoch: int, payload: Mapping[str, Any]) -> bool:
        """Commit an event; False where the same one was there before."""
        return self._commit(Event(trial, kind, epoch, self._clock(), dict(payload)))

    def _commit(self, *events: Event) -> bool:
        self._check()
        new = self.record.append(*events)
        self._check()  # it may have gone into a file that is removed
        if new and self._observer:
            for event in events:
                self._observer(event)
        return new

    def started(
        self,
        trial: str,
        number: int,
        phase: str,
        config: TrialConfig,
        searched: Mapping[str, Any],
        study: Mapping[str, Any] | None = None,
    ) -> None:
        """A trial is assigned to a worker; reported again by a later attempt, it is resumed.

        Args:
            study: what Optuna's study keeps of the trial, by the names of `TrialState`:
                `suggested`, `distributions`, `attributes`. The study is rebuilt from it.
        """
        payload = {
            "number": number,
            "phase": phase,
            "strategy": config.arm,
            "label": config.label(searched),
            "config": config.model_dump(mode="json"),
            "searched": dict(searched),
            **(study or {"suggested": {}}),
        }
        if not self.write(trial, Kind.STARTED, 0, payload):
            self.write(trial, Kind.RESUMED, self.attempt, payload)

    def epoch(
        self,
        trial: str,
        epoch: int,
        metrics: Mapping[str, float],
        incident: Mapping[str, Any] | None,
        attributes: Mapping[str, Any] | None = None,
        end: Mapping[str, Any] | None = None,
    ) -> bool:
        """Commit an epoch, and with it the trial's end where it ends there.

        A trial that fell back to an older checkpoint reports epochs again: its incident then
        waits for an epoch that is new.

        Args:
            incident: in the epoch: its `note`, and `halved_at_epoch` where it is about that.
            attributes: what the pruner noted in the study's trial.
            end: the payload of the trial's end.

        Returns:
            Whether the epoch is new.
        """
        incidents = [one for one in (self._unsaid.pop(trial, None), incident) if one]
        both = {name: value for one in reversed(incidents) for name, value in one.items()}
        if incidents:
            both["note"] = "; ".join(one["note"] for one in incidents)
        payload: dict[str, Any] = {"metrics": metrics, **both}
        payload |= {"attributes": dict(attributes)} if attributes else {}
        events = [Event(trial, Kind.EPOCH, epoch, self._clock(), payload)]
        if end is not None:
            events.append(Event(trial, Kind.ENDED, epoch, self._clock(), dict(end)))
        new = self._commit(*events)
        if both and not new:
            self._unsaid[trial] = both
        return new

    def interrupted(self, trial: str, cause: str) -> None:
        """The sweep ended before the trial did."""
        self.write(trial, Kind.INTERRUPTED, self.attempt, {"cause": cause})
