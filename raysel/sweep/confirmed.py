"""The confirmed configurations: the runs of each, and their means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from raysel.models.layers import Layer, Partition
from raysel.record.state import TrialState
from raysel.strategies import registered
from raysel.strategies.rates import LayerRates
from raysel.sweep.ranking import configuration, confirmed_rank
from raysel.sweep.results import ConfirmedStrategy, ConfirmRun, Interval, TestedEpoch
from raysel.sweep.verdict import interval
from raysel.training.forgetting import AFTER, BEFORE, DISTANCE, UNTOUCHED
from raysel.training.trial import GROUP_ERROR, PEAK_MEMORY, TEST_CURVE


def confirm_rows(
    search: Sequence[TrialState],
    runs: Iterable[TrialState],
    layers: Callable[[str], Partition],
    metric: str,
) -> list[ConfirmedStrategy]:
    """The confirmed configurations, the best first; one of each strategy, or several.

    Args:
        search: its trials; of those with a run's configuration the first is its origin.
        layers: of the model of an arm.
    """
    groups: dict[str, list[TrialState]] = {}
    for run in sorted(runs, key=lambda t: t.number):
        groups.setdefault(repr((run.strategy, configuration(run.config))), []).append(run)
    each = groups.values()
    rows = [_confirmed(search, own, layers(own[0].strategy), metric) for own in each]
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
        "seconds": seconds_of(run),
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


def seconds_of(trial: TrialState) -> float:
    """Of all epochs of a trial."""
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
