"""State of the sweep and its trials, folded from the events.

Folding is pure and incremental: `fold(later, fold(earlier))` equals
`fold(earlier + later)`, and `fold_sweep` likewise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from raysel.record.events import SWEEP, Event, Kind
from raysel.record.failure_kind import FailureKind, failure_of, halved_at_epoch

RUNNING = "RUNNING"
COMPLETE = "COMPLETE"
PRUNED = "PRUNED"
FAILED = "FAILED"
INTERRUPTED = "INTERRUPTED"

ENDED = frozenset({COMPLETE, PRUNED, FAILED})
"""Final states of a trial."""

TO_BEAT = "greedy:to_beat"
"""Among a trial's attributes: the error that its set of layers has to go below to be taken."""

NOTED = "raysel:prior"
"""Among a trial's attributes: the earlier sweeps it comes from (`sweeps`), and how (`as`)."""

POINT, WARM = "point", "warm-up"
"""A configuration of an earlier sweep; a suggestion of TPE that was given trials of some."""

RANGE = "range"
"""The phase of range tests, and what their names begin with: `range-full`."""

RANGE_SUGGESTED, TESTED_STEPS = "range/suggested", "range/steps"
"""Of a range test's end: the learning rate, not there where it suggests none; its steps."""

CLOSED = "closed by raysel reconcile"
"""The cause of a trial that was interrupted and that nobody will resume."""


@dataclass(frozen=True)
class TrialState:
    """One trial.

    Attributes:
        id: `0007` in the search, `confirm-full-s0` in the confirm phase, `range-full`.
        number: its place in its phase, from 0; -1 while it is not known.
        phase: `search` or `confirm`; `range` of a range test before the search.
        strategy, label: its strategy, and a short description of its values.
        config: a `TrialConfig` as a dictionary.
        searched: the values that the search chose, by name.
        suggested: the same under the study's names; empty in the confirm phase.
        distributions: what each of them was suggested from, in Optuna's JSON.
        attributes: what Optuna's samplers and pruners noted in the study's trial.
        status: RUNNING, COMPLETE, PRUNED, FAILED or INTERRUPTED.
        cause: why it failed or was interrupted, in words.
        failure: of what kind the failure was; None where it did not fail.
        value: the objective at its end; None where there is none.
        values: where there are several objectives, each of them at its end, by name.
        epochs: for each epoch ended, in order, its metrics and `epoch` itself; None stands
            for a number that was not finite.
        started_at, ended_at: unix time, seconds; `ended_at` is None until the trial is
            COMPLETE, PRUNED or FAILED.
        interrupted_at: unix time at which it was left, while it is INTERRUPTED.
        end_metrics: what was measured once, at the end (`test/error`, …).
        notes: incidents (out of memory, a damaged checkpoint), in sentences.
        halved_at_epoch: the epoch from which on it has half the batch; None where it has all.
    """

    id: str
    number: int = -1
    phase: str = "search"
    strategy: str = ""
    label: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    searched: Mapping[str, Any] = field(default_factory=dict)
    suggested: Mapping[str, Any] = field(default_factory=dict)
    distributions: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    status: str = RUNNING
    cause: str | None = None
    failure: FailureKind | None = None
    value: float | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    epochs: tuple[Mapping[str, float | None], ...] = ()
    started_at: float | None = None
    ended_at: float | None = None
    interrupted_at: float | None = None
    end_metrics: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    halved_at_epoch: int | None = None

    @property
    def to_beat(self) -> float | None:
        """The error that its set of layers has to go below to be taken (`search.sampler: greedy`);
        None where there is no such bound."""
        return self.attributes.get(TO_BEAT)

    @property
    def earlier(self) -> tuple[str, tuple[str, ...]]:
        """How it comes from earlier sweeps (`POINT`, `WARM`), and from which, by their addresses;
        empty where from none."""
        note = self.attributes.get(NOTED) or {}
        return note.get("as", ""), tuple(note.get("sweeps", ()))


@dataclass(frozen=True)
class SweepState:
    """The sweep as a whole.

    Attributes:
        id, name, description: what identifies it.
        spec: the resolved sweep file, YAML.
        layers: names of the model's layers, in forward order; of several models those of all.
        layers_by_model: of several models those of each; else empty.
        split: digest of which example is in which part; empty in the record of an older raysel.
        manifest: versions, git sha, command.
        folder: where the sweep's files lie.
        metric: the objective; the smaller the better.
        secondary: the objectives beside it.
        prior: what it took from earlier sweeps (`raysel.search.prior.Prior`); empty without.
        status: RUNNING, COMPLETE or INTERRUPTED.
        cause, verdict: sentences, once it has ended.
        confirmed: of each confirmed strategy its mean test error (`test_error`, with `low` and
            `high`), its mean objective (`validation`) and the number of its `runs`; empty in the
            record of an older raysel.
        model: where the best model lies; None while there is none.
        started_at, ended_at: unix time, seconds.
    """

    id: str = ""
    name: str = ""
    description: str = ""
    spec: str = ""
    layers: tuple[str, ...] = ()
    layers_by_model: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    split: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    metric: str = ""
    secondary: tuple[str, ...] = ()
    prior: Mapping[str, Any] = field(default_factory=dict)
    status: str = RUNNING
    cause: str | None = None
    verdict: str | None = None
    confirmed: tuple[Mapping[str, Any], ...] = ()
    model: str | None = None
    started_at: float | None = None
    ended_at: float | None = None

    def layers_of(self, trial: TrialState) -> tuple[str, ...]:
        """The layers of a trial's model, in forward order."""
        return self.layers_by_model.get(str(trial.config.get("model", "")), self.layers)

    @property
    def metrics(self) -> tuple[str, ...]:
        """All objectives, the one that decides first."""
        return (self.metric, *self.secondary)


