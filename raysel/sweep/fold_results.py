"""Fold the record's trials into the results of a sweep."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysel.common.text import and_more
from raysel.models.layers import Partition
from raysel.record.state import COMPLETE, FAILED, TrialState
from raysel.search.prior import Prior
from raysel.sweep.confirm_answers import answers_of
from raysel.sweep.confirm_rounds import level_of
from raysel.sweep.confirmed import confirm_rows, seconds_of
from raysel.sweep.importance import importance
from raysel.sweep.inputs import SweepInputs
from raysel.sweep.prior_use import prior_use
from raysel.sweep.question import Question, baseline_of, tested_by
from raysel.sweep.ranking import (
    best_epoch,
    configuration,
    finalists,
    leaders,
    pareto_front,
    rank,
)
from raysel.sweep.results import (
    ConfirmedStrategy,
    Objective,
    Spent,
    StoredFeatures,
    StrategyEffort,
    SweepResults,
    TrialResult,
    Verdict,
)
from raysel.sweep.split import digest_of
from raysel.sweep.statistics.differences import overlap_correction
from raysel.sweep.tuning_effort import efforts
from raysel.sweep.verdict import improvements, verdict
from raysel.training.answers import FILE as ANSWERS_FILE
from raysel.training.features import READ, SECONDS


def fold_results(
    inputs: SweepInputs,
    sweep_id: str,
    trials: Sequence[TrialState],
    spent: Spent,
    versions: Mapping[str, str],
    complete: bool,
    folder: Callable[[str], Path] | None = None,
    prior: Prior | None = None,
) -> SweepResults:
    """The outcome of a sweep.

    Args:
        trials: every trial of both phases.
        spent: the time; the counts are added here.
        complete: whether both phases ran to their end.
        folder: of a trial, by its id; without it test examples are not compared one by one.
        prior: what the sweep took from earlier ones when it began.
    """
    spec, data = inputs.spec, inputs.task.summary
    sources = {name: own.source for name, own in inputs.by_model.items() if own.source}
    metric, folded = spec.objective.metric, _fold(inputs, trials)
    counts = {
        "trials": len(folded.search),
        "runs": sum(t.phase == "confirm" for t in trials),
        "epochs": sum(len(t.epochs) for t in trials),
        "features": stored_features(trials),
    }
    return SweepResults(
        name=spec.name,
        description=spec.description,
        sweep_id=sweep_id,
        status="complete" if complete else "interrupted",
        data=None if data is None else data.to_dict(),
        split=digest_of(inputs.task.record),
        objective=Objective(**spec.objective.model_dump()),
        layers=inputs.every_layer,
        layer_sizes=inputs.layer_sizes,
        models=inputs.space.models,
        layers_by_model=inputs.layers_by_model,
        source=None if sources else inputs.source,
        source_by_model=sources,
        trials=tuple(trial_result(trial, metric) for trial in folded.search),
        pareto_front=tuple(trial.id for trial in pareto_front(folded.search, metric)),
        confirm=folded.rows,
        other_configurations=folded.others,
        verdict=_verdict(inputs, folded, folder),
        effort=tuple(folded.effort.values()),
        prior=prior_use(prior, folded.search),
        improvement=tuple(improvements(folded.rows, tested_by(metric))),
        importance=tuple(importance(spec, inputs.space, folded.search)),
        spent=spent.model_copy(update=counts),
        versions=dict(versions),
    )


def stored_features(trials: Iterable[TrialState]) -> StoredFeatures | None:
    """What was read of the frozen layers' stored output; None where no trial used it."""
    rows = [own for t in trials if (own := [row for row in t.epochs if row.get(READ)])]
    if not rows:
        return None
    each = [row for own in rows for row in own]
    return StoredFeatures(
        trials=len(rows),
        examples=int(sum(row.get(READ) or 0.0 for row in each)),
        seconds=sum(row.get(SECONDS) or 0.0 for row in each),
    )


def fold_verdict(
    inputs: SweepInputs, trials: Sequence[TrialState], folder: Callable[[str], Path] | None = None
) -> Verdict:
    """The verdict alone, for a sweep that goes on; see `fold_results`."""
    return _verdict(inputs, _fold(inputs, trials), folder)


@dataclass(frozen=True)
class _Folded:
    """What the verdict rests on.

    Attributes:
        search: its trials, by number.
        best: the best trial of each strategy.
        effort: tuning of each strategy.
        rows: the confirmed strategies.
        others: what else was confirmed (`confirm.configurations`).
        failed: confirm runs that failed.
    """

    search: Sequence[TrialState]
    best: Sequence[TrialState]
    effort: Mapping[str, StrategyEffort]
    rows: tuple[ConfirmedStrategy, ...]
    others: tuple[ConfirmedStrategy, ...]
    failed: Sequence[TrialState]


def _fold(inputs: SweepInputs, trials: Sequence[TrialState]) -> _Folded:
    spec, metric = inputs.spec, inputs.spec.objective.metric
    search = sorted((t for t in trials if t.phase == "search"), key=lambda t: t.number)
    best = list(leaders(search, metric).values())
    runs = [t for t in trials if t.phase == "confirm"]
    complete = [t for t in runs if t.status == COMPLETE]
    of_best = _of_one_configuration(complete, best)
    asked = finalists(search, metric, spec.confirm.configurations)
    # a leader may be a replicate: it comes before an earlier trial of the same configuration
    origins = [*asked, *search]

    def layers(arm: str) -> Partition:
        return inputs.of_arm(arm).layers

    rows = confirm_rows(origins, of_best, layers, metric)
    rest = [run for run in complete if run not in of_best and _is_among(run, asked)]
    others = confirm_rows(origins, rest, layers, metric)
    effort = efforts(spec, inputs.space, trials, best)
    failed = [t for t in runs if t.status == FAILED]
    return _Folded(search, best, effort, tuple(rows), tuple(others), failed)


