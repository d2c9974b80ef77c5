"""Fold the record's trials into the results of a sweep."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysel.common.text import and_more
from raysel.models.layers import Layer, Partition
from raysel.record.state import COMPLETE, FAILED, TrialState
from raysel.search.prior import Prior
from raysel.spec.arms import arm_of
from raysel.strategies import registered
from raysel.strategies.rates import LayerRates
from raysel.sweep.confirm_answers import answers_of
from raysel.sweep.confirm_rounds import level_of
from raysel.sweep.importance import importance
from raysel.sweep.inputs import SweepInputs
from raysel.sweep.prior_use import prior_use
from raysel.sweep.question import BASELINE, Question, tested_by
from raysel.sweep.ranking import (
    best_epoch,
    configuration,
    confirmed_rank,
    finalists,
    leaders,
    pareto_front,
    rank,
)
from raysel.sweep.results import (
    ConfirmedStrategy,
    ConfirmRun,
    Interval,
    Objective,
    Spent,
    StoredFeatures,
    StrategyEffort,
    SweepResults,
    TestedEpoch,
    TrialResult,
    Verdict,
)
from raysel.sweep.split import digest_of
from raysel.sweep.statistics.differences import overlap_correction
from raysel.sweep.tuning_effort import efforts
from raysel.sweep.verdict import improvements, interval, verdict
from raysel.training.answers import FILE as ANSWERS_FILE
from raysel.training.features import READ, SECONDS
from raysel.training.forgetting import AFTER, BEFORE, DISTANCE, UNTOUCHED
from raysel.training.trial import GROUP_ERROR, PEAK_MEMORY, TEST_CURVE


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
    spec, partition, data = inputs.spec, inputs.layers, inputs.task.summary
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
        layers=partition.names,
        layer_sizes=tuple(layer.size for layer in partition.layers),
        source=inputs.source,
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
    rows = confirm_rows(origins, of_best, inputs.layers, metric)
    rest = [run for run in complete if run not in of_best and _is_among(run, asked)]
    others = confirm_rows(origins, rest, inputs.layers, metric)
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
        baseline=arm_of(BASELINE, inputs.space.registered) or BASELINE,
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
        seconds=_seconds(trial),
        epochs=tuple(dict(row) for row in trial.epochs),
    )


def confirm_rows(
    search: Sequence[TrialState], runs: Iterable[TrialState], partition: Partition, metric: str
) -> list[ConfirmedStrategy]:
    """The confirmed configurations, the best first; one of each strategy, or several.

    Args:
        search: its trials; of those with a run's configuration the first is its origin.
    """
    groups: dict[str, list[TrialState]] = {}
    for run in sorted(runs, key=lambda t: t.number):
        groups.setdefault(repr((run.strategy, configuration(run.config))), []).append(run)
    rows = [_confirmed(search, own, partition, metric) for own in groups.values()]
    return sorted(rows, key=lambda row: confirmed_rank(row, metric))


def _confirmed(
    search: Sequence[TrialState], runs: Sequence[TrialState], partition: Partition, metric: str
) -> ConfirmedStrategy:
    rows = [_run(run, partition, metric) for run in runs]
    first = runs[0]
    own = configuration(first.config)
    origin = next((trial for trial in search if configuration(trial.config) == own), None)
    kind = str(first.config.get("strategy", first.strategy))
    mean, low, high = interval([_known(run.end_metrics, "test/error") for run in runs])
    return ConfirmedStrategy(
        strategy=first.strategy,
        registered="" if kind == first.strategy else kind,
        config={} if origin else own,
        trial=origin.id if origin else None,
        label=first.label,
        runs=tuple(rows),
        validation=_mean(row.metric(metric) for row in rows),
        validation_error=_mean(row.val_error for row in rows),
        test_error=Interval(mean=mean, low=low, high=high, n=len(rows)),
        moved={name: _mean(row.moved[name] for row in rows) for name in partition.names},
        moved_is="weight" if _weighs_rates(kind) else "share of steps",
        updated_share=_mean(row.updated_share for row in rows),
        seconds=_mean(row.seconds for row in rows),
        forgetting=_interval_of([row.forgetting for row in rows]),
        distance={
            name: _mean(row.distance[name] for row in rows)
            for name in partition.names
            if all(name in row.distance for row in rows)
        },
        peak_memory_bytes=_interval_of([row.peak_memory_bytes for row in rows]).mean,
    )


def _interval_of(values: Sequence[float | None]) -> Interval:
    """Empty where a run lacks the value: a mean over some of the runs is none over the others."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Interval()
    mean, low, high = interval(known)
    return Interval(mean=mean, low=low, high=high, n=len(known))