def fold(
    events: Iterable[Event], start: Mapping[str, TrialState] | None = None
) -> dict[str, TrialState]:
    """The trials after `events`, given the trials `start` before them.

    Returns:
        The trials by id, in the order in which they started.
    """
    trials = dict(start or {})
    for event in events:
        if event.trial != SWEEP:
            before = trials.get(event.trial, TrialState(event.trial))
            trials[event.trial] = _fold_trial(before, event)
    return trials


def fold_sweep(events: Iterable[Event], start: SweepState | None = None) -> SweepState:
    """The sweep after `events`, given its state `start` before them."""
    sweep = start or SweepState()
    for event in events:
        if event.trial == SWEEP:
            sweep = _fold_sweep(sweep, event)
    return sweep


def located(sweep: SweepState, folder: Path) -> SweepState:
    """The sweep with its files in `folder`, wherever they were when its events were written."""
    model = sweep.model
    if model is not None and sweep.folder and Path(model).is_relative_to(sweep.folder):
        model = str(folder / Path(model).relative_to(sweep.folder))
    return replace(sweep, folder=str(folder), model=model)


def _fold_sweep(sweep: SweepState, event: Event) -> SweepState:
    payload = event.payload
    if event.kind == Kind.SWEEP:
        objective = payload.get("objective") or {}
        return replace(
            sweep,
            id=payload.get("sweep_id", ""),
            name=payload.get("name", ""),
            description=payload.get("description") or "",
            spec=payload.get("spec", ""),
            layers=tuple(payload.get("layers", ())),
            layers_by_model={
                model: tuple(layers)
                for model, layers in (payload.get("layers_by_model") or {}).items()
            },
            split=payload.get("split", ""),
            manifest=payload.get("manifest") or {},
            folder=payload.get("folder", ""),
            metric=objective.get("metric", ""),
            secondary=tuple(objective.get("secondary", ())),
            prior=payload.get("prior") or {},
            started_at=event.at,
        )
    if event.kind == Kind.FINISHED:
        return replace(
            sweep,
            status=payload.get("status", COMPLETE),
            cause=payload.get("cause"),
            verdict=payload.get("verdict"),
            confirmed=tuple(payload.get("confirmed") or ()),
            model=payload.get("model"),
            ended_at=event.at,
        )
    if event.kind == Kind.RESUMED:
        return replace(
            sweep,
            status=RUNNING,
            cause=None,
            verdict=None,
            confirmed=(),
            model=None,
            ended_at=None,
            spec=payload.get("spec", sweep.spec),
            split=sweep.split or payload.get("split", ""),
            folder=payload.get("folder", sweep.folder),
        )
    return sweep


def _fold_trial(trial: TrialState, event: Event) -> TrialState:
    payload = event.payload
    if event.kind == Kind.STARTED:
        return replace(
            trial,
            number=payload.get("number", -1),
            phase=payload.get("phase", "search"),
            strategy=payload.get("strategy", ""),
            label=payload.get("label", ""),
            config=payload.get("config") or {},
            searched=payload.get("searched") or {},
            suggested=payload.get("suggested") or {},
            distributions=payload.get("distributions") or {},
            attributes=payload.get("attributes") or {},
            started_at=event.at,
        )
    if event.kind == Kind.EPOCH:
        epoch = {"epoch": event.epoch, **payload.get("metrics", {})}
        others = [known for known in trial.epochs if known["epoch"] != event.epoch]
        ordered = sorted([*others, epoch], key=lambda known: known["epoch"])
        new = payload.get("note")
        notes = trial.notes if new is None or new in trial.notes else (*trial.notes, new)
        attributes = {**trial.attributes, **payload.get("attributes", {})}
        return replace(
            trial,
            epochs=tuple(ordered),
            notes=notes,
            attributes=attributes,
            halved_at_epoch=trial.halved_at_epoch or halved_at_epoch(payload),
        )
    if event.kind == Kind.ENDED:
        return replace(
            trial,
            status=payload["status"],
            cause=payload.get("cause"),
            failure=failure_of(payload),
            value=payload.get("value"),
            values=payload.get("values") or {},
            ended_at=event.at,
            interrupted_at=None,
            end_metrics=payload.get("metrics") or {},
        )
    if trial.status in ENDED:  # nothing reopens an ended trial
        return trial
    if event.kind == Kind.INTERRUPTED:
        cause = payload.get("cause")
        return replace(trial, status=INTERRUPTED, cause=cause, interrupted_at=event.at)
    if event.kind == Kind.RESUMED:
        return replace(trial, status=RUNNING, cause=None, interrupted_at=None)
    return trial