def _verdict(inputs: SweepInputs, folded: _Folded, folder: Callable[[str], Path] | None) -> Verdict:
    spec, task, rows = inputs.spec, inputs.task, folded.rows
    ranked = sorted(folded.best, key=lambda trial: rank(trial, spec.objective.metric))
    by_confirm = bool(inputs.space.single)  # these have no value on the search's split
    names = [row.strategy for row in rows] if by_confirm else [t.strategy for t in ranked]
    trained = len(task.draws[0].train) if task.draws else 0
    question = Question(
        metric=spec.objective.metric,
        ranking=names,
        chosen_by="confirm" if by_confirm else "search",
        splits=max((run.split for row in rows for run in row.runs), default=0) or 1,
        overlap=overlap_correction(trained, task.rest - trained),
        contrasts=spec.verdict.pairs,
        smallest_effect=spec.confirm.relevant,
        level=level_of(spec.confirm),
        effort=folded.effort,
        tie=tie_in_words(ranked, spec.objective.metric),
        strategies=inputs.space.arms,
        baseline=baseline_of(inputs.space, names),
    )
    confirmed = [run for row in rows for run in row.runs]
    runs = [run.id for run in confirmed]
    read = {} if folder is None else answers_of(confirmed, folder)
    answers = {run: found for run, found in read.items() if found is not None}
    losses = {run: found.losses(question.measure) for run, found in answers.items()}
    outcome = verdict(rows, question, {run: own for run, own in losses.items() if own is not None})
    # none at all: a sweep of an older version, which kept no answers
    kept = answers or any(_has_answers(folder, run) for run in runs)
    lost = [run for run in runs if run not in answers] if kept else []
    words = " ".join([outcome.sentence, *_left_out(lost, [t.id for t in folded.failed])])
    return outcome.model_copy(update={"sentence": words})


def _left_out(lost: Sequence[str], failed: Sequence[str]) -> list[str]:
    """What the comparisons lack.

    Args:
        lost: runs whose answers cannot be read, or are another run's.
        failed: runs that failed.
    """
    words = []
    if failed:
        words.append(f"Confirm runs that failed are left out: {and_more(failed, 3)}.")
    if lost:
        words.append(
            f"The answers of {and_more(lost, 3)} cannot be read or are another run's, so their"
            " comparisons leave out the test examples as a source of variation."
        )
    return words


def _has_answers(folder: Callable[[str], Path] | None, run: str) -> bool:
    """Whether a file of answers is there, be it damaged or not readable."""
    return folder is not None and os.path.lexists(folder(run) / ANSWERS_FILE)


def tie_in_words(ranked: Sequence[TrialState], metric: str) -> str:
    """Which strategies' best trials have the first one's value, and what decided; empty where
    none has."""
    if not ranked:
        return ""
    first, *others = [rank(trial, metric) for trial in ranked]
    ties = [t.strategy for t, own in zip(ranked[1:], others, strict=True) if own[:2] == first[:2]]
    if not ties:
        return ""
    by_loss = metric != "val/loss" and first[2] < min(own[2] for own in others[: len(ties)])
    decided = "the lower validation loss decided" if by_loss else "nothing measured decided"
    return f" (a tie with {' and '.join(ties)}; {decided})"


def _of_one_configuration(
    runs: Sequence[TrialState], chosen: Sequence[TrialState]
) -> list[TrialState]:
    """Of each strategy the runs of its finalist; a search that was extended may have found
    another one than was confirmed before. Where that has no run yet, the earlier one's."""
    wanted = {run.strategy: configuration(run.config) for run in runs}
    confirmed = [configuration(run.config) for run in runs]
    known = ((t, configuration(t.config)) for t in chosen)
    wanted |= {trial.strategy: own for trial, own in known if own in confirmed}
    return [run for run in runs if configuration(run.config) == wanted[run.strategy]]


def _is_among(run: TrialState, chosen: Iterable[TrialState]) -> bool:
    """Whether a confirm run is of the configuration of one of these trials."""
    own = configuration(run.config)
    return any(configuration(trial.config) == own for trial in chosen)


def trial_result(trial: TrialState, metric: str) -> TrialResult:
    """One trial of the search."""
    measured = ((row["epoch"], row.get(metric)) for row in trial.epochs)
    values = {int(e): v for e, v in measured if e is not None and v is not None}
    return TrialResult(
        id=trial.id,
        number=trial.number,
        strategy=trial.strategy,
        label=trial.label,
        status=trial.status,
        cause=trial.cause,
        config=dict(trial.config),
        searched=dict(trial.searched),
        value=trial.value,
        values=dict(trial.values),
        to_beat=trial.to_beat,
        best_epoch=best_epoch(values) if values else None,
        seconds=seconds_of(trial),
        epochs=tuple(dict(row) for row in trial.epochs),
    )