def _weighs_rates(strategy: str) -> bool:
    """Whether `moved` is the mean weight of a layer's learning rate, not a share of steps."""
    kind = registered().get(strategy)
    return kind is not None and issubclass(kind, LayerRates)


def _run(run: TrialState, partition: Partition, metric: str) -> ConfirmRun:
    chosen = int(_known(run.end_metrics, "confirm/epoch"))
    at_chosen = next(row for row in run.epochs if row["epoch"] == chosen)
    facts = {
        "id": run.id,
        "seed": run.config["seed"],
        "split": run.config.get("split", 0),
        "source_seed": run.config.get("source_seed", 0),
        "epoch": chosen,
        **{name: _known(at_chosen, name) for name in (metric, "val/error", "val/loss")},
        **{name: v for name, v in run.end_metrics.items() if name.startswith("test/")},
        **{name: _known(run.end_metrics, name) for name in ("test/error", "test/loss")},
        "seconds": _seconds(run),
        "moved": {
            layer.name: _mean(_moved(row, layer) for row in run.epochs)
            for layer in partition.layers
        },
        "updated_share": _known(run.end_metrics, "confirm/updated_share"),
        "source_error_before": run.end_metrics.get(BEFORE),
        "source_error": run.end_metrics.get(AFTER),
        "untouched_error": run.end_metrics.get(UNTOUCHED),
        "group_errors": _below(GROUP_ERROR, run.end_metrics),
        "distance": _below(DISTANCE, run.end_metrics),
        "peak_memory_bytes": run.epochs[-1].get(PEAK_MEMORY),
        "test_curve": [_tested_epoch(row) for row in run.epochs if f"{TEST_CURVE}/error" in row],
    }
    return ConfirmRun.model_validate(facts)


def _below(prefix: str, metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    return {n.removeprefix(prefix): v for n, v in metrics.items() if n.startswith(prefix)}


def _tested_epoch(row: Mapping[str, float | None]) -> TestedEpoch:
    error, loss = (row.get(f"{TEST_CURVE}/{name}") for name in ("error", "loss"))
    return TestedEpoch(epoch=int(row["epoch"] or 0), error=error, loss=loss)


def _moved(row: Mapping[str, float | None], layer: Layer) -> float:
    """How much a layer moved in an epoch; of a strategy that works tensor by tensor the mean
    over the layer's tensors, by size."""
    whole = row.get(f"select/{layer.name}")
    if whole is not None:
        return whole
    tensors = zip(layer.parameters, layer.sizes, strict=True)
    return sum((row.get(f"select/{name}") or 0.0) * size for name, size in tensors) / layer.size


def _seconds(trial: TrialState) -> float:
    return float(sum(row.get("cost/seconds") or 0.0 for row in trial.epochs))


def _known(metrics: Mapping[str, float | None], name: str) -> float:
    """A metric that a completed run must have.

    Raises:
        ValueError: it is missing or was not finite.
    """
    value = metrics.get(name)
    if value is None:
        raise ValueError(f"the run has no {name}")
    return value


def _mean(values: Iterable[float | None]) -> float:
    listed = [value for value in values if value is not None]
    return sum(listed) / len(listed)
